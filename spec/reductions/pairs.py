"""Reductions between problems of 0/1 vectors: k-OV, one set or two, the largest inner product, Hamming distances.

A value to decode (a largest inner product or a distance) may be wrong by anything less than the needed accuracy.  It is
given as a number or as an :class:`~assay.spec.reductions.problems.Extremum`.  The pair of an Extremum becomes the
witness where it is a solution.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.memory import require_memory
from assay.spec.problem import InvalidInstance
from assay.spec.reductions.problems import (
    ClosestPair,
    Extremum,
    FurthestPair,
    KOrthogonalVectors,
    MaxInnerProduct,
    MonochromaticOrthogonalVectors,
    Solutions,
)
from assay.spec.reductions.reduction import EXACT, Reduction, Sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["IP_1", "IP_2", "IP_3", "KOV_2", "KOV_3", "MONO_1", "MONO_2", "MONO_3", "OV_5", "gadgets"]

_LEFT_GADGET = np.array([[0, 0, 0, 1], [0, 0, 1, 0]], dtype=np.uint8)  # 0 ↦ 0001, 1 ↦ 0010
_RIGHT_GADGET = np.array([[0, 1, 1, 1], [1, 1, 0, 1]], dtype=np.uint8)  # 0 ↦ 0111, 1 ↦ 1101


def _measure_two(source: Any) -> Sizes:
    return {"n": len(source.left), "m": len(source.right), "d": source.left.shape[1]}


def _measure_vectors(source: MonochromaticOrthogonalVectors) -> Sizes:
    return {"n": len(source.vectors), "d": source.vectors.shape[1]}


def _require_room(sizes: Sizes) -> None:
    n, d = sizes["n"] + sizes.get("m", 0), sizes["d"]
    require_memory(2 * n * d, f"{n} vectors of {d} coordinates")


def _written(bits: NDArray[np.uint8], gadget: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The vectors with every bit replaced by its gadget."""
    return gadget[bits].reshape(len(bits), -1)


def gadgets(source: OrthogonalVectors) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The sets of OV-5, (n, 4d) and (m, 4d), with Hamming distances 2d + 2⟨a, b⟩ and weights d and 3d."""
    return _written(source.left, _LEFT_GADGET), _written(source.right, _RIGHT_GADGET)


def _extremum(output: Any) -> Extremum:
    """The answer of a solver as an Extremum.  Raises ``ValueError`` where its value is not a finite number."""
    found = output if isinstance(output, Extremum) else None
    value = output if found is None else found.value
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, Fraction, np.integer, np.floating)):
        raise ValueError(f"value is a {type(value).__name__}: expected one number")
    if not math.isfinite(value):
        raise ValueError(f"value is {value}: expected a finite number")
    if not isinstance(value, Fraction):
        value = Fraction(int(value)) if isinstance(value, (int, np.integer)) else Fraction(float(value))
    return Extremum(value, found.count if found else None, found.pair if found else None)


def _solutions(best: Extremum, exists: bool, holds: Any) -> Solutions:
    """The answer of a problem whose solutions are the pairs that attain an extremum."""
    if not exists:
        return Solutions(False, 0, None)
    pair = best.pair if best.pair is not None and holds(*best.pair) else None
    return Solutions(True, best.count, pair)


# --- k-OV -------------------------------------------------------------------------------------------------------------


def _halves(k: int) -> tuple[slice, slice]:
    return slice(0, (k + 1) // 2), slice((k + 1) // 2, k)


def _merged(sets: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The coordinatewise products of all tuples; the last index runs fastest."""
    d = sets[0].shape[1]
    return functools.reduce(lambda x, y: (x[:, None, :] & y[None, :, :]).reshape(-1, d), sets)


def _to_two_sets(source: KOrthogonalVectors) -> OrthogonalVectors:
    _require_room(_sizes_of_two(_measure_tuples(source)))
    left, right = _halves(len(source.sets))
    return OrthogonalVectors(_merged(source.sets[left]), _merged(source.sets[right]))


def _measure_tuples(source: KOrthogonalVectors) -> Sizes:
    return {"sizes": tuple(len(each) for each in source.sets), "d": source.sets[0].shape[1]}


