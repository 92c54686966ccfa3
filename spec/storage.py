"""The container of a saved instance: bit exact, versioned, without pickle.

A file is an ``.npz`` with one member an array and the member ``metadata`` (JSON as UTF-8 bytes): schema version,
problem, the dtype name of every array, and plain values.  Types that NumPy cannot name in a file (bfloat16, float8) are
stored as unsigned integers of their width.  Members whose name begins with ``hard.`` say more about the instance
(:mod:`assay.spec.instances.file`); whoever reads the instance passes them over.

Files are the same bit for bit wherever they are written: they hold no time, no compression and no mark of the system.
What the members mean is said by :class:`assay.spec.instance.Instance`.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.npyio import NpzFile

from assay.spec.floats import dtype_named
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SCHEMA_VERSION", "Stored", "members", "plain", "problem_of", "read", "write"]

SCHEMA_VERSION = 1
_MORE = "hard."
_UNREADABLE = (  # RuntimeError: encrypted, or compressed in a way that Python does not know
    OSError, ValueError, KeyError, AttributeError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """What a file holds: the name of a problem, arrays in their own types, and plain JSON values."""

    problem: str
    arrays: Mapping[str, np.ndarray[Any, Any]]
    values: Mapping[str, Any]


def write(path: str | Path, stored: Stored, more: Mapping[str, np.ndarray[Any, Any]] | None = None) -> None:
    """Write ``stored`` to ``path``.

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
    with zipfile.ZipFile(path, "w") as archive:
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
    metadata, archived = _read(path)
    try:
        arrays = {}
        for name, array in archived.items():
            if not name.startswith(_MORE):
                if name not in metadata["dtypes"]:
                    raise ValueError(f"member {name!r} has no dtype")
                dtype = dtype_named(metadata["dtypes"][name])
                arrays[name] = array if array.dtype == dtype else array.view(dtype)
        return Stored(str(metadata["problem"]), arrays, dict(metadata["values"]))
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidInstance(f"{path}: damaged instance file ({error})") from None


def members(path: str | Path) -> dict[str, np.ndarray[Any, Any]]:
    """What a file says besides the instance: the members whose names begin with ``hard.``, without that."""
    archived = _read(path)[1]
    return {name.removeprefix(_MORE): array for name, array in archived.items() if name.startswith(_MORE)}


def problem_of(path: str | Path) -> str:
    """The name of the problem whose instance ``path`` holds.  Raises :class:`InvalidInstance`."""
    return str(_read(path)[0]["problem"])


def _read(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    try:
        with Path(path).open("rb") as file, NpzFile(file, allow_pickle=False) as archive:
            archived = {name: archive[name] for name in archive.files}
        metadata = json.loads(archived.pop("metadata").tobytes().decode())
    except FileNotFoundError:
        raise InvalidInstance(f"{path}: no such file") from None
    except _UNREADABLE as error:
        # NumPy would advise to allow pickles: to run what a stranger wrote
        reason = "it holds pickled Python objects, which are never loaded" if "allow_pickle" in str(error) else error
        raise InvalidInstance(f"{path}: not a readable instance file ({reason})") from None
    if not isinstance(metadata, dict) or not {"schema", "problem", "dtypes", "values"} <= set(metadata):
        raise InvalidInstance(f"{path}: metadata without schema, problem, dtypes and values")
    if metadata["schema"] != SCHEMA_VERSION:
        raise InvalidInstance(f"{path}: schema {metadata['schema']!r}, expected {SCHEMA_VERSION}")
    return metadata, archived
