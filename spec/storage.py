"""Instances on disk: bit exact, versioned, without pickle.

A file is an ``.npz`` with one member a field array and the member ``metadata`` (JSON as UTF-8 bytes):
schema version, problem, the dtype name of every array, scalars and provenance.  Types that NumPy cannot
name in a file (bfloat16, float8) are stored as unsigned integers of their width.  Members whose name begins with
``hard.`` say more about the instance (:mod:`assay.spec.instances.file`); whoever reads the instance passes them over.

Files are the same bit for bit wherever they are written: no time, no compression, no mark of the system.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import ml_dtypes
import numpy as np
from numpy.lib.npyio import NpzFile

from assay.spec.problem import InvalidInstance, Provenance

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SCHEMA_VERSION", "dtype_named", "load_instance", "members", "problem_of", "save_instance"]

SCHEMA_VERSION = 1
_MORE = "hard."
_UNREADABLE = (  # RuntimeError: encrypted, or compressed in a way that Python does not know
    OSError, ValueError, KeyError, AttributeError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip

T = TypeVar("T")


def dtype_named(name: str) -> np.dtype[Any]:
    """The dtype called ``name``, NumPy's own or one of ml_dtypes."""
    return np.dtype(getattr(ml_dtypes, name, name))


def save_instance(
    path: str | Path, problem: str, instance: Any, more: Mapping[str, np.ndarray[Any, Any]] | None = None
) -> None:
    """Write a frozen dataclass of arrays, scalars, tuples and a :class:`Provenance` to ``path``.

    more: further members, of NumPy's own types, whose names begin with ``hard.``.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    dtypes: dict[str, str] = {}
    values: dict[str, Any] = {}
    for item in dataclasses.fields(instance):
        value = getattr(instance, item.name)
        if isinstance(value, np.ndarray):
            dtypes[item.name] = value.dtype.name
            plain = np.ascontiguousarray(value).reshape(value.shape)
            arrays[item.name] = plain if value.dtype.isbuiltin == 1 else plain.view(f"u{value.dtype.itemsize}")
        elif isinstance(value, Provenance):
            values[item.name] = dataclasses.asdict(value)
        elif isinstance(value, float):
            values[item.name] = value.hex()
        else:
            values[item.name] = value
    metadata = {"schema": SCHEMA_VERSION, "problem": problem, "dtypes": dtypes, "values": values}
    arrays["metadata"] = np.frombuffer(json.dumps(metadata, sort_keys=True).encode(), dtype=np.uint8)
    arrays |= more or {}
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # dated 1980
            member.create_system = 3
            member.external_attr = 0o600 << 16
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def members(path: str | Path) -> dict[str, np.ndarray[Any, Any]]:
    """What a file says besides the instance: the members whose names begin with ``hard.``, without that."""
    found = _read(path)[1]
    return {name.removeprefix(_MORE): array for name, array in found.items() if name.startswith(_MORE)}


def _read(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    try:
        with Path(path).open("rb") as file, NpzFile(file, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
        metadata = json.loads(found.pop("metadata").tobytes().decode())
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
    return metadata, found


def problem_of(path: str | Path) -> str:
    """The name of the problem whose instance ``path`` holds.  Raises :class:`InvalidInstance`."""
    return str(_read(path)[0]["problem"])


def load_instance(path: str | Path, problem: str, kind: type[T]) -> T:
    """Read what :func:`save_instance` wrote.  Raises :class:`InvalidInstance` for anything else."""
    metadata, found = _read(path)
    found = {name: array for name, array in found.items() if not name.startswith(_MORE)}
    if metadata["problem"] != problem:
        raise InvalidInstance(f"{path}: an instance of {metadata['problem']!r}, expected {problem!r}")
    fields: dict[str, Any] = {}
    hints = {item.name: str(item.type) for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = (set(metadata["values"]) | set(found)) - set(hints)
    if unknown:
        raise InvalidInstance(f"{path}: unknown fields {sorted(unknown)}")
    try:
        for name, value in metadata["values"].items():
            if name == "provenance":
                fields[name] = Provenance(**value)
            elif isinstance(value, str) and "float" in hints[name]:
                fields[name] = float.fromhex(value)
            else:
                fields[name] = tuple(value) if isinstance(value, list) else value
        for name, array in found.items():
            dtype = dtype_named(metadata["dtypes"][name])
            fields[name] = array if array.dtype == dtype else array.view(dtype)
        return kind(**fields)
    except InvalidInstance as error:
        raise InvalidInstance(f"{path}: {error}") from None
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidInstance(f"{path}: damaged instance file ({error})") from None