def _sizes_of_two(sizes: Sizes) -> Sizes:
    left, right = _halves(len(sizes["sizes"]))
    return {"n": math.prod(sizes["sizes"][left]), "m": math.prod(sizes["sizes"][right]), "d": sizes["d"]}


def _decode_tuples(source: KOrthogonalVectors, target: OrthogonalVectors, answer: Solutions) -> Solutions:
    if answer.witness is None:
        return answer
    indices: list[int] = []
    for half, row in zip(_halves(len(source.sets)), answer.witness, strict=True):
        shape = tuple(len(each) for each in source.sets[half])
        indices += [int(i) for i in np.unravel_index(row, shape)]
    return Solutions(answer.exists, answer.count, tuple(indices))


KOV_2 = Reduction(
    name="KOV-2",
    claim="KOV-2",
    source="k_orthogonal_vectors",
    target="orthogonal_vectors",
    statement="products of all tuples of the first ⌈k/2⌉ sets on the left, of the others on the right",
    forward=_to_two_sets,
    decoder=_decode_tuples,
    accuracy=lambda source, target: EXACT,
    sizes=_sizes_of_two,
    measure=_measure_tuples,
    preconditions=("n^⌈k/2⌉ vectors fit in memory",),
    counts=True,
)


# --- two sets or k ---------------------------------------------------------------------------------------------------


def _order(k: int) -> int:
    if not isinstance(k, int) or k < 2:
        raise InvalidInstance(f"k {k!r}: expected an integer of at least 2")
    return k


def _to_k_sets(source: OrthogonalVectors, k: int = 3) -> KOrthogonalVectors:
    ones = np.ones((1, source.d), np.uint8)
    return KOrthogonalVectors([source.left, source.right, *[ones] * (_order(k) - 2)])


def _decode_first_two(source: OrthogonalVectors, target: KOrthogonalVectors, answer: Solutions) -> Solutions:
    return Solutions(answer.exists, answer.count, None if answer.witness is None else answer.witness[:2])


KOV_3 = Reduction(
    name="KOV-3",
    claim="KOV-3",
    source="orthogonal_vectors",
    target="k_orthogonal_vectors",
    statement="the two sets, and k − 2 sets of the vector of ones alone",
    forward=_to_k_sets,
    decoder=_decode_first_two,
    accuracy=lambda source, target: EXACT,
    sizes=lambda sizes, k=3: {"sizes": (sizes["n"], sizes["m"], *[1] * (_order(k) - 2)), "d": sizes["d"]},
    measure=_measure_two,
    counts=True,
    options=("k",),
)


# --- one set or two ---------------------------------------------------------------------------------------------------


def _to_one_set(source: OrthogonalVectors) -> MonochromaticOrthogonalVectors:
    _require_room({"n": source.n, "m": source.m, "d": source.d + 2})
    left = np.pad(source.left, ((0, 0), (0, 2)))
    right = np.pad(source.right, ((0, 0), (0, 2)))
    left[:, source.d] = 1
    right[:, source.d + 1] = 1
    return MonochromaticOrthogonalVectors(np.concatenate([left, right]))


def _decode_two_sets(source: OrthogonalVectors, target: Any, answer: Solutions) -> Solutions:
    if answer.witness is None:
        return answer
    i, j = sorted(answer.witness)
    return Solutions(answer.exists, answer.count, (i, j - source.n))


MONO_1 = Reduction(
    name="MONO-1",
    claim="MONO-1",
    source="orthogonal_vectors",
    target="monochromatic_orthogonal_vectors",
    statement="one more coordinate that the left share, one that the right share",
    forward=_to_one_set,
    decoder=_decode_two_sets,
    accuracy=lambda source, target: EXACT,
    sizes=lambda sizes: {"n": sizes["n"] + sizes["m"], "d": sizes["d"] + 2},
    measure=_measure_two,
    counts=True,
)


def _twice(source: MonochromaticOrthogonalVectors) -> OrthogonalVectors:
    return OrthogonalVectors(source.vectors, source.vectors)


