"""From k sets of vectors to attention of order k: TEN-3 decides, TEN-7 needs only entries Θ((log n)^(1/k)).

The first set becomes the queries, and each other set the keys of a mode.  One more key of mode 1, with value 1,
calibrates: with R combinations of the other modes, all of weight 1 beside it, the output of a query is
R/(R + Σ_j e^(s_j)).  A last coordinate lifts the scores of all other combinations by ω ≥ ln R, so that one solution
weighs as much as all calibrators.  Entries are 0, ±κ and ρ, rounded *up* to the number type, and the rounded numbers
are checked to leave the gap (proofs_notes/reductions.md, TEN-3 and TEN-7).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.memory import require_memory
from assay.spec.problem import InvalidInstance, Provenance
from assay.spec.reductions.problems import GapMaxInnerProduct, KOrthogonalVectors, Solutions, inner_products
from assay.spec.reductions.reduction import EXACT, Reduction, Sizes
from assay.spec.reductions.rounding import above, dtype_named, log_bounds, output_array, round_up
from assay.spec.tensor_attention.instance import HigherOrder, Instance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


__all__ = ["GAP_1", "TEN_3", "TEN_7", "Entries", "GapKMaxInnerProduct", "entries"]

_CUT = Fraction(13, 20)  # between 1/2 and 4/5
_DECIDING = Fraction(3, 20)
_OPTIONS = ("scale", "dtype", "k")
_CHECKABLE = 1 << 28  # products of tuples up to which a promise is checked


@dataclass(frozen=True)
class Entries:
    """The entries of an instance: κ, and ρ, that of the coordinate that lifts scores; 0 where no lift is needed."""

    kappa: Fraction
    rho: Fraction


def entries(
    order: int, keys: Sequence[int], scale: float, dtype: str, *, gap: Fraction = Fraction(1), lifted: int = 1
) -> Entries:
    """The least κ and then the least ρ of a type that decide, with |σ| the scale and m_1, … the numbers of keys.

    gap: g, where a score falls by at least |σ|κ^k·g between a solution and anything else.  lifted: h, the coordinates
    that lift scores.  They are chosen so that ω = |σ|κ^(k−1)ρh ≥ ln R, R = m_2 ⋯ m_{k−1}, and |σ|κ^k·g ≥ ω + ln 4m_1.
    Raises InvalidInstance where the type has no such numbers, or for a scale that is 0 or not finite.
    """
    if not math.isfinite(scale) or scale == 0.0:
        raise InvalidInstance(f"scale {scale!r}: expected a finite number other than 0")
    sigma, rest = abs(Fraction(scale)), math.prod(keys[1:])
    least, lift = log_bounds(4 * keys[0])[1], log_bounds(rest)[1] if rest > 1 else Fraction(0)
    kappa = round_up(_root((lift + least) / (sigma * gap), order), dtype)
    while True:
        rho = round_up(lift / (sigma * kappa ** (order - 1) * lifted), dtype) if rest > 1 else Fraction(0)
        if sigma * kappa**order * gap >= sigma * kappa ** (order - 1) * rho * lifted + least:
            return Entries(kappa, rho)
        kappa = round_up(kappa * (1 + Fraction(1, 2**60)), dtype)  # the next number of the type


def _root(x: Fraction, k: int) -> Fraction:
    """A rational that is at least the k-th root of x > 0, and relatively less than 2^-90 above it."""
    shift = 128 + max(0, x.denominator.bit_length() - x.numerator.bit_length()) // k
    whole = math.ceil(x * 2 ** (k * shift))
    low, high = 0, 1 << (whole.bit_length() // k + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if middle**k >= whole else (middle + 1, high)
    return Fraction(low, 2**shift)


def _built(
    query: NDArray[np.uint8],
    calibrator: NDArray[np.int8],
    keys: list[NDArray[np.int8]],
    made: Entries,
    scale: float,
    dtype: str,
    family: str,
) -> HigherOrder:
    """The instance: 1 stands for κ, 2 for ρ, −1 for −κ; the calibrator goes before the keys of mode 1."""
    kind = dtype_named(dtype)
    keys[0] = np.concatenate([calibrator[None, :], keys[0]])
    size = sum(len(x) for x in (query, *keys)) * query.shape[1] * kind.itemsize
    require_memory(3 * size, f"{len(query)} queries and {len(keys)} modes of keys in {dtype}")

    def stored(x: NDArray[Any]) -> NDArray[Any]:
        numbers = np.array([float(-made.kappa), 0.0, float(made.kappa), float(made.rho)]).astype(kind)
        return np.asarray(numbers[x.astype(np.int64) + 1])[None, None]

    arrays = [stored(x) for x in keys]
    if scale < 0:
        arrays[-1] = -arrays[-1]  # the scores keep their sign
    first = np.zeros((1, 1, len(keys[0]), 1), kind)
    first[0, 0, 0] = 1
    values = [first, *(np.ones((1, 1, len(x), 1), kind) for x in keys[1:])]
    instance: HigherOrder = Instance.of_order(len(keys) + 1)(
        stored(query), *arrays, *values, scale=scale, provenance=Provenance(family=family)
    )
    return instance


def _output(instance: HigherOrder, output: Any) -> NDArray[Any]:
    """(n,): one number for each query, from an output (1, 1, n, 1)."""
    return output_array(output, (1, 1, instance.query.shape[2], 1)).reshape(-1)


def _require_order(sets: Sequence[Any], k: int | None) -> None:
    if k is not None and k != len(sets):
        raise InvalidInstance(f"k {k!r}: expected {len(sets)}, the number of sets")


def _usual(scale: float | None, columns: int) -> float:
    return 1.0 / columns if scale is None else float(scale)


def _sized(order: int, keys: Sequence[int], n: int, columns: int, made: Entries) -> Sizes:
    modes = [keys[0] + 1, *keys[1:]]
    largest = max(made.kappa, made.rho)
    return {"n": n, "m": max(modes), "d": columns, "B": largest, "k": order, "combinations": math.prod(modes)}


# --- TEN-3 ------------------------------------------------------------------------------------------------------------


def _forward(
    source: KOrthogonalVectors, scale: float | None = None, dtype: str = "float64", k: int | None = None
) -> HigherOrder:
    _require_order(source.sets, k)
    query, *keys = source.sets
    lift = len(keys) > 1
    sigma = _usual(scale, query.shape[1] + lift)
    made = entries(len(source.sets), [len(x) for x in keys], sigma, dtype)

    def wide(x: NDArray[Any], last: int) -> NDArray[Any]:
        return np.pad(x.view(np.int8), ((0, 0), (0, int(lift))), constant_values=last)

    signed = [wide(x, 1) for x in keys[:-1]]
    signed.append(wide(-keys[-1].view(np.int8), 2 if made.rho else 0))
    calibrator = np.zeros(query.shape[1] + lift, np.int8)
    return _built(wide(query, 1).view(np.uint8), calibrator, signed, made, sigma, dtype, "TEN-3")


def _measure(source: KOrthogonalVectors) -> Sizes:
    return {"sizes": tuple(len(x) for x in source.sets), "d": source.sets[0].shape[1]}


def _sizes(sizes: Sizes, scale: float | None = None, dtype: str = "float64", k: int | None = None) -> Sizes:
    n, *keys = sizes["sizes"]
    columns = sizes["d"] + (len(keys) > 1)
    made = entries(len(keys) + 1, keys, _usual(scale, columns), dtype)
    return _sized(len(keys) + 1, keys, n, columns, made)


def _witness(sets: Sequence[NDArray[np.uint8]], rows: NDArray[np.bool_], least: int | None) -> tuple[int, ...] | None:
    """A tuple of the first row that has a solution according to the output; ``None`` if it has none.

    least: the product that a solution has at least; ``None`` for exactly 0.
    """
    if not rows.any():
        return None
    i = int(rows.argmax())
    left = sets[0][i][None, :]
    for each in sets[1:-1]:
        left = (left[:, None, :] & each[None, :, :]).reshape(-1, each.shape[1])
    for start, products in inner_products(left, sets[-1]):
        at = products == 0 if least is None else products >= least
        if at.any():
            row, last = np.unravel_index(int(at.argmax()), at.shape)
            middle = np.unravel_index(start + int(row), [len(each) for each in sets[1:-1]]) if len(sets) > 2 else ()
            return (i, *(int(index) for index in middle), int(last))
    return None


def _decode(source: KOrthogonalVectors, target: HigherOrder, output: Any) -> Solutions:
    rows = ~above(_output(target, output), _CUT)
    exists = bool(rows.any())
    return Solutions(exists, None if exists else 0, _witness(source.sets, rows, None))


_PRECONDITIONS = ("scale is not 0", "κ and ρ are numbers of the type")

TEN_3 = Reduction(
    name="TEN-3",
    claim="TEN-3",
    source="k_orthogonal_vectors",
    target="tensor_attention",
    statement="Q = κ(a, 1), K¹ = κ(b, 1), K² = (−κc, ρ), a key 0 of value 1: output ≤ 1/2 with a solution, else ≥ 4/5",
    forward=_forward,
    decoder=_decode,
    accuracy=lambda source, target: _DECIDING,
    sizes=_sizes,
    measure=_measure,
    preconditions=_PRECONDITIONS,
    options=_OPTIONS,
)


# --- TEN-7 ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class GapKMaxInnerProduct:
    """Which rows of the first of k ≥ 2 sets are in a tuple with Σ_c Π_i x_ic ≥ threshold?

    It is promised that every other row has a product < (1 − gap)·threshold in all its tuples.  sets: (n_i, d), of 0 and
    1.  threshold: an integer in [1, d].  gap: a rational in (0, 1].  checked: whether the promise was checked, which it
    is for up to 2^28 products.  Raises InvalidInstance where the promise is found not to hold.
    """

    sets: tuple[NDArray[np.uint8], ...]
    threshold: int
    gap: Fraction
    checked: bool = field(default=False)

    def __init__(self, sets: Sequence[ArrayLike], threshold: int, gap: Fraction | int | str) -> None:
        vectors = KOrthogonalVectors(sets).sets
        ones = np.ones((1, vectors[0].shape[1]), np.uint8)
        pair = GapMaxInnerProduct(ones, ones, threshold, Fraction(gap))  # which checks the numbers
        size = math.prod(len(x) for x in vectors) * vectors[0].shape[1]
        for name, value in (("sets", vectors), ("threshold", pair.threshold), ("gap", pair.gap)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "checked", size <= _CHECKABLE)
        if self.checked:
            best = self.largest()
            wrong = np.flatnonzero((best >= math.ceil((1 - self.gap) * self.threshold)) & (best < self.threshold))
            if wrong.size:
                raise InvalidInstance(
                    f"promise broken: row {int(wrong[0])} of the first set has a largest product of "
                    f"{best[wrong[0]]}, expected at least {self.threshold} or below {(1 - self.gap) * self.threshold}"
                )

    def largest(self) -> NDArray[np.int64]:
        """(n,): the largest product of every row of the first set, by definition."""
        best = np.zeros(len(self.sets[0]), np.int64)
        for i, row in enumerate(self.sets[0]):
            left = row[None, :]
            for each in self.sets[1:-1]:
                left = (left[:, None, :] & each[None, :, :]).reshape(-1, each.shape[1])
            best[i] = max(int(products.max()) for _, products in inner_products(left, self.sets[-1]))
        return best

    def answer(self) -> Solutions:
        """The answer by definition; the count is that of rows."""
        rows = self.largest() >= self.threshold
        return Solutions(bool(rows.any()), int(rows.sum()), _witness(self.sets, rows, self.threshold))


def _to_k_sets(source: GapMaxInnerProduct, k: int = 3) -> GapKMaxInnerProduct:
    if not isinstance(k, int) or k < 2:
        raise InvalidInstance(f"k {k!r}: expected an integer of at least 2")
    ones = np.ones((1, source.left.shape[1]), np.uint8)
    return GapKMaxInnerProduct([source.left, source.right, *[ones] * (k - 2)], source.threshold, source.gap)


def _decode_first_two(source: GapMaxInnerProduct, target: GapKMaxInnerProduct, answer: Solutions) -> Solutions:
    return Solutions(answer.exists, answer.count, None if answer.witness is None else answer.witness[:2])


def _measure_gap_of_pairs(source: GapMaxInnerProduct) -> Sizes:
    n, d = source.left.shape
    return {"n": n, "m": len(source.right), "d": d, "threshold": source.threshold, "gap": source.gap}


GAP_1 = Reduction(
    name="GAP-1",
    claim="GAP-1",
    source="gap_max_inner_product",
    target="gap_k_max_inner_product",
    statement="the two sets, and k − 2 sets of the vector of ones alone",
    forward=_to_k_sets,
    decoder=_decode_first_two,
    accuracy=lambda source, target: EXACT,
    sizes=lambda sizes, k=3: {
        "sizes": (sizes["n"], sizes["m"], *[1] * (k - 2)),
        **{name: sizes[name] for name in ("d", "threshold", "gap")},
    },
    measure=_measure_gap_of_pairs,
    counts=True,
    options=("k",),
)


def _forward_gap(
    source: GapKMaxInnerProduct, scale: float | None = None, dtype: str = "float64", k: int | None = None
) -> HigherOrder:
    _require_order(source.sets, k)
    query, *keys = source.sets
    t, sigma = source.threshold, _usual(scale, query.shape[1] + source.threshold)
    lifted = t if len(keys) > 1 else 0
    made = entries(len(source.sets), [len(x) for x in keys], sigma, dtype, gap=source.gap * t, lifted=max(lifted, 1))

    def wide(x: NDArray[Any], last: int) -> NDArray[Any]:
        return np.pad(x.view(np.int8), ((0, 0), (0, t)), constant_values=last)

    signed = [wide(keys[0], 2 if made.rho else 0), *(wide(x, 1) for x in keys[1:])]
    calibrator = np.concatenate([np.zeros(query.shape[1], np.int8), np.ones(t, np.int8)])
    return _built(wide(query, 1).view(np.uint8), calibrator, signed, made, sigma, dtype, "TEN-7")


def _measure_gap(source: GapKMaxInnerProduct) -> Sizes:
    sizes = tuple(len(x) for x in source.sets)
    return {"sizes": sizes, "d": source.sets[0].shape[1], "threshold": source.threshold, "gap": source.gap}


def _sizes_gap(sizes: Sizes, scale: float | None = None, dtype: str = "float64", k: int | None = None) -> Sizes:
    n, *keys = sizes["sizes"]
    t = sizes["threshold"]
    columns = sizes["d"] + t
    lifted = t if len(keys) > 1 else 1
    gap = Fraction(sizes["gap"]) * t
    made = entries(len(keys) + 1, keys, _usual(scale, columns), dtype, gap=gap, lifted=lifted)
    return _sized(len(keys) + 1, keys, n, columns, made)


def _decode_gap(source: GapKMaxInnerProduct, target: HigherOrder, output: Any) -> Solutions:
    rows = ~above(_output(target, output), _CUT)
    return Solutions(bool(rows.any()), int(rows.sum()), _witness(source.sets, rows, source.threshold))


TEN_7 = Reduction(
    name="TEN-7",
    claim="TEN-7",
    source="gap_k_max_inner_product",
    target="tensor_attention",
    statement="Q = κ(a, 1_t), K¹_0 = κ(0, 1_t), K¹ = (κb, ρ1_t), K² = κ(c, 1_t): as TEN-3, entries Θ((log n)^(1/k))",
    forward=_forward_gap,
    decoder=_decode_gap,
    accuracy=lambda source, target: _DECIDING,
    sizes=_sizes_gap,
    measure=_measure_gap,
    preconditions=(*_PRECONDITIONS, "every row has a tuple with a product of at least t, or all below (1 − γ)t"),
    counts=True,
    options=_OPTIONS,
)
