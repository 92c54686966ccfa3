"""The combinatorial problems of the graph besides those of :mod:`assay.spec.instances`, and the types of answers.

All problems are about 0/1 vectors and have exact integer answers.  ``answer`` follows the definition: it looks at every
pair or tuple.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from assay.spec.instances.formula import Formula

__all__ = [
    "ClosestPair",
    "Extremum",
    "FurthestPair",
    "GapMaxInnerProduct",
    "KOrthogonalVectors",
    "MaxInnerProduct",
    "MonochromaticOrthogonalVectors",
    "Satisfiability",
    "Solutions",
    "inner_products",
    "orthogonal_pairs",
    "satisfiability",
]

_BLOCK = 1 << 22  # inner products that are in memory at a time
_CHECKABLE = 1 << 36  # the n·m·d up to which a promise is checked, which takes some seconds


@dataclass(frozen=True)
class Satisfiability:
    """The answer for a formula.

    satisfiable: whether there is a model.  count: the number of models, ``None`` if it was not decoded.  model: one of
    them, ``None`` if there is none or if it was not decoded.
    """

    satisfiable: bool
    count: int | None = None
    model: tuple[bool, ...] | None = None


@dataclass(frozen=True)
class Solutions:
    """The answer for sets of vectors, whose solutions are tuples of indices.

    exists: whether there is a solution.  count: the number of solutions, ``None`` if it was not decoded.  witness: one
    of them, ``None`` if there is none or if it was not decoded.
    """

    exists: bool
    count: int | None = None
    witness: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Extremum:
    """The largest or the least value over all pairs of vectors.

    count: the number of pairs that attain it, ``None`` if it is not known.  pair: one of these, or ``None``.
    """

    value: Fraction | float | int
    count: int | None = None
    pair: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class _TwoSets:
    """Two sets of 0/1 vectors, ``left`` (n, d) and ``right`` (m, d), checked as those of OrthogonalVectors are."""

    left: NDArray[np.uint8]
    right: NDArray[np.uint8]

    def __post_init__(self) -> None:
        checked = OrthogonalVectors(self.left, self.right)
        object.__setattr__(self, "left", checked.left)
        object.__setattr__(self, "right", checked.right)


class MaxInnerProduct(_TwoSets):
    """Find the largest ⟨a, b⟩ over pairs of one vector of each set."""

    def answer(self) -> Extremum:
        """The answer by definition: all pairs are tried."""
        return _extremum(self.left, self.right, lambda product, a, b: product, largest=True)


class ClosestPair(_TwoSets):
    """Find the least Hamming distance over pairs of one vector of each set (bichromatic)."""

    def answer(self) -> Extremum:
        """The answer by definition: all pairs are tried."""
        return _extremum(self.left, self.right, _distance, largest=False)


@dataclass(frozen=True, eq=False)
class GapMaxInnerProduct(_TwoSets):
    """Which rows of ``left`` have a ``right`` vector with ⟨a, b⟩ ≥ threshold?

    It is promised that every other row has ⟨a, b⟩ < (1 − gap)·threshold for all b.  left (n, d), right (m, d): 0 and 1.
    threshold: an integer in [1, d].  gap: a rational in (0, 1].  checked: whether the promise was checked, which it is
    for n·m·d ≤ 2^36.  Raises InvalidInstance where the promise is found not to hold.
    """

    threshold: int
    gap: Fraction
    checked: bool = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        (n, d), m = self.left.shape, len(self.right)
        if not isinstance(self.threshold, (int, np.integer)) or not 1 <= self.threshold <= d:
            raise InvalidInstance(f"threshold {self.threshold!r}: expected an integer from 1 to {d}")
        object.__setattr__(self, "threshold", int(self.threshold))
        try:
            object.__setattr__(self, "gap", Fraction(self.gap))
        except (TypeError, ValueError, OverflowError):
            raise InvalidInstance(f"gap {self.gap!r}: expected a rational number above 0, at most 1") from None
        if not 0 < self.gap <= 1:
            raise InvalidInstance(f"gap {self.gap}: expected a rational number above 0, at most 1")
        checked = n * m * d <= _CHECKABLE
        object.__setattr__(self, "checked", checked)
        if not checked:
            return
        least = math.ceil((1 - self.gap) * self.threshold)  # an integer is below (1−γ)t iff it is below this
        for start, products in inner_products(self.left, self.right):
            best = products.max(axis=1)
            wrong = np.flatnonzero((best >= least) & (best < self.threshold))
            if wrong.size:
                row = int(wrong[0])
                raise InvalidInstance(
                    f"promise broken: left[{start + row}] has a largest inner product of {best[row]}, expected "
                    f"at least {self.threshold} or below {(1 - self.gap) * self.threshold}"
                )

    def answer(self) -> Solutions:
        """The answer by definition; the count is that of rows."""
        rows = np.concatenate([p.max(axis=1) >= self.threshold for _, p in inner_products(self.left, self.right)])
        if not rows.any():
            return Solutions(False, 0, None)
        row = int(rows.argmax())
        products = self.right.astype(np.int64) @ self.left[row]
        return Solutions(True, int(rows.sum()), (row, int(products.argmax())))


@dataclass(frozen=True, eq=False)
class KOrthogonalVectors:
    """Is there a tuple of vectors, one of each of k ≥ 2 sets (n_i, d) of 0/1 vectors, with Σ_c Π_i x_ic = 0?"""

    sets: tuple[NDArray[np.uint8], ...]

    def __init__(self, sets: Sequence[ArrayLike]) -> None:
        if len(sets) < 2:
            raise InvalidInstance(f"{len(sets)} sets: expected at least 2")
        checked = [OrthogonalVectors(sets[0], each) for each in sets[1:]]
        object.__setattr__(self, "sets", (checked[0].left, *(each.right for each in checked)))

    def answer(self) -> Solutions:
        """The answer by definition: all tuples are tried."""
        found = [
            indices
            for indices in itertools.product(*(range(len(each)) for each in self.sets))
            if not np.bitwise_and.reduce([each[i] for each, i in zip(self.sets, indices, strict=True)]).any()
        ]
        return Solutions(bool(found), len(found), found[0] if found else None)


@dataclass(frozen=True, eq=False)
class MonochromaticOrthogonalVectors:
    """Are two different vectors i < j of one set (n, d) of 0/1 vectors, n ≥ 2, orthogonal?"""

    vectors: NDArray[np.uint8]

    def __post_init__(self) -> None:
        object.__setattr__(self, "vectors", _one_set(self.vectors))

    def answer(self) -> Solutions:
        """The answer by definition: all pairs are tried."""
        zero = np.triu(self.vectors.astype(np.int64) @ self.vectors.T == 0, 1)
        count = int(zero.sum())
        return Solutions(count > 0, count, _first(zero))


@dataclass(frozen=True, eq=False)
class FurthestPair:
    """Find the largest Hamming distance of two points of one set (n, d) of 0/1 points, n ≥ 2 (monochromatic)."""

    points: NDArray[np.uint8]

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", _one_set(self.points))

    def answer(self) -> Extremum:
        """The answer by definition, over pairs i < j."""
        points = self.points.astype(np.int64)
        weight = points.sum(axis=1)
        distance = np.triu(weight[:, None] + weight[None, :] - 2 * (points @ points.T) + 1, 1) - 1
        at = distance == distance.max()
        return Extremum(int(distance.max()), int(at.sum()), _first(at))


def satisfiability(formula: Formula) -> Satisfiability:
    """The answer by definition: all assignments are tried."""
    models = [each for each in itertools.product((False, True), repeat=formula.variables) if formula.holds(each)]
    return Satisfiability(bool(models), len(models), models[0] if models else None)


def orthogonal_pairs(vectors: OrthogonalVectors) -> Solutions:
    """The answer by definition: all pairs are tried."""
    count, witness = 0, None
    for start, products in inner_products(vectors.left, vectors.right):
        zero = products == 0
        count += int(zero.sum())
        if witness is None and (found := _first(zero)) is not None:
            witness = (start + found[0], found[1])
    return Solutions(count > 0, count, witness)


def inner_products(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield all ⟨a, b⟩ in blocks of rows: (first row, integers (rows, m)).  All are exact: float32 is, to 2^24."""
    kind = np.float32 if left.shape[1] < 1 << 24 else np.float64
    other: NDArray[Any] = right.T.astype(kind)
    rows = max(1, _BLOCK // len(right))
    for start in range(0, len(left), rows):
        block: NDArray[Any] = left[start : start + rows].astype(kind)
        yield start, (block @ other).astype(np.int64)


def _extremum(left: NDArray[np.uint8], right: NDArray[np.uint8], value: Any, *, largest: bool) -> Extremum:
    best: int | None = None
    count, pair = 0, None
    b = right.sum(axis=1, dtype=np.int64)
    for start, products in inner_products(left, right):
        a = left[start : start + len(products)].sum(axis=1, dtype=np.int64)
        values = value(products, a[:, None], b[None, :])
        here = int(values.max() if largest else values.min())
        if best is not None and (here < best if largest else here > best):
            continue
        at = values == here
        if here != best:
            found = _first(at)
            assert found is not None
            best, count, pair = here, 0, (start + found[0], found[1])
        count += int(at.sum())
    assert best is not None
    return Extremum(best, count, pair)


def _distance(product: NDArray[np.int64], a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    return a + b - 2 * product


def _first(at: NDArray[np.bool_]) -> tuple[int, int] | None:
    if not at.any():
        return None
    i, j = np.unravel_index(int(at.argmax()), at.shape)
    return int(i), int(j)


def _one_set(given: ArrayLike) -> NDArray[np.uint8]:
    vectors = OrthogonalVectors(given, given).left
    if len(vectors) < 2:
        raise InvalidInstance(f"a set of {len(vectors)} vector: expected at least 2")
    return vectors
