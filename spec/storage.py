"""Instances on disk: bit exact, versioned, without pickle.

A file is an ``.npz`` with one member a field array and the member ``metadata`` (JSON as UTF-8 bytes):
schema version, problem, the dtype name of every array, scalars and provenance.  Types that NumPy cannot
name in a file (bfloat16, float8) are stored as unsigned integers of their width.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any, TypeVar

import ml_dtypes
import numpy as np

from assay.spec.problem import InvalidInstance, Provenance

__all__ = ["SCHEMA_VERSION", "dtype_named", "load_instance", "problem_of", "save_instance"]

SCHEMA_VERSION = 1

T = TypeVar("T")


def dtype_named(name: str) -> np.dtype[Any]:
    """The dtype called ``name``, NumPy's own or one of ml_dtypes."""
    return np.dtype(getattr(ml_dtypes, name, name))


def save_instance(path: str | Path, problem: str, instance: Any) -> None:
    """Write a frozen dataclass of arrays, scalars, tuples and a :class:`Provenance` to ``path``."""
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
    with Path(path).open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _read(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            members = {name: archive[name] for name in archive.files}
        metadata = json.loads(members.pop("metadata").tobytes().decode())
    except FileNotFoundError:
        raise InvalidInstance(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInstance(f"{path}: not a readable instance file ({error})") from None
    if not isinstance(metadata, dict) or not {"schema", "problem", "dtypes", "values"} <= set(metadata):
        raise InvalidInstance(f"{path}: metadata without schema, problem, dtypes and values")
    if metadata["schema"] != SCHEMA_VERSION:
        raise InvalidInstance(f"{path}: schema {metadata['schema']!r}, expected {SCHEMA_VERSION}")
    return metadata, members


def problem_of(path: str | Path) -> str:
    """The name of the problem whose instance ``path`` holds.  Raises :class:`InvalidInstance`."""
    return str(_read(path)[0]["problem"])


def load_instance(path: str | Path, problem: str, kind: type[T]) -> T:
    """Read what :func:`save_instance` wrote.  Raises :class:`InvalidInstance` for anything else."""
    metadata, members = _read(path)
    if metadata["problem"] != problem:
        raise InvalidInstance(f"{path}: an instance of {metadata['problem']!r}, expected {problem!r}")
    fields: dict[str, Any] = {}
    hints = {item.name: str(item.type) for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = (set(metadata["values"]) | set(members)) - set(hints)
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
        for name, array in members.items():
            dtype = dtype_named(metadata["dtypes"][name])
            fields[name] = array if array.dtype == dtype else array.view(dtype)
        return kind(**fields)
    except InvalidInstance as error:
        raise InvalidInstance(f"{path}: {error}") from None
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidInstance(f"{path}: damaged instance file ({error})") from None