def _decode_one_set(source: MonochromaticOrthogonalVectors, target: Any, answer: Solutions) -> Solutions:
    """The answer for one set: (i, j) and (j, i) are one pair, and a zero vector is orthogonal to every vector."""
    zeros = np.flatnonzero(~source.vectors.any(axis=1))
    count = None if answer.count is None else (answer.count - len(zeros)) // 2
    witness = answer.witness
    if witness is not None and witness[0] == witness[1]:  # a zero vector, for which any other vector will do
        witness = (witness[0], 1 if witness[0] == 0 else 0)
    return Solutions(answer.exists, count, None if witness is None else tuple(sorted(witness)))


MONO_2 = Reduction(
    name="MONO-2",
    claim="MONO-2",
    source="monochromatic_orthogonal_vectors",
    target="orthogonal_vectors",
    statement="the set twice",
    forward=_twice,
    decoder=_decode_one_set,
    accuracy=lambda source, target: EXACT,
    sizes=lambda sizes: {"n": sizes["n"], "m": sizes["n"], "d": sizes["d"]},
    measure=_measure_vectors,
    preconditions=("at least two vectors",),
    counts=True,
)


def _to_furthest(source: OrthogonalVectors) -> FurthestPair:
    _require_room({"n": source.n, "m": source.m, "d": 6 * source.d + 1})
    left, right = gadgets(source)
    extra = np.ones((source.n, 2 * source.d + 1), dtype=np.uint8)
    none = np.zeros((source.m, 2 * source.d + 1), dtype=np.uint8)
    return FurthestPair(
        np.concatenate([np.concatenate([left, extra], axis=1), np.concatenate([1 - right, none], axis=1)])
    )


def _decode_furthest(source: OrthogonalVectors, target: FurthestPair, output: Any) -> Solutions:
    """The answer from distances 4d + 1 − 2⟨a, b⟩ of left and right points; all others are at most 2d."""
    best = _extremum(output)
    if best.pair is not None:
        i, j = sorted(best.pair)
        best = Extremum(best.value, best.count, (i, j - source.n))
    return _solutions(best, best.value > 4 * source.d, _is_orthogonal(source))


def _is_orthogonal(source: OrthogonalVectors) -> Any:
    def holds(i: int, j: int) -> bool:
        return 0 <= i < source.n and 0 <= j < source.m and not (source.left[i] & source.right[j]).any()

    return holds


MONO_3 = Reduction(
    name="MONO-3",
    claim="MONO-3",
    source="orthogonal_vectors",
    target="furthest_pair",
    statement="the gadgets of OV-5, the right ones complemented, 2d + 1 ones after the left: distance 4d + 1 − 2⟨a, b⟩",
    forward=_to_furthest,
    decoder=_decode_furthest,
    accuracy=lambda source, target: Fraction(1),
    sizes=lambda sizes: {"n": sizes["n"] + sizes["m"], "d": 6 * sizes["d"] + 1},
    measure=_measure_two,
    counts=True,
)


# --- inner products and distances -------------------------------------------------------------------------------------


def _to_closest(source: OrthogonalVectors) -> ClosestPair:
    _require_room({"n": source.n, "m": source.m, "d": 4 * source.d})
    return ClosestPair(*gadgets(source))


def _decode_closest(source: OrthogonalVectors, target: ClosestPair, output: Any) -> Solutions:
    """The answer from distances 2d + 2⟨a, b⟩, which are 2d or at least 2d + 2."""
    best = _extremum(output)
    return _solutions(best, best.value < 2 * source.d + 1, _is_orthogonal(source))


OV_5 = Reduction(
    name="OV-5",
    claim="OV-5",
    source="orthogonal_vectors",
    target="closest_pair",
    statement="0 ↦ 0001, 1 ↦ 0010 and 0 ↦ 0111, 1 ↦ 1101: Hamming distance 2d + 2⟨a, b⟩",
    forward=_to_closest,
    decoder=_decode_closest,
    accuracy=lambda source, target: Fraction(1),
    sizes=lambda sizes: {"n": sizes["n"], "m": sizes["m"], "d": 4 * sizes["d"]},
    measure=_measure_two,
    counts=True,
)


