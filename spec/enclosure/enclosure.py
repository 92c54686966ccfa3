"""An array of certified intervals, which is what every definition returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Enclosure", "in_units_of"]


@dataclass(frozen=True, eq=False)
class Enclosure:
    """An array of values, each certified to lie within ``radius`` of ``midpoint``.

    Midpoint and radius are float64 arrays of one shape.  A midpoint −inf with radius 0 stands for −∞ itself (the
    log-sum-exp of an empty row), and NaN for a result that a convention defines to be NaN.  An infinite radius says
    that nothing is known of the value, whatever stands in its midpoint.  ``balls`` is the value in
    the full precision of the tier that computed it, an object array of ``flint.arb``; it is ``None`` where that tier is
    float64.

    >>> enclosure = Enclosure(np.array([1.0, 2.0]), np.array([0.25, 0.25]))
    >>> enclosure.contains([1.2, 2.5])
    array([ True, False])
    >>> enclosure.ratio([1.2, 2.5], 0.5).round(3)
    array([0. , 0.5])
    """

    midpoint: Array
    radius: Array
    full: Callable[[], NDArray[Any]] | None = field(default=None, repr=False)

    @property
    def balls(self) -> NDArray[Any] | None:
        return None if self.full is None else self.full()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.midpoint.shape

    @property
    def lower(self) -> Array:
        """A lower bound of the value, rounded down."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            least = np.where(self.radius > 0, np.nextafter(self.midpoint - self.radius, -np.inf), self.midpoint)
        return np.where(self.radius == np.inf, -np.inf, least)

    @property
    def upper(self) -> Array:
        """An upper bound of the value, rounded up."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            most = np.where(self.radius > 0, np.nextafter(self.midpoint + self.radius, np.inf), self.midpoint)
        return np.where(self.radius == np.inf, np.inf, most)

    def __getitem__(self, index: Any) -> Enclosure:
        full = self.full
        part = None if full is None else lambda: np.asarray(full()[index], dtype=object)
        return Enclosure(np.asarray(self.midpoint[index]), np.asarray(self.radius[index]), part)

    def contains(self, array: Any) -> NDArray[np.bool_]:
        """Whether each number may be the true value.  NaN may be only where the value is NaN by convention.

        ``array`` may have any floating dtype and must broadcast to :attr:`shape`.  It is converted to float64, which is
        exact for all but longer types.  The answer is rigorous in one direction: ``False`` is certain (ENC-11).
        """
        return np.asarray(self.least_error(array) <= 0.0)

    def ratio(self, array: Any, tolerance: Any) -> Array:
        """A lower bound of the error of each number in units of ``tolerance``, so that no right number is blamed.

        0/0 is 0, and a positive error over 0 is +inf.  An infinite tolerance allows everything, also NaN.  Otherwise
        NaN and a wrong infinity give +inf.  Source: ENC-11.
        """
        return in_units_of(self.least_error(array), tolerance)

    def least_error(self, array: Any) -> Array:
        """max(0, |array − midpoint| − radius), rounded down; +inf for NaN and for an infinity that is not the value.

        Where the radius is infinite it is 0 for all but NaN, whatever the midpoint is: nothing is known there.
        """
        value = np.asarray(array)
        value = np.broadcast_to(value.astype(np.float64), self.midpoint.shape)
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            # 2^-50 pays for the roundings of the difference, of this product and of the subtraction.  Where the
            # difference overflows, a quarter of every number is taken (ENC-11).
            gap = np.abs(value - self.midpoint)
            if np.isfinite(gap).all():  # as nearly always: then so are both, and all that follows comes to this
                return np.asarray(np.maximum(gap * (1 - 2.0**-50) - self.radius, 0.0))
            quarter = np.abs(0.25 * value - 0.25 * self.midpoint) * (1 - 2.0**-50) - 0.25 * self.radius
            least = np.where(np.isposinf(gap), 4 * quarter, gap * (1 - 2.0**-50) - self.radius)
            least = np.clip(least, 0.0, np.finfo(np.float64).max)
        least = np.where(np.isfinite(value) & np.isfinite(self.midpoint), least, np.inf)
        least = np.where((self.radius == np.inf) & ~np.isnan(value), 0.0, least)
        same = (np.isinf(value) & (value == self.midpoint)) | (np.isnan(value) & np.isnan(self.midpoint))
        return np.where(same, 0.0, least)

    def __str__(self) -> str:
        if self.midpoint.ndim == 0:
            return _interval(float(self.midpoint), float(self.radius), self.balls)
        parts = [str(self[i]) for i in range(min(len(self.midpoint), 6))]
        return "[" + ", ".join(parts) + (", …]" if len(self.midpoint) > 6 else "]")


def in_units_of(error: Array, allowed: Array) -> Array:
    """error / allowed, rounded down; 0/0 is 0, a positive error over 0 is +inf, and over +inf every error is 0.

    An error that is NaN, as a measure of an output that makes no sense may be, counts as +inf.
    """
    error, allowed = np.asarray(error, dtype=np.float64), np.asarray(allowed, dtype=np.float64)
    if np.isfinite(error).all() and np.isfinite(allowed).all() and (allowed > 0.0).all():  # as nearly always
        with np.errstate(all="ignore"):
            return np.asarray(np.nextafter(error / np.broadcast_to(allowed, error.shape), 0.0))
    error = np.where(np.isnan(error), np.inf, error)
    allowed = np.broadcast_to(allowed, error.shape)
    with np.errstate(all="ignore"):
        ratio = np.where(np.isposinf(error), np.inf, np.nextafter(error / allowed, 0.0))
    ratio = np.where(error == 0.0, 0.0, ratio)
    ratio = np.where((allowed == 0.0) & (error > 0.0), np.inf, ratio)
    return np.where(np.isposinf(allowed), 0.0, ratio)


def _interval(midpoint: float, radius: float, ball: NDArray[Any] | None) -> str:
    """Text such as ``0.123456789 ± 3e-31``, with as many digits as the radius allows."""
    if ball is not None and np.isfinite(midpoint):
        text: str = ball.item().str(40, radius=False)
        if text.startswith("0e"):  # no digit is certain, as the ball has 0 in it: it lies in one around 0
            return f"0 ± {float(ball.item().abs_upper()):.0e}"
        return f"{text} ± {float(ball.item().rad()):.0e}"
    return f"{midpoint:.17g} ± {radius:.0e}"
