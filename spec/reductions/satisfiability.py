"""From formulas to vectors (Williams 2005): OV-1 with two halves, KOV-1 with k parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.memory import require_memory
from assay.spec.problem import InvalidInstance
from assay.spec.reductions.problems import KOrthogonalVectors, Satisfiability, Solutions
from assay.spec.reductions.reduction import EXACT, Reduction, Sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.instances.formula import Formula

__all__ = ["KOV_1", "OV_1"]

_MOST_SHARE = 64  # 2^64 vectors are too many for any machine


def _shares(variables: int, k: int) -> list[int]:
    """The number of variables of each part; the first parts have one more where k does not divide the number."""
    return [variables // k + (part < variables % k) for part in range(k)]


def _dimension(clauses: int) -> int:
    """The number of coordinates: one for each clause; without clauses, one that is 0 everywhere."""
    return max(1, clauses)


def _parts(formula: Formula, k: int) -> list[NDArray[np.uint8]]:
    """The k sets.  Row r of a part is the assignment that gives variable i of the part the value of bit i of r."""
    shares = _shares(formula.variables, k)
    d = _dimension(len(formula.clauses))
    # A set and its transpose are in memory while it is built.  A formula may have 2^31 variables, and then 2^share has
    # that many bits, so the share is capped.
    size = sum(2 * d << min(share, _MOST_SHARE) for share in shares)
    require_memory(size, f"{formula.variables} variables and {len(formula.clauses)} clauses in {k} sets of vectors")
    first = np.concatenate([[0], np.cumsum(shares)])
    sets = []
    for part, share in enumerate(shares):
        rows = np.arange(1 << share, dtype=np.int64)
        true = [(rows >> i & 1).astype(np.bool_) for i in range(share)]
        false = [~each for each in true]
        vectors = np.zeros((d, 1 << share), dtype=np.bool_)
        for c, clause in enumerate(formula.clauses):
            satisfied = np.zeros(1 << share, dtype=np.bool_)
            for literal in set(clause):
                i = abs(literal) - 1 - first[part]
                if 0 <= i < share:
                    satisfied |= true[i] if literal > 0 else false[i]
            vectors[c] = ~satisfied
        sets.append(np.ascontiguousarray(vectors.T).view(np.uint8))
    return sets


def _model(formula: Formula, witness: tuple[int, ...] | None) -> tuple[bool, ...] | None:
    if witness is None:
        return None
    shares = _shares(formula.variables, len(witness))
    return tuple(bool(row >> i & 1) for row, share in zip(witness, shares, strict=True) for i in range(share))


def _decode(formula: Formula, target: Any, answer: Solutions) -> Satisfiability:
    return Satisfiability(answer.exists, answer.count, _model(formula, answer.witness))


def _measure(formula: Formula) -> Sizes:
    return {"variables": formula.variables, "clauses": len(formula.clauses)}


def _to_pairs(formula: Formula) -> OrthogonalVectors:
    return OrthogonalVectors(*_parts(formula, 2))


def _sizes(sizes: Sizes) -> Sizes:
    n, m = (2**share for share in _shares(sizes["variables"], 2))
    return {"n": n, "m": m, "d": _dimension(sizes["clauses"])}


OV_1 = Reduction(
    name="OV-1",
    claim="OV-1",
    source="satisfiability",
    target="orthogonal_vectors",
    statement="two halves of the variables; a coordinate is 0 where the half-assignment satisfies the clause",
    forward=_to_pairs,
    decoder=_decode,
    accuracy=lambda formula, target: EXACT,
    sizes=_sizes,
    measure=_measure,
    preconditions=("2^⌈variables/2⌉ vectors fit in memory",),
    counts=True,
)


def _to_tuples(formula: Formula, k: int = 3) -> KOrthogonalVectors:
    _require_k(k)
    return KOrthogonalVectors(_parts(formula, k))


def _sizes_of_tuples(sizes: Sizes, k: int = 3) -> Sizes:
    _require_k(k)
    return {"sizes": tuple(2**s for s in _shares(sizes["variables"], k)), "d": _dimension(sizes["clauses"])}


def _require_k(k: int) -> None:
    if not isinstance(k, int) or k < 2:
        raise InvalidInstance(f"k {k!r}: expected an integer of at least 2")


KOV_1 = Reduction(
    name="KOV-1",
    claim="KOV-1",
    source="satisfiability",
    target="k_orthogonal_vectors",
    statement="k parts of the variables; a coordinate is 0 where the part satisfies the clause",
    forward=_to_tuples,
    decoder=_decode,
    accuracy=lambda formula, target: EXACT,
    sizes=_sizes_of_tuples,
    measure=_measure,
    preconditions=("2^⌈variables/k⌉ vectors fit in memory",),
    counts=True,
    options=("k",),
)
