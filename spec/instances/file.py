"""Hard instances on disk, as ``.npz`` for Python and as JSON for everyone.

The ``.npz`` is a saved instance of its problem (:mod:`assay.spec.storage`: ``assay replay`` and ``assay reference``
take it as it is) with the members ``hard.metadata``, JSON, and the exact source: ``hard.left`` and ``hard.right``,
0/1, or ``hard.clauses``, literals, each clause closed by 0.  The JSON holds the same, with every number that is no
integer in hexadecimal; its JSON Schema is ``hard_instance.schema.json`` in this folder.

This module knows the form of a file and no problem; what a hard problem is, and whether a file tells the truth, is
:mod:`assay.spec.instances.hard`.
"""

from __future__ import annotations

import importlib.resources
import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec import storage, untrusted
from assay.spec.floats import dtype_named
from assay.spec.instances.formula import Formula
from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.problem import InvalidInstance
from assay.spec.reductions import GapMaxInnerProduct
from assay.spec.written import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.spec.instance import Instance

__all__ = ["JSON_VERSION", "SCHEMA_VERSION", "Written", "read", "schema", "source_metadata", "to_json", "write"]

SCHEMA_VERSION = 1  # of the metadata in an .npz
JSON_VERSION = 2


@dataclass(frozen=True, eq=False)
class Written:
    """What a file says: the metadata, the source, and the arrays and plain values of the instance."""

    metadata: Mapping[str, Any]
    source: Any
    arrays: Mapping[str, NDArray[Any]]
    values: Mapping[str, Any]


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the JSON form."""
    text = importlib.resources.files("assay.spec.instances").joinpath("hard_instance.schema.json").read_text("utf-8")
    return dict(json.loads(text))


def write(path: str | Path, instance: Instance, source: Any, metadata: Mapping[str, Any]) -> None:
    """Write ``.npz`` or, if the path ends so, ``.json``; the same bytes wherever it is done.

    metadata: what the file is to say besides source and instance, JSON values.
    Raises ``OSError`` where it cannot be written.
    """
    if Path(path).suffix == ".json":
        write_bytes(path, to_json(instance, source, metadata).encode())
        return
    said = json.dumps({"schema_version": SCHEMA_VERSION, **metadata}, sort_keys=True, ensure_ascii=True)
    more = {"hard.metadata": np.frombuffer(said.encode(), np.uint8)}
    more |= {f"hard.{name}": array for name, array in _source_arrays(source).items()}
    instance.save(path, more)


def to_json(instance: Instance, source: Any, metadata: Mapping[str, Any]) -> str:
    """The JSON form, one array a line."""
    arrays = {
        name: {"dtype": array.dtype.name, "shape": list(array.shape), "numbers": _numbers(array)}
        for name, array in instance.arrays().items()
    }
    whole = {
        "schema_version": JSON_VERSION,
        **metadata,
        "source": _source_values(source),
        "arrays": arrays,
        "values": instance.values(),
    }
    lines = [f"{json.dumps(name)}: {json.dumps(value, sort_keys=True)}" for name, value in sorted(whole.items())]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def source_metadata(source: Any) -> dict[str, Any]:
    """What the metadata has to say of a source so that it can be read again."""
    sizes: dict[str, Any] = {}
    if isinstance(source, GapMaxInnerProduct):
        sizes = {"threshold": source.threshold, "gap": str(source.gap)}
    elif isinstance(source, Formula):
        sizes = {"variables": source.variables}
    return {"source_kind": _KINDS[type(source)], "source_sizes": sizes}


def read(path: str | Path) -> Written:
    """Read what :func:`write` wrote.

    Raises :class:`~assay.spec.problem.InvalidInstance` for another version or another kind of file, ``OSError`` where
    it cannot be read, and ``ValueError``, ``TypeError`` or ``KeyError`` where it is damaged.
    """
    return _read_json(path) if Path(path).suffix == ".json" else _read_npz(path)


def _read_npz(path: str | Path) -> Written:
    members = storage.members(path)
    if "metadata" not in members:
        raise InvalidInstance("a saved instance without its source: expected one that assay hard wrote")
    metadata = _checked(json.loads(members["metadata"].tobytes().decode()), SCHEMA_VERSION)
    stored = storage.read(path)
    values = {name: value for name, value in stored.values.items() if name != "provenance"}
    return Written(metadata, _source(metadata, members), stored.arrays, values)


def _read_json(path: str | Path) -> Written:
    whole = json.loads(untrusted.content(path).decode())
    metadata = _checked(whole, JSON_VERSION)
    arrays = {name: _array(array) for name, array in whole["arrays"].items()}
    return Written(metadata, _source(metadata, whole["source"]), arrays, whole["values"])


def _checked(metadata: Any, expected: int) -> dict[str, Any]:
    version = metadata.get("schema_version") if isinstance(metadata, dict) else None
    if version != expected:
        raise InvalidInstance(f"schema_version {version!r}, expected {expected}")
    return dict(metadata)


def _numbers(array: NDArray[Any]) -> list[Any]:
    """Row-major: integers and truth values as they are, other numbers in hexadecimal."""
    if array.dtype.kind in "biu":
        return [int(x) for x in array.flat]
    return [float(x).hex() for x in array.astype(np.float64).flat]


def _array(written: Mapping[str, Any]) -> NDArray[Any]:
    """The array of :func:`_numbers`."""
    dtype = dtype_named(written["dtype"])
    numbers = written["numbers"] if dtype.kind in "biu" else [float.fromhex(x) for x in written["numbers"]]
    return np.array(numbers, None if dtype.kind in "biu" else np.float64).astype(dtype).reshape(written["shape"])


_KINDS: dict[type, str] = {Formula: "formula", OrthogonalVectors: "vectors", GapMaxInnerProduct: "gap"}


def _source_arrays(source: Any) -> dict[str, Any]:
    if isinstance(source, Formula):
        literals = [literal for clause in source.clauses for literal in (*clause, 0)]
        return {"clauses": np.array(literals, dtype="<i4")}
    return {"left": source.left, "right": source.right}


def _source_values(source: Any) -> dict[str, Any]:
    """Vectors as strings of 0 and 1; clauses as lists of literals."""
    if isinstance(source, Formula):
        return {"clauses": [list(clause) for clause in source.clauses]}
    sides = {"left": source.left, "right": source.right}
    return {name: [row.tobytes().decode() for row in array + np.uint8(ord("0"))] for name, array in sides.items()}


def _source(metadata: Mapping[str, Any], written: Any) -> Any:
    """From arrays or from JSON values."""
    kind, sizes = metadata["source_kind"], metadata["source_sizes"]
    if kind == "formula":
        return Formula(sizes["variables"], tuple(_clauses(written["clauses"])))
    left, right = (_vectors(written[name]) for name in ("left", "right"))
    if kind == "vectors":
        return OrthogonalVectors(left, right)
    if kind == "gap":
        return GapMaxInnerProduct(left, right, sizes["threshold"], Fraction(sizes["gap"]))
    raise InvalidInstance(f"source_kind {kind!r}, expected one of {', '.join(_KINDS.values())}")


def _clauses(written: Any) -> list[tuple[int, ...]]:
    if isinstance(written, list):
        return [tuple(clause) for clause in written]
    clauses: list[tuple[int, ...]] = []
    clause: list[int] = []
    for literal in written.tolist():
        if literal:
            clause.append(literal)
        else:
            clauses.append(tuple(clause))
            clause = []
    return clauses


def _vectors(written: Any) -> Any:
    return written if isinstance(written, np.ndarray) else np.array([[int(x) for x in row] for row in written])
