"""Balls on float64: midpoint and radius, with a-priori bounds of every operation.

The module trusts IEEE 754 basic operations and comparisons to be correctly rounded, scaling by powers of two to be
exact, and matrix products to multiply and add each pair once, in any order, with or without FMA (as every BLAS in use
does; no Strassen).  It does not trust exp, log or tanh of any library.  Claims: proofs_notes/enclosure.md, ENC-1 to
ENC-4, ENC-9 and ENC-10.

A ball whose radius is infinite or NaN says nothing; whatever overflows gets such a radius.  The one ball around an
infinity is −inf with radius 0, which is −∞ itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from assay.spec.enclosure.arb import LARGEST, from_parts, into_parts
from assay.spec.enclosure.products import matrix_product
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Float64Ball", "exp_float64"]

U = 2.0**-53  # unit roundoff
ETA = 2.0**-1074  # smallest subnormal: bounds the absolute error of an operation that underflows
UP = 1 + 2.0**-40  # pays for the roundings of a radius that is computed in at most a thousand operations

_LN2_HIGH = float.fromhex("0x1.62e42fefa3800p-1")  # 42 bits, so that its product with |k| < 2^11 is exact
_LN2_LOW = float.fromhex("0x1.ef35793c76730p-45")  # ln 2 − high, to 2^-102
_EXP_ERROR = 8 * U  # ENC-2
_COEFFICIENTS = [1.0 / math.factorial(i) for i in range(14)]
_CHUNK = 1 << 14


def gamma_above(k: float) -> float:
    """γ_k(2^-53) and what pays for rounding it: the relative error of k roundings."""
    return float(gamma(k, U)) * UP


def known(mid: Array, rad: Array) -> Array:
    """The radius; infinite where the midpoint is not finite, because an overflow says nothing about the result."""
    return np.where(np.isfinite(mid), rad, np.inf)


def exp_float64(x: Array) -> Array:
    """e^x for finite x ≤ 709, with an error of at most 8·2^-53·e^x, and of 2^-1074 more on underflow (ENC-2)."""
    flat = np.ascontiguousarray(x).reshape(-1)
    out = np.empty_like(flat)
    for start in range(0, flat.size, _CHUNK):
        y = np.maximum(flat[start : start + _CHUNK], -1100.0)
        k = np.rint(y * (1.0 / math.log(2.0)))
        r = (y - k * _LN2_HIGH) - k * _LN2_LOW
        p = np.full_like(r, _COEFFICIENTS[13])
        for c in _COEFFICIENTS[12::-1]:
            p *= r
            p += c
        half = np.floor(k * 0.5)
        # there are two scalings, of which the first never underflows, so that only the last rounds
        out[start : start + _CHUNK] = np.ldexp(
            np.ldexp(p, np.maximum(half, -500).astype(np.int32)), (k - np.maximum(half, -500)).astype(np.int32)
        )
    return out.reshape(x.shape)


@dataclass(frozen=True, eq=False)
class Float64Ball:
    """An array of balls.  Every method returns balls that contain the exact results for all operands in these."""

    mid: Array
    rad: Array
    precision: ClassVar[int] = 53

    @staticmethod
    def product(a: Array, b: Array) -> Float64Ball:
        """a @ b for exact a (…, m, k) and b (…, k, n) (ENC-1)."""
        k = a.shape[-1]
        mid = matrix_product(a, b)
        bound = gamma_above(k + 2) * UP * matrix_product(np.abs(a), np.abs(b)) + 2 * k * ETA
        return Float64Ball(mid, known(mid, bound))

    @staticmethod
    def exact(a: Array) -> Float64Ball:
        """The numbers as they are."""
        return Float64Ball(a, np.zeros_like(a))

    @staticmethod
    def around(balls: NDArray[np.object_]) -> Float64Ball:
        """Balls that hold these of ``flint.arb``."""
        return Float64Ball(*into_parts(balls, 1))

    def __getitem__(self, index: Any) -> Float64Ball:
        return Float64Ball(self.mid[index], self.rad[index])

    def scaled(self, factor: float | Array) -> Float64Ball:
        """The products with an exact number, or with one for each ball."""
        mid = self.mid * factor
        return Float64Ball(mid, known(mid, (self.rad * np.abs(factor) + U * np.abs(mid) + ETA) * UP))

    def plus(self, array: Array) -> Float64Ball:
        mid = self.mid + array
        return Float64Ball(mid, known(mid, (self.rad + U * np.abs(mid)) * UP))

    def capped(self, c: float) -> Float64Ball:
        """c·tanh(x/c); the function is 1-Lipschitz, so the radius is kept (ENC-4)."""
        e = exp_float64(-2.0 * np.minimum(np.abs(self.mid) / c, 400.0))
        mid = np.copysign(c * ((1.0 - e) / (1.0 + e)), self.mid)
        return Float64Ball(mid, known(mid, (self.rad + 16 * U * c + ETA) * UP))

    def exp(self) -> Float64Ball:
        """e^x for x ≤ 709; beyond that, a ball that says nothing (ENC-2)."""
        inside = self.mid <= 709.0
        mid = exp_float64(np.where(inside, self.mid, 0.0))
        small = np.minimum(self.rad, 1.0)
        grown = np.where(self.rad <= 1.0, small * (1.0 + small), np.inf)  # e^r − 1 ≤ r + r² for r ≤ 1
        with np.errstate(invalid="ignore"):
            # 4η pays for an underflow of e^x, which grows with the radius
            rad = np.where(grown < np.inf, mid * (grown + _EXP_ERROR * (1.0 + grown)), np.inf) + 4 * ETA
        return Float64Ball(mid, np.where(inside, rad * UP, np.inf))

    def where(self, keep: NDArray[np.bool_], other: float) -> Float64Ball:
        """The ball where ``keep`` is true, and the exact number ``other`` elsewhere."""
        return Float64Ball(np.where(keep, self.mid, other), np.where(keep, self.rad, 0.0))

    def joined(self, array: Array) -> Float64Ball:
        """The balls with the exact ``array`` appended on the last axis."""
        return Float64Ball(
            np.concatenate([self.mid, array], axis=-1), np.concatenate([self.rad, np.zeros_like(array)], axis=-1)
        )

    def total(self) -> Float64Ball:
        """The sum over the last axis of balls with midpoints ≥ 0, kept as an axis (ENC-10)."""
        n = self.mid.shape[-1]
        mid = self.mid.sum(axis=-1, keepdims=True)
        rad = (self.rad.sum(axis=-1, keepdims=True) + gamma_above(n) * mid) * (UP + 2 * n * U)
        return Float64Ball(mid, known(mid, rad))

    def times_matrix(self, v: Array) -> tuple[Float64Ball, Array]:
        """self @ v for exact v, and an approximate Σ|x_j||v_j|, finite (ENC-10)."""
        n = v.shape[-2]
        size = np.abs(v)
        mid, magnitude = matrix_product(self.mid, v), matrix_product(np.abs(self.mid), size)
        rad = (matrix_product(self.rad, size) + gamma_above(n + 2) * magnitude) * (UP + 4 * n * U) + 2 * n * ETA
        rad = np.where((size == 0.0).all(axis=-2, keepdims=True), 0.0, rad)  # a column of zeros: exactly 0
        return Float64Ball(mid, known(mid, rad)), np.minimum(magnitude, LARGEST)

    def matmul(self, other: Float64Ball) -> Float64Ball:
        """self @ other, both of them balls (ENC-13)."""
        n = other.mid.shape[-2]
        mid, size = matrix_product(self.mid, other.mid), np.abs(other.mid)
        spread = matrix_product(np.abs(self.mid), other.rad) + matrix_product(self.rad, size + other.rad)
        rad = (spread + gamma_above(n + 2) * matrix_product(np.abs(self.mid), size)) * (UP + 4 * n * U) + 8 * n * ETA
        return Float64Ball(mid, known(mid, rad))

    def times(self, other: Float64Ball) -> Float64Ball:
        """The products of the balls, one by one (ENC-12)."""
        mid = self.mid * other.mid
        size = np.abs(self.mid) * other.rad + self.rad * (np.abs(other.mid) + other.rad)
        return Float64Ball(mid, known(mid, (size + U * np.abs(mid) + 4 * ETA) * UP))

    def divided(self, other: Float64Ball) -> Float64Ball:
        """The quotient by positive balls; it says nothing where their radius exceeds half of them (ENC-9)."""
        least = other.mid - other.rad
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            mid = self.mid / other.mid
            rad = self.rad / least + np.abs(mid) * (other.rad / least) + U * np.abs(mid) + 4 * ETA
        rad = np.where((self.mid == 0.0) & (self.rad == 0.0), 0.0, rad * UP)
        return Float64Ball(mid, np.where(other.rad <= least, known(mid, rad), np.inf))

    def sqrt(self) -> Float64Ball:
        """√x of numbers that are at least 0, whatever of the balls is below (ENC-14)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mid = np.sqrt(self.mid)
            rad = np.where(self.rad == 0.0, 0.0, np.minimum(self.rad / mid, np.sqrt(self.rad))) + U * mid
        return Float64Ball(mid, known(mid, rad * UP))

    def log(self) -> Float64Ball:
        """ln x of positive balls: a guess l, corrected by the residual x e^(−l) − 1 with our own exp (ENC-3)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            guess = np.log(self.mid)
            back = exp_float64(np.where(np.isfinite(guess), guess, 0.0))
            rest = (self.mid - back) / back
            mid = guess + rest
            spread = self.rad / (self.mid - self.rad)
            rad = (spread + rest * rest + 12 * U + U * np.abs(mid)) * UP
        return Float64Ball(
            mid, np.where((self.mid > self.rad) & (np.abs(guess) <= 700.0) & (np.abs(rest) < 2.0**-20), rad, np.inf)
        )

    def largest(self, among: NDArray[np.bool_]) -> Float64Ball:
        """An exact number near the largest of each row; it serves as a shift, so near is enough."""
        top = np.where(among, self.mid, -np.inf).max(axis=-1, keepdims=True)
        return Float64Ball(top, np.zeros_like(top))

    def plus_ball(self, other: Float64Ball) -> Float64Ball:
        mid = self.mid + other.mid
        return Float64Ball(mid, known(mid, (self.rad + other.rad + U * np.abs(mid)) * UP))

    def minus_row(self, row: Float64Ball) -> Float64Ball:
        """self − row, broadcast over the last axis (−∞ itself stays −∞)."""
        mid = self.mid - row.mid
        with np.errstate(invalid="ignore"):
            rad = known(mid, (self.rad + row.rad + U * np.abs(mid)) * UP)
        infinite = (self.mid == -np.inf) & (self.rad == 0.0) & np.isfinite(row.mid) & np.isfinite(row.rad)
        return Float64Ball(mid, np.where(infinite, 0.0, rad))

    def rounded(self) -> tuple[Array, Array]:
        """Midpoint and radius in float64."""
        return self.mid, self.rad

    def error(self) -> Array:
        """The radius at the full precision of the tier."""
        return self.rad

    def full(self) -> NDArray[np.object_]:
        """The same balls as ``flint.arb`` objects."""
        return from_parts(self.mid, np.zeros_like(self.mid), self.rad)
