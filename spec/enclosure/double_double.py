"""Balls on double-double: an unevaluated sum high + low of two float64 numbers (about 104 bits) and a radius.

Sums and products are error-free transformations (Dekker; Knuth; Joldes, Muller, Popescu 2017).  Matrix products split
the operands into slices so narrow that BLAS multiplies and adds them exactly (Ozaki, Ogita, Oishi, Rump 2012).  exp is
a reduction, a short series and squarings.  Claims: proofs_notes/enclosure.md, ENC-5 to ENC-10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from assay.spec.enclosure.arb import LARGEST, from_parts, into_parts
from assay.spec.enclosure.float64 import ETA, UP, known

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Pair = tuple[Array, Array]

__all__ = ["DoubleDoubleBall", "exp_double_double"]

E = 2.0**-102  # bounds the relative error of one addition or product below (ENC-5)
_SLICED_BITS = 118  # bits kept of every operand of a sliced product
_EXP_ERROR = 2.0**-97  # ENC-7
_SPLITTER = 134217729.0  # 2^27 + 1
_CHUNK = 1 << 13

# ln 2 in three parts of 42, 42 and 53 bits, 1/6 in two, the rest of 1/24
_LN2 = (
    float.fromhex("0x1.62e42fefa3800p-1"),
    float.fromhex("0x1.ef35793c76000p-45"),
    float.fromhex("0x1.cc01f97b57a08p-87"),
)
_INV6 = (1.0 / 6.0, float.fromhex("0x1.5555555555555p-57"))
_INV24_LOW = float.fromhex("0x1.5555555555555p-59")


def _two_sum(a: Array, b: Array) -> Pair:
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _fast_two_sum(a: Array, b: Array) -> Pair:
    s = a + b
    return s, b - (s - a)


def _split(a: Array) -> Pair:
    c = _SPLITTER * a
    high = c - (c - a)
    return high, a - high


def _two_product(a: Array, b: Array) -> Pair:
    p = a * b
    ah, al = _split(a)
    bh, bl = _split(b)
    return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


def _add(a: Pair, b: Pair) -> Pair:
    """AccurateDWPlusDW: relative error below 2^-104 (Joldes et al., Theorem 3.1)."""
    s, e = _two_sum(a[0], b[0])
    t, f = _two_sum(a[1], b[1])
    s, e = _fast_two_sum(s, e + t)
    return _fast_two_sum(s, e + f)


def _add_float(a: Pair, b: Array | float) -> Pair:
    s, e = _two_sum(a[0], np.asarray(b))
    return _fast_two_sum(s, e + a[1])


def _multiply(a: Pair, b: Pair) -> Pair:
    p, e = _two_product(a[0], b[0])
    return _fast_two_sum(p, e + (a[0] * b[1] + a[1] * b[0]))


def _multiply_float(a: Pair, b: Array | float) -> Pair:
    p, e = _two_product(a[0], np.asarray(b))
    return _fast_two_sum(p, e + a[1] * b)


def _divide(a: Pair, b: Pair) -> Pair:
    q = a[0] / b[0]
    r = _add(a, _multiply_float(b, -q))
    q2 = r[0] / b[0]
    r = _add(r, _multiply_float(b, -q2))
    q, q2 = _fast_two_sum(q, q2)
    return _add_float((q, q2), r[0] / b[0])


def exp_double_double(high: Array, low: Array) -> Pair:
    """e^(high + low) for high ≤ 700, with a relative error of at most 2^-97 for high > −600 (ENC-7).

    For high ≤ −600 it is 0, with an absolute error below 2^-865.
    """
    shape = high.shape
    high, low = np.ascontiguousarray(high).reshape(-1), np.ascontiguousarray(low).reshape(-1)
    out_high, out_low = np.empty_like(high), np.empty_like(low)
    for start in range(0, high.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        out_high[part], out_low[part] = _exp_chunk(high[part], low[part])
    return out_high.reshape(shape), out_low.reshape(shape)


def _exp_chunk(high: Array, low: Array) -> Pair:
    kept = high > -600.0
    high, low = np.where(kept, high, -600.0), np.where(kept, low, 0.0)
    k = np.rint(high * (1.0 / math.log(2.0)))
    x = _add_float((high, low), -k * _LN2[0])  # k·LN2[0] and k·LN2[1] are exact: 11 + 42 bits
    x = _add_float(x, -k * _LN2[1])
    x = _add_float(x, -k * _LN2[2])
    r = (x[0] * 2.0**-9, x[1] * 2.0**-9)
    # e^r − 1 for |r| < 2^-10; for the terms from r^5/5! on float64 is enough
    t = r[0]
    tail = 1 / 120 + t * (1 / 720 + t * (1 / 5040 + t * (1 / 40320)))
    p = _add_float(_multiply_float(r, tail), 1.0 / 24.0)
    p = (p[0], p[1] + _INV24_LOW)
    p = _add(_multiply(p, r), (np.full_like(t, _INV6[0]), np.full_like(t, _INV6[1])))
    p = _add_float(_multiply(p, r), 0.5)
    p = _add_float(_multiply(p, r), 1.0)
    y = _multiply(p, r)
    for _ in range(9):  # (1 + y)² − 1 = 2y + y²
        y = _add((2 * y[0], 2 * y[1]), _multiply(y, y))
    y = _add_float(y, 1.0)
    scale = np.where(kept, np.ldexp(1.0, k.astype(np.int32)), 0.0)
    return y[0] * scale, y[1] * scale


def _slices(a: Array, axis: int, bits: int) -> tuple[list[Array], Array]:
    """The slices of a; slice t is a multiple of 2^(e − t·bits) and at most 2^(e − (t−1)·bits) in size (ENC-6).

    Returns also 2^e of every row: 0 for a row of zeros, and infinite where the slices would leave the range.
    """
    largest = np.abs(a).max(axis=axis, keepdims=True)
    _, exponent = np.frexp(largest)
    parts = []
    rest = a
    for t in range(1, _count(bits) + 1):
        unit = np.ldexp(1.0, exponent - t * bits + 52) * 1.5  # adding it rounds to multiples of 2^(e − t·bits)
        part = (rest + unit) - unit
        parts.append(part)
        rest = rest - part
    unit_of_row = np.ldexp(1.0, exponent)
    inside = (largest == 0.0) | ((exponent > -400) & (exponent < 400))  # beyond, the units would leave the range
    return parts, np.where(inside, np.where(largest == 0.0, 0.0, unit_of_row), np.inf)


def _exact_product(a_parts: list[Array], b_parts: list[Array]) -> Pair:
    """Σ_{p+q ≤ s+1} A_p B_q.  Each product is exact; their sum is in double-double, the smallest product first."""
    slices = len(a_parts)
    order = sorted(((p, q) for p in range(slices) for q in range(slices - p)), key=lambda t: -(t[0] + t[1]))
    first, *others = order
    s = a_parts[first[0]] @ b_parts[first[1]]
    e = np.zeros_like(s)
    for p, q in others:
        s, error = _two_sum(s, a_parts[p] @ b_parts[q])
        e = e + error
    return _two_sum(s, e)  # not a fast two-sum: s may have cancelled and be the smaller one


def _bits(k: int) -> int:
    return (53 - 2 - max(1, math.ceil(math.log2(max(k, 2))))) // 2


def _count(bits: int) -> int:
    return math.ceil(_SLICED_BITS / bits)


def _product_error(a: Array, b: Array, a_unit: Array, b_unit: Array, bits: int) -> Array:
    """A bound on the error of a sliced product: the slices left out, and the sum of the others (ENC-6)."""
    k = a.shape[-1]
    with np.errstate(over="ignore", invalid="ignore"):
        units = k * a_unit * b_unit
        summed = 2.0**-103 * ((np.abs(a) @ np.abs(b)) * (1 + k * 2.0**-50) + 2.0 ** (1 - bits) * units)
        bound: Array = (_count(bits) + 3) * 2.0 ** (1 - _count(bits) * bits) * units + summed + k * 2.0**-960
    return bound


@dataclass(frozen=True, eq=False)
class DoubleDoubleBall:
    """An array of balls around high + low, with the methods of :class:`~assay.spec.enclosure.float64.Float64Ball`."""

    high: Array
    low: Array
    rad: Array
    precision: ClassVar[int] = 106

    @staticmethod
    def product(a: Array, b: Array) -> DoubleDoubleBall:
        """a @ b for exact a (m, k) and b (k, n) (ENC-6)."""
        bits = _bits(a.shape[-1])
        a_parts, a_unit = _slices(a, -1, bits)
        b_parts, b_unit = _slices(b, -2, bits)
        high, low = _exact_product(a_parts, b_parts)
        return DoubleDoubleBall(high, low, known(high, _product_error(a, b, a_unit, b_unit, bits) * UP))

    @staticmethod
    def exact(a: Array) -> DoubleDoubleBall:
        """The numbers as they are."""
        return DoubleDoubleBall(a, np.zeros_like(a), np.zeros_like(a))

    @staticmethod
    def around(balls: NDArray[np.object_]) -> DoubleDoubleBall:
        """Balls that hold these of ``flint.arb``."""
        return DoubleDoubleBall(*into_parts(balls, 2))

    def __getitem__(self, index: Any) -> DoubleDoubleBall:
        return DoubleDoubleBall(self.high[index], self.low[index], self.rad[index])

    def _ball(self, pair: Pair, rad: Array, factor: float = 1.0) -> DoubleDoubleBall:
        """The ball around ``pair`` with radius ``rad`` plus the error of the operation that made the pair (ENC-5)."""
        return DoubleDoubleBall(pair[0], pair[1], known(pair[0], (rad + factor * E * np.abs(pair[0]) + 2.0**-960) * UP))

    def scaled(self, factor: float | Array) -> DoubleDoubleBall:
        return self._ball(_multiply_float((self.high, self.low), factor), self.rad * np.abs(factor))

    def plus(self, array: Array) -> DoubleDoubleBall:
        return self._ball(_add_float((self.high, self.low), array), self.rad)

    def capped(self, c: float) -> DoubleDoubleBall:
        inside = np.abs(self.high) < 280.0 * c  # beyond, tanh is ±1 to 2^-800
        numerator = (np.where(inside, self.high, 0.0), np.where(inside, self.low, 0.0))
        x = _divide(numerator, (np.full_like(self.high, c), np.zeros_like(self.high)))
        sign = np.where(self.high < 0, 1.0, -1.0)
        e = exp_double_double(np.where(inside, 2 * sign * x[0], -580.0), np.where(inside, 2 * sign * x[1], 0.0))
        one = np.ones_like(e[0])
        t = _divide(_add((one, 0 * one), (-e[0], -e[1])), _add((one, 0 * one), e))
        t = _multiply_float((t[0] * -sign, t[1] * -sign), c)
        good = np.isfinite(self.high) & np.isfinite(x[0]) & np.isfinite(t[0])
        return DoubleDoubleBall(t[0], t[1], np.where(good, (self.rad + 2.0**-92 * c + 2.0**-960) * UP, np.inf))

    def exp(self) -> DoubleDoubleBall:
        """e^x for x ≤ 700; beyond that, a ball that says nothing (ENC-7)."""
        inside = self.high <= 700.0
        high, low = exp_double_double(np.where(inside, self.high, 0.0), np.where(inside, self.low, 0.0))
        small = np.minimum(self.rad, 1.0)
        known_growth = (self.rad <= 1.0) & inside
        grown = small * (1.0 + small)
        rad = np.where(known_growth & (self.high > -600.0), high * (grown + _EXP_ERROR * (1.0 + grown)), np.inf)
        rad = np.where((self.high <= -600.0) & (self.high + self.rad <= -599.0), 2.0**-864, rad)
        return DoubleDoubleBall(high, low, (rad + 2.0**-1020) * UP)

    def where(self, keep: NDArray[np.bool_], other: float) -> DoubleDoubleBall:
        return DoubleDoubleBall(
            np.where(keep, self.high, other), np.where(keep, self.low, 0.0), np.where(keep, self.rad, 0.0)
        )

    def joined(self, array: Array) -> DoubleDoubleBall:
        zero = np.zeros_like(array)
        return DoubleDoubleBall(
            np.concatenate([self.high, array], axis=-1),
            np.concatenate([self.low, zero], axis=-1),
            np.concatenate([self.rad, zero], axis=-1),
        )

    def total(self) -> DoubleDoubleBall:
        """The pairwise sum over the last axis of balls with midpoints ≥ 0; each step halves the axis (ENC-10)."""
        pair, rad = (self.high, self.low), self.rad.sum(axis=-1, keepdims=True)
        steps = 0
        while pair[0].shape[-1] > 1:
            n = pair[0].shape[-1]
            half = n // 2
            joined = _add(
                (pair[0][..., :half], pair[1][..., :half]),
                (pair[0][..., half : 2 * half], pair[1][..., half : 2 * half]),
            )
            if n % 2:
                joined = (
                    np.concatenate([joined[0], pair[0][..., -1:]], axis=-1),
                    np.concatenate([joined[1], pair[1][..., -1:]], axis=-1),
                )
            pair = joined
            steps += 1
        return self._ball(pair, rad * (1 + 2.0**-30), steps + 1)

    def times_matrix(self, v: Array) -> tuple[DoubleDoubleBall, Array]:
        bits = _bits(v.shape[-2])
        x_parts, x_unit = _slices(self.high, -1, bits)
        low_parts, _ = _slices(self.low, -1, bits)
        # low is below 2^-52 of the row's largest, so what its leading slices miss is far below what is left out anyway
        v_parts, v_unit = _slices(v, -2, bits)
        pair = _exact_product(x_parts, v_parts)
        pair = _add(pair, _exact_product(low_parts, v_parts))
        size = np.abs(v)
        rad = self.rad @ size * (1 + 2.0**-30) + 2 * _product_error(self.high, v, x_unit, v_unit, bits)
        rad = np.where((size == 0.0).all(axis=-2, keepdims=True), 0.0, rad)  # a column of zeros: exactly 0
        return DoubleDoubleBall(*pair, known(pair[0], rad * UP)), np.minimum(np.abs(self.high) @ size, LARGEST)

    def matmul(self, other: DoubleDoubleBall) -> DoubleDoubleBall:
        """self @ other, both of them balls: other is the sum of two exact matrices and its radius (ENC-13)."""
        product = self.times_matrix(other.high)[0].plus_ball(self.times_matrix(other.low)[0])
        reach = np.abs(self.high) * (1 + 2.0**-50) + self.rad
        rad = product.rad + (reach @ other.rad) * (1 + 2.0**-30) + 2.0**-960
        return DoubleDoubleBall(product.high, product.low, known(product.high, rad * UP))

    def times(self, other: DoubleDoubleBall) -> DoubleDoubleBall:
        """The products of the balls, one by one (ENC-12)."""
        a, b = np.abs(self.high) * (1 + 2.0**-50), np.abs(other.high) * (1 + 2.0**-50)
        spread = a * other.rad + self.rad * (b + other.rad)
        return self._ball(_multiply((self.high, self.low), (other.high, other.low)), spread, 2)

    def divided(self, other: DoubleDoubleBall) -> DoubleDoubleBall:
        """The quotient by balls above 2^-100 with a radius of at most half; for others it says nothing (ENC-9)."""
        least = other.high * (1 - 2.0**-50) - other.rad
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            pair = _divide((self.high, self.low), (other.high, other.low))
            ball = self._ball(pair, self.rad / least + np.abs(pair[0]) * (other.rad / least), 8)
        rad = np.where((self.high == 0.0) & (self.low == 0.0) & (self.rad == 0.0), 0.0, ball.rad)
        good = (other.rad <= least) & (other.high > 2.0**-100) & np.isfinite(pair[0])
        return DoubleDoubleBall(*pair, np.where(good, rad, np.inf))

    def sqrt(self) -> DoubleDoubleBall:
        """√x of numbers that are at least 0, one step of Newton's from float64 (ENC-14); 0, or above 2^-900."""
        with np.errstate(divide="ignore", invalid="ignore"):
            root = np.sqrt(self.high)
            square = _two_product(root, root)
            rest = _add((self.high, self.low), (-square[0], -square[1]))
            pair = _fast_two_sum(root, np.where(root == 0.0, 0.0, rest[0] / (2.0 * root)))
            spread = np.minimum(self.rad / (root * (1 - 2.0**-50)), np.sqrt(self.rad))
        ball = self._ball(pair, np.where(self.rad == 0.0, 0.0, spread * (1 + 2.0**-50)), 4)
        zero = (self.high == 0.0) & (self.low == 0.0)
        rad = np.where(zero & (self.rad == 0.0), 0.0, ball.rad)
        return DoubleDoubleBall(*pair, np.where(zero | (self.high > 2.0**-900), rad, np.inf))

    def log(self) -> DoubleDoubleBall:
        """ln x from a guess and the residual of our own exp (ENC-8)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            guess = np.log(self.high)
            safe = np.where(np.abs(guess) < 600.0, guess, 0.0)
            back = exp_double_double(safe, np.zeros_like(safe))
            rest = _divide(_add((self.high, self.low), (-back[0], -back[1])), back)
            # ln(1 + ρ) = ρ − ρ²/2 + ρ³/3 − …, |ρ| < 2^-40
            square = _multiply(rest, rest)
            cube = square[0] * rest[0] / 3.0
            value = _add_float(_add(rest, (-0.5 * square[0], -0.5 * square[1])), cube)
            value = _add_float(value, safe)
            spread = self.rad / (self.high * (1 - 2.0**-50) - self.rad)
            rad = (spread + rest[0] ** 4 + 2.0**-94 + 4 * E * np.abs(value[0])) * UP
        good = (self.high > 2 * self.rad) & np.isfinite(value[0]) & (np.abs(rest[0]) < 2.0**-40)
        return DoubleDoubleBall(value[0], value[1], np.where(good, rad, np.inf))

    def largest(self, among: NDArray[np.bool_]) -> DoubleDoubleBall:
        top = np.where(among, self.high, -np.inf).max(axis=-1, keepdims=True)
        return DoubleDoubleBall(top, np.zeros_like(top), np.zeros_like(top))

    def plus_ball(self, other: DoubleDoubleBall) -> DoubleDoubleBall:
        return self._ball(_add((self.high, self.low), (other.high, other.low)), self.rad + other.rad)

    def minus_row(self, row: DoubleDoubleBall) -> DoubleDoubleBall:
        infinite = (self.high == -np.inf) & (self.rad == 0.0) & np.isfinite(row.high) & np.isfinite(row.rad)
        zero = np.zeros_like(self.high)
        pair = _add((np.where(infinite, 0.0, self.high), self.low), (zero - row.high, zero - row.low))
        return self._ball(pair, self.rad + row.rad, 2).where(~infinite, -np.inf)

    def rounded(self) -> tuple[Array, Array]:
        return self.high, (self.rad + np.abs(self.low)) * UP + np.where(self.low == 0.0, 0.0, ETA)

    def error(self) -> Array:
        return self.rad

    def full(self) -> NDArray[np.object_]:
        return from_parts(self.high, self.low, self.rad)
