"""The container of a saved instance: bit exact, versioned, without pickle.

A file is an ``.npz`` with one member an array and the member ``metadata`` (JSON as UTF-8 bytes): schema version,
problem, the dtype name of every array, and plain values.  Types that NumPy cannot name in a file (bfloat16, float8) are
stored as unsigned integers of their width.  Members whose name begins with ``hard.`` say more about the instance
(:mod:`assay.spec.instances.file`); whoever reads the instance passes them over.

Files are the same bit for bit wherever they are written: they hold no time, no compression and no mark of the system.
What the members mean is said by :class:`assay.spec.instance.Instance`.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec import untrusted
from assay.spec.floats import dtype_named
from assay.spec.problem import InvalidInstance
from assay.spec.written import written

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["SCHEMA_VERSION", "Stored", "members", "plain", "problem_of", "read", "write"]

SCHEMA_VERSION = 1
_MORE = "hard."


@dataclass(frozen=True)
class Stored:
    """What a file holds: the name of a problem, arrays in their own types, and plain JSON values."""

    problem: str
    arrays: Mapping[str, np.ndarray[Any, Any]]
    values: Mapping[str, Any]


def write(path: str | Path, stored: Stored, more: Mapping[str, np.ndarray[Any, Any]] | None = None) -> None:
    """Write ``stored`` to ``path``, whole or not at all.  Raises ``OSError`` where the system refuses.

    more: further members, of NumPy's own types, whose names begin with ``hard.``.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, array in stored.arrays.items():
        arrays[name] = plain(array)
    metadata = {
        "schema": SCHEMA_VERSION,
        "problem": stored.problem,
        "dtypes": {name: array.dtype.name for name, array in stored.arrays.items()},
        "values": dict(stored.values),
    }
    arrays["metadata"] = np.frombuffer(json.dumps(metadata, sort_keys=True).encode(), dtype=np.uint8)
    arrays |= more or {}
    with written(path) as whole, zipfile.ZipFile(whole, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # dated 1980
            member.create_system = 3
            member.external_attr = 0o600 << 16
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def plain(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array as a file holds it: contiguous, little-endian, and of a type of NumPy's own.

    Arrays of one type have the same plain bytes where their numbers have the same bits, whatever their memory.
    """
    whole = np.ascontiguousarray(array).reshape(array.shape)
    if array.dtype.isbuiltin == 2:  # a type that NumPy cannot name
        return whole.view(f"u{array.dtype.itemsize}")
    return whole.astype(array.dtype.newbyteorder("<"), copy=False)


def read(path: str | Path) -> Stored:
    """Read what :func:`write` wrote.  Raises :class:`InvalidInstance` for anything else."""
    with _opened(path) as (archived, metadata):
        dtypes = metadata["dtypes"]
        names = [name for name in archived.names() if name != "metadata" and not name.startswith(_MORE)]
        for name in names:
            if name not in dtypes:
                raise InvalidInstance(f"{path}: damaged instance file (member {name!r} has no dtype)")
        arrays = {name: archived[name] for name in names}
    try:
        for name, array in arrays.items():
            dtype = dtype_named(dtypes[name])
            arrays[name] = array if array.dtype == dtype else array.view(dtype)
    except Exception as error:  # whatever a name of a dtype may be
        raise InvalidInstance(f"{path}: damaged instance file ({untrusted.line(error)})") from None
    return Stored(str(metadata["problem"]), arrays, dict(metadata["values"]))


def members(path: str | Path) -> dict[str, np.ndarray[Any, Any]]:
    """What a file says besides the instance: the members whose names begin with ``hard.``, without that."""
    with _opened(path) as (archived, _):
        return {name.removeprefix(_MORE): archived[name] for name in archived.names() if name.startswith(_MORE)}


def problem_of(path: str | Path) -> str:
    """The name of the problem whose instance ``path`` holds.  Raises :class:`InvalidInstance`."""
    with _opened(path) as (_, metadata):
        return str(metadata["problem"])


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[tuple[untrusted.Archive, dict[str, Any]]]:
    """The members of a file, and its metadata.  Raises :class:`InvalidInstance`, also for what fails in the block."""
    try:
        with untrusted.archive(path) as archived:
            yield archived, _metadata(path, archived)
    except FileNotFoundError:
        raise InvalidInstance(f"{path}: no such file") from None
    except InvalidInstance as error:
        raise InvalidInstance(said if (said := str(error)).startswith(f"{path}: ") else f"{path}: {said}") from None
    except (OSError, ValueError, MemoryError) as error:
        raise InvalidInstance(f"{path}: not a readable instance file ({untrusted.line(error)})") from None


def _metadata(path: str | Path, archived: untrusted.Archive) -> dict[str, Any]:
    try:
        metadata = json.loads(archived["metadata"].tobytes().decode())
    except RecursionError:
        raise ValueError("its metadata is nested too deep") from None
    parts = {"dtypes": dict, "values": dict, "schema": object, "problem": object}
    good = isinstance(metadata, dict) and parts.keys() <= metadata.keys()
    if not good or not all(isinstance(metadata[name], kind) for name, kind in parts.items()):
        raise InvalidInstance(f"{path}: metadata without schema, problem, dtypes and values")
    if metadata["schema"] != SCHEMA_VERSION:
        raise InvalidInstance(f"{path}: schema {_short(metadata['schema'])}, expected {SCHEMA_VERSION}")
    return dict(metadata)


def _short(value: Any) -> str:
    """A value in a message, however large it is."""
    try:
        said = repr(value)
    except RecursionError:
        return "…"
    return said if len(said) <= 80 else f"{said[:79]}…"