def _to_largest(source: OrthogonalVectors) -> MaxInnerProduct:
    """The instance of x ↦ (1 − x, x) and y ↦ (1, 1 − y), whose inner product is 1 − xy."""
    _require_room({"n": source.n, "m": source.m, "d": 2 * source.d})
    left = np.concatenate([1 - source.left, source.left], axis=1)
    right = np.concatenate([np.ones_like(source.right), 1 - source.right], axis=1)
    return MaxInnerProduct(left, right)


def _decode_largest(source: OrthogonalVectors, target: MaxInnerProduct, output: Any) -> Solutions:
    """The answer from inner products d − ⟨a, b⟩."""
    best = _extremum(output)
    return _solutions(best, best.value > source.d - Fraction(1, 2), _is_orthogonal(source))


IP_1 = Reduction(
    name="IP-1",
    claim="IP-1",
    source="orthogonal_vectors",
    target="max_inner_product",
    statement="a ↦ (1 − a, a), b ↦ (1, 1 − b): inner product d − ⟨a, b⟩",
    forward=_to_largest,
    decoder=_decode_largest,
    accuracy=lambda source, target: Fraction(1, 2),
    sizes=lambda sizes: {"n": sizes["n"], "m": sizes["m"], "d": 2 * sizes["d"]},
    measure=_measure_two,
    counts=True,
)


def _padded(source: MaxInnerProduct) -> ClosestPair:
    """The vectors, each padded to weight d in coordinates that are 0 on the other side."""
    d = source.left.shape[1]
    _require_room({"n": len(source.left), "m": len(source.right), "d": 3 * d})
    sides = []
    for vectors, before, after in ((source.left, 0, d), (source.right, d, 0)):
        missing = d - vectors.sum(axis=1, dtype=np.int64)
        pad = (np.arange(d)[None, :] < missing[:, None]).astype(np.uint8)
        columns = [vectors, np.zeros((len(vectors), before), np.uint8), pad, np.zeros((len(vectors), after), np.uint8)]
        sides.append(np.concatenate(columns, axis=1))
    return ClosestPair(*sides)


def _decode_padded(source: MaxInnerProduct, target: ClosestPair, output: Any) -> Extremum:
    """The answer from distances 2d − 2⟨a, b⟩; the nearest even number is the true distance."""
    best = _extremum(output)
    value = _nearest((2 * source.left.shape[1] - Fraction(best.value)) / 2)
    return Extremum(value, best.count, best.pair)


IP_2 = Reduction(
    name="IP-2",
    claim="IP-2",
    source="max_inner_product",
    target="closest_pair",
    statement="padded to weight d in coordinates of their own: Hamming distance 2d − 2⟨a, b⟩",
    forward=_padded,
    decoder=_decode_padded,
    accuracy=lambda source, target: Fraction(1),
    sizes=lambda sizes: {"n": sizes["n"], "m": sizes["m"], "d": 3 * sizes["d"]},
    measure=_measure_two,
    counts=True,
)


def _agreements(source: ClosestPair) -> MaxInnerProduct:
    _require_room({"n": len(source.left), "m": len(source.right), "d": 2 * source.left.shape[1]})
    left, right = (np.concatenate([1 - each, each], axis=1) for each in (source.left, source.right))
    return MaxInnerProduct(left, right)


def _decode_agreements(source: ClosestPair, target: MaxInnerProduct, output: Any) -> Extremum:
    """The answer from inner products, which are d minus the distance."""
    best = _extremum(output)
    return Extremum(source.left.shape[1] - _nearest(Fraction(best.value)), best.count, best.pair)


IP_3 = Reduction(
    name="IP-3",
    claim="IP-3",
    source="closest_pair",
    target="max_inner_product",
    statement="x ↦ (1 − x, x) on both sides: the inner product counts agreements",
    forward=_agreements,
    decoder=_decode_agreements,
    accuracy=lambda source, target: Fraction(1, 2),
    sizes=lambda sizes: {"n": sizes["n"], "m": sizes["m"], "d": 2 * sizes["d"]},
    measure=_measure_two,
    counts=True,
)


def _nearest(x: Fraction) -> int:
    return math.floor(x + Fraction(1, 2))
