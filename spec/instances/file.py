"""Hard instances on disk, as ``.npz`` for Python and as JSON for everyone.

The ``.npz`` is a saved instance of its problem (:mod:`assay.spec.storage`: ``assay replay`` and ``assay reference``
take it as it is) with the members ``hard.metadata``, JSON, and the exact source: ``hard.left`` and ``hard.right``,
0/1, or ``hard.clauses``, literals, each clause closed by 0.  The JSON holds the same, with every number that is no
integer in hexadecimal; its JSON Schema is ``hard_instance.schema.json`` in this folder.

What is read is checked: the arrays must be those that the arrows make from the source.
"""

from __future__ import annotations

import importlib.resources
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from assay.spec.instances.formula import Formula
from assay.spec.instances.hard import HardProblem
from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.instances.truth import Truth
from assay.spec.problem import InvalidInstance
from assay.spec.problem import problem as problem_named
from assay.spec.reductions import Composite, GapMaxInnerProduct, reduction
from assay.spec.storage import members, problem_of

__all__ = ["SCHEMA_VERSION", "described", "load", "save", "schema", "to_json"]

SCHEMA_VERSION = 1


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the JSON form."""
    text = importlib.resources.files("assay.spec.instances").joinpath("hard_instance.schema.json").read_text("utf-8")
    return dict(json.loads(text))


def save(path: str | Path, problem: HardProblem) -> None:
    """Write ``.npz`` or, if the path ends so, ``.json``; the same bytes wherever it is done.

    Raises ``OSError`` where it cannot be written.
    """
    if Path(path).suffix == ".json":
        Path(path).write_bytes(to_json(problem).encode())
        return
    described_ = json.dumps(described(problem), sort_keys=True, ensure_ascii=True)
    more = {"hard.metadata": np.frombuffer(described_.encode(), np.uint8)}
    more |= {f"hard.{name}": array for name, array in _source_arrays(problem.source).items()}
    problem.instance.save(path, more)


def to_json(problem: HardProblem) -> str:
    """The JSON form, one array a line."""
    instance = problem.instance
    arrays = {
        name: {
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "numbers": [float(x).hex() for x in array.astype(np.float64).flat],
        }
        for name, array in instance.arrays().items()
    }
    whole = {
        **described(problem),
        "source": _source_values(problem.source),
        "arrays": arrays,
        "scale": instance.scale.hex(),
    }
    lines = [f"{json.dumps(name)}: {json.dumps(value, sort_keys=True)}" for name, value in sorted(whole.items())]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def described(problem: HardProblem) -> dict[str, Any]:
    """What a file says of a problem besides source and arrays: JSON values."""
    truth = problem.truth
    extra: dict[str, Any] = {}
    if isinstance(problem.source, GapMaxInnerProduct):
        extra = {"threshold": problem.source.threshold, "gap": str(problem.source.gap)}
    elif isinstance(problem.source, Formula):
        extra = {"variables": problem.source.variables}
    return {
        "schema_version": SCHEMA_VERSION,
        "problem": problem.problem,
        "reductions": [part.name for part in problem.reduced.reduction.parts],
        "options": dict(problem.options),
        "family": problem.family,
        "seed": problem.seed,
        "parameters": dict(problem.parameters),
        "source_kind": _KINDS[type(problem.source)],
        "source_sizes": extra,
        "sizes": {name: str(x) if isinstance(x, Fraction) else x for name, x in problem.sizes.items()},
        "entry_bound": problem.entry_bound.hex(),
        "entry_bound_over_root_log": f"{problem.entry_bound_over_root_log:.6g}",
        "needed_accuracy": str(problem.accuracy),
        "truth": {
            "satisfiable": truth.satisfiable,
            "count": truth.count,
            "pairs": [list(pair) for pair in truth.pairs],
            "complete": truth.complete,
            "certified": list(truth.certified),
        },
    }


def load(path: str | Path) -> HardProblem:
    """Read what :func:`save` wrote.  Raises :class:`~assay.spec.problem.InvalidInstance` in one line for all else."""
    try:
        return _from_json(path) if Path(path).suffix == ".json" else _from_npz(path)
    except InvalidInstance as error:
        said = str(error)
        raise InvalidInstance(said if said.startswith(str(path)) else f"{path}: {said}") from None
    except OSError as error:
        raise InvalidInstance(f"{path}: cannot be read ({error.strerror})") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise InvalidInstance(f"{path}: damaged hard instance ({type(error).__name__}: {error})") from None


def _from_npz(path: str | Path) -> HardProblem:
    found = members(path)
    if "metadata" not in found:
        raise InvalidInstance("a saved instance without its source: expected one that assay hard wrote")
    metadata = _checked(json.loads(found["metadata"].tobytes().decode()))
    loaded = problem_named(problem_of(path)).Instance.load(path)
    return _rebuilt(metadata, _source(metadata, found), loaded.arrays(), loaded.scale)


def _from_json(path: str | Path) -> HardProblem:
    whole = json.loads(Path(path).read_text(encoding="utf-8"))
    metadata = _checked(whole)
    arrays = {
        name: np.array([float.fromhex(x) for x in each["numbers"]], np.float64).reshape(each["shape"])
        for name, each in whole["arrays"].items()
    }
    return _rebuilt(metadata, _source(metadata, whole["source"]), arrays, float.fromhex(whole["scale"]))


def _checked(metadata: Any) -> dict[str, Any]:
    version = metadata.get("schema_version") if isinstance(metadata, dict) else None
    if version != SCHEMA_VERSION:
        raise InvalidInstance(f"schema_version {version!r}, expected {SCHEMA_VERSION}")
    return dict(metadata)


def _rebuilt(metadata: dict[str, Any], source: Any, arrays: dict[str, Any], scale: float) -> HardProblem:
    route = Composite(tuple(reduction(name) for name in metadata["reductions"]))
    reduced = route.apply(source, **metadata["options"])
    made = reduced.target.arrays()
    if scale != reduced.target.scale or set(made) != set(arrays):
        raise InvalidInstance("scale or arrays are not those that the reductions make from the source")
    for name, array in made.items():
        if not np.array_equal(array.astype(np.float64), arrays[name].astype(np.float64)):
            raise InvalidInstance(f"{name} is not what the reductions make from the source")
    said = metadata["truth"]
    truth = Truth(
        said["satisfiable"],
        said["count"],
        tuple((int(i), int(j)) for i, j in said["pairs"]),
        said["complete"],
        tuple(said["certified"]),
    )
    return HardProblem(
        metadata["problem"],
        reduced,
        truth,
        metadata["options"],
        metadata["family"],
        metadata["seed"],
        metadata["parameters"],
    )


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


def _source(metadata: dict[str, Any], given: Any) -> Any:
    """From arrays or from JSON values."""
    kind, sizes = metadata["source_kind"], metadata["source_sizes"]
    if kind == "formula":
        return Formula(sizes["variables"], tuple(_clauses(given["clauses"])))
    left, right = (_vectors(given[name]) for name in ("left", "right"))
    if kind == "vectors":
        return OrthogonalVectors(left, right)
    if kind == "gap":
        return GapMaxInnerProduct(left, right, sizes["threshold"], Fraction(sizes["gap"]))
    raise InvalidInstance(f"source_kind {kind!r}, expected one of {', '.join(_KINDS.values())}")


def _clauses(given: Any) -> list[tuple[int, ...]]:
    if isinstance(given, list):
        return [tuple(clause) for clause in given]
    clauses: list[tuple[int, ...]] = []
    clause: list[int] = []
    for literal in given.tolist():
        if literal:
            clause.append(literal)
        else:
            clauses.append(tuple(clause))
            clause = []
    return clauses


def _vectors(given: Any) -> Any:
    return given if isinstance(given, np.ndarray) else np.array([[int(x) for x in row] for row in given])
