"""Balls of any precision: arrays of ``flint.arb`` (Johansson 2017).  This last tier has no limits of range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.spec import flint_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Objects = NDArray[np.object_]

__all__ = ["LARGEST", "ArbArithmetic", "ArbBall", "from_parts", "into_parts"]

LARGEST = (2.0 - 2.0**-52) * 2.0**1023  # the largest float64


def _each(function: Any, *arrays: Any) -> Objects:
    """Apply a function to every element; the result is an object array, even for one element."""
    broadcast = np.broadcast_arrays(*arrays)
    out = np.empty(broadcast[0].shape, dtype=object)
    flat = [np.asarray(array, dtype=object).reshape(-1).tolist() for array in broadcast]
    out.reshape(-1)[:] = [function(*items) for items in zip(*flat, strict=True)]
    return out


def _exact(array: Array) -> Objects:
    return _each(flint.arb, array)


def from_parts(high: Array, low: Array, rad: Array) -> Objects:
    """The balls high + low ± rad, exactly; all real numbers where an overflow left nothing known."""
    with flint_context.bits(2200):  # enough to add any two float64 numbers without rounding
        return _each(_ball, high, low, rad)


def _ball(high: float, low: float, rad: float) -> Any:
    if math.isfinite(high):
        return flint.arb(flint.arb(high) + flint.arb(low), rad)
    return flint.arb(high) if high == -math.inf and rad == 0.0 else flint.arb(0, math.inf)


def into_parts(balls: Objects, count: int) -> list[Array]:
    """``count`` float64 numbers whose sum is nearest each midpoint, and a radius around the sum that holds the ball."""
    parts = []
    with flint_context.bits(128 + 64 * count):
        for _ in range(count):
            parts.append(np.asarray(_each(_float, balls), dtype=np.float64))
            balls = _each(lambda x, part: x - flint.arb(part), balls, parts[-1])
        return [*parts, np.asarray(_each(_above, balls), dtype=np.float64)]


@dataclass(frozen=True, eq=False)
class ArbBall:
    """An array of arbs at ``precision`` bits; the methods of :class:`~assay.spec.enclosure.float64.Float64Ball`."""

    balls: Objects
    precision: int

    def _new(self, function: Any, *arrays: Any) -> ArbBall:
        with flint_context.bits(self.precision):
            return ArbBall(_each(function, self.balls, *arrays), self.precision)

    def each(self, function: Callable[[Any], Any]) -> ArbBall:
        """A function of one ``flint.arb``, of every ball, at the precision of these."""
        return self._new(function)

    def __getitem__(self, index: Any) -> ArbBall:
        return ArbBall(np.asarray(self.balls[index], dtype=object), self.precision)

    def scaled(self, factor: float | Array) -> ArbBall:
        return self._new(lambda x, f: x * flint.arb(f), factor)

    def plus(self, array: Array) -> ArbBall:
        return self._new(lambda x, a: x + flint.arb(a), array)

    def capped(self, c: float) -> ArbBall:
        return self._new(lambda x: flint.arb(c) * (x / flint.arb(c)).tanh())

    def exp(self) -> ArbBall:
        return self._new(lambda x: x.exp())

    def where(self, keep: NDArray[np.bool_], other: float) -> ArbBall:
        return self._new(lambda x, k: x if k else flint.arb(other), keep)

    def joined(self, array: Array) -> ArbBall:
        return ArbBall(np.concatenate([self.balls, _exact(array)], axis=-1), self.precision)

    def total(self) -> ArbBall:
        with flint_context.bits(self.precision):
            out = np.empty((*self.balls.shape[:-1], 1), dtype=object)
            for index in np.ndindex(*out.shape[:-1]):
                out[(*index, 0)] = sum(self.balls[index].tolist(), flint.arb(0))
            return ArbBall(out, self.precision)

    def times_matrix(self, v: Array) -> tuple[ArbBall, Array]:
        exact = _exact(v)
        product = _matrix_product(self.balls, exact, self.precision)
        magnitude = _matrix_product(_each(abs, self.balls), _exact(np.abs(v)), self.precision)
        size = np.minimum(np.asarray(_each(_float, magnitude), dtype=np.float64), LARGEST)
        return ArbBall(product, self.precision), size

    def matmul(self, other: ArbBall) -> ArbBall:
        return ArbBall(_matrix_product(self.balls, other.balls, self.precision), self.precision)

    def times(self, other: ArbBall) -> ArbBall:
        return self._new(lambda x, y: x * y, other.balls)

    def divided(self, other: ArbBall) -> ArbBall:
        return self._new(lambda x, y: x / y, other.balls)

    def sqrt(self) -> ArbBall:
        return self._new(lambda x: x.sqrt())

    def log(self) -> ArbBall:
        return self._new(lambda x: x.log())

    def largest(self, among: NDArray[np.bool_]) -> ArbBall:
        out = np.empty((*self.balls.shape[:-1], 1), dtype=object)
        for index in np.ndindex(*out.shape[:-1]):
            chosen = [x.mid() for x, keep in zip(self.balls[index], among[index], strict=True) if keep]
            top = chosen[0] if chosen else flint.arb(0)
            for x in chosen[1:]:
                top = x if x > top else top
            out[(*index, 0)] = top
        return ArbBall(out, self.precision)

    def plus_ball(self, other: ArbBall) -> ArbBall:
        return self._new(lambda x, y: x + y, other.balls)

    def minus_row(self, row: ArbBall) -> ArbBall:
        return self._new(lambda x, y: x if x == flint.arb("-inf") and y.is_finite() else x - y, row.balls)

    def rounded(self) -> tuple[Array, Array]:
        mid = np.asarray(_each(_float, self.balls), dtype=np.float64)
        with flint_context.bits(self.precision + 1100):
            rad = _each(lambda x, m: _above(x - flint.arb(m)) if math.isfinite(m) else _infinite(x), self.balls, mid)
        return mid, np.asarray(rad, dtype=np.float64)

    def error(self) -> Array:
        return np.asarray(_each(lambda x: _above(x.rad()), self.balls), dtype=np.float64)

    def full(self) -> Objects:
        return self.balls


@dataclass(frozen=True)
class ArbArithmetic:
    """Balls of ``precision`` bits."""

    precision: int

    def product(self, a: Array, b: Array) -> ArbBall:
        """a @ b for exact a (…, m, k) and b (…, k, n)."""
        return ArbBall(_matrix_product(_exact(a), _exact(b), self.precision), self.precision)

    def exact(self, a: Array) -> ArbBall:
        """The numbers as they are."""
        return ArbBall(_exact(a), self.precision)

    def around(self, balls: Objects) -> ArbBall:
        """These balls as they are."""
        return ArbBall(balls, self.precision)


def _matrix_product(a: Objects, b: Objects, precision: int) -> Objects:
    out = np.empty((*a.shape[:-1], b.shape[-1]), dtype=object)
    with flint_context.bits(precision):
        for index in np.ndindex(*a.shape[:-2]):
            product = flint.arb_mat(a[index].tolist()) * flint.arb_mat(b[index].tolist())
            for i, row in enumerate(product.tolist()):
                out[(*index, i)] = row
    return out


def _float(x: Any) -> float:
    """The float64 number nearest the midpoint (0 for one that is far below the range)."""
    return float(x.mid())


def _infinite(x: Any) -> float:
    """The radius of a midpoint that is −inf: 0 for −∞ itself, else no bound."""
    return 0.0 if x.mid() == flint.arb("-inf") and x.rad() == 0 else math.inf


def _above(x: Any) -> float:
    """An upper bound of |x|; exactly 0 for an exact 0."""
    upper = x.abs_upper()
    return 0.0 if upper == 0 else math.nextafter(float(upper), math.inf)
