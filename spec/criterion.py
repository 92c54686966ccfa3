"""What an output is held to: one number, the error in units of what is allowed, of which at most 1 passes.

Three kinds of answers are judged.  A number is *close* to a certified value; a yes or no is *decided* by a certified
margin; and anything else is *bounded*: a certified measure of the output stays below a limit.

Every criterion is sound in one direction: its error is a lower bound of what is wrong with an output, so that no right
output is blamed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.enclosure import in_units_of
from assay.spec.floats import half_ulp
from assay.spec.precision import reference_accuracy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.enclosure import Enclosure
    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["Criterion", "Proof", "bounded", "close", "close_before_rounding", "decided", "each_close"]


@dataclass(frozen=True)
class Proof:
    """What is proved of an output that passes: a quantity is between ``lower`` and ``upper``, whatever it depends on.

    what: the quantity, as "x'L_H x / x'L_G x of every x".
    least, most: between which it is allowed to be.
    """

    what: str
    lower: float
    upper: float
    least: float
    most: float

    @property
    def holds(self) -> bool:
        """Whether it proves that the output is right."""
        return self.least <= self.lower and self.upper <= self.most

    @property
    def share(self) -> float:
        """How much of what is allowed the interval takes: at most 1, but for a rounding, where it :attr:`holds`.

        >>> Proof("x", 0.75, 1.125, 0.5, 1.5).share
        0.5
        """
        middle, half = (self.least + self.most) / 2, (self.most - self.least) / 2
        return max(middle - self.lower, self.upper - middle) / half


@dataclass(frozen=True, eq=False)
class Criterion:
    """What one output, or several together, are held to.

    error(*values): a certified lower bound of what each part of the output is wrong by; +inf where nothing excuses it.
    The values are those of the outputs that ``outputs`` names, in their own types; left empty, it is the output under
    whose name the criterion stands.
    allowed: what a correct kernel of the class may be wrong by, per part; +inf where nothing is judged.
    expected(index): the right answer there, in words that follow "is …, ".
    value: the certified value, where the criterion is closeness to one.
    rounded: whether that is closeness before a rounding to a shorter type (:func:`close_before_rounding`).
    told(*values): the right answer in such words and what is allowed, as a number of the output's own kind, where the
    outputs decide both: as for a number that belongs to a choice that another output makes.  ``allowed`` is then 1, and
    the error is in units of what is allowed.
    proves(*values): what can be proved of outputs of which no error is known; left out where the error is the whole
    story, as a distance from a certified value is.
    """

    error: Callable[..., Array]
    allowed: Array
    expected: Callable[[tuple[int, ...]], str]
    outputs: tuple[str, ...] = ()
    value: Enclosure | None = None
    rounded: bool = False
    told: Callable[..., tuple[str, float]] | None = None
    proves: Callable[..., Proof] | None = None

    def about(self, value: Enclosure, tolerance: Array) -> Criterion:
        """The criterion of the same kind for another value."""
        return close_before_rounding(value, tolerance) if self.rounded else close(value, tolerance)

    def ratio(self, *values: NDArray[Any]) -> Array:
        """Error in units of what is allowed, per part: a lower bound.  At most 1 passes."""
        return in_units_of(self.error(*values), self.allowed)

    def judges(self) -> bool:
        """Whether there is a part that is judged."""
        return bool(np.isfinite(self.allowed).any())


def close(value: Enclosure, tolerance: Array) -> Criterion:
    """Every number lies within ``tolerance`` of a certified value.

    >>> import numpy as np
    >>> from assay.spec.enclosure import Enclosure
    >>> criterion = close(Enclosure(np.array([1.0]), np.zeros(1)), np.array([0.5]))
    >>> criterion.ratio(np.array([1.25])), criterion.expected((0,))
    (array([0.5]), 'the exact value 1')
    """
    return Criterion(
        value.least_error, tolerance, lambda index: f"the exact value {float(value.midpoint[index]):.12g}", value=value
    )


def close_before_rounding(value: Enclosure, tolerance: Array) -> Criterion:
    """Every number lies within ``tolerance`` of a certified value, before it was rounded to the type of the output.

    It is for outputs that a kernel may return in a type shorter than the one in which the class computes them, as a
    log-sum-exp in bfloat16.  A number ŷ of such a type may stand for any real number that rounds to it, and half an ulp
    of it is taken off its error: u|ŷ| + η/2, where u is the unit roundoff and η the least subnormal of the type
    (Higham 2002, Theorem 2.3).  An infinity stands for everything from the largest number and half an ulp on.  Numbers
    of float32 and float64 are taken as they are: their rounding is in the tolerance.
    Source: proofs_notes/attention.md, TOL-9.

    >>> import ml_dtypes
    >>> import numpy as np
    >>> from assay.spec.enclosure import Enclosure
    >>> criterion = close_before_rounding(Enclosure(np.array([-15.15625]), np.zeros(1)), np.array([1e-4]))
    >>> criterion.ratio(np.array([-15.125], ml_dtypes.bfloat16)), criterion.ratio(np.array([-15.0], ml_dtypes.bfloat16))
    (array([0.]), array([976.5625]))
    """

    def error(array: NDArray[Any]) -> Array:
        returned = np.asarray(array)
        least = value.least_error(returned)
        if returned.dtype.itemsize >= 4:
            return least
        number = returned.astype(np.float64)
        half, overflow = half_ulp(returned)
        # A number to which nothing finite rounds keeps its error.  2^-50 pays for the roundings of what follows.
        with np.errstate(invalid="ignore", over="ignore"):
            beyond = np.where(number > 0.0, overflow - value.upper, overflow + value.lower)
        finite = np.clip(least - half * (1 + 2.0**-50), 0.0, None) * (1 - 2.0**-50)
        infinite = np.clip(beyond - 2.0**-50 * overflow, 0.0, None)
        return np.where(np.isinf(number) & np.isfinite(value.midpoint), infinite, finite)

    return dataclasses.replace(close(value, tolerance), error=error, rounded=True)


def each_close(
    define: Callable[..., Enclosure], tolerance: Callable[..., Array], outputs: tuple[str, ...]
) -> Callable[[Any, Precision], Mapping[str, Criterion]]:
    """The ``criteria`` of a problem each of whose ``outputs`` is close to what its definition says.

    define(instance, relative, output=name) and tolerance(instance, precision, name) are those of the problem.
    """

    def criteria(instance: Any, precision: Precision) -> Mapping[str, Criterion]:
        accuracy = reference_accuracy(precision)
        return {
            name: close(define(instance, accuracy, output=name), tolerance(instance, precision, name))
            for name in outputs
        }

    return criteria


def decided(margin: Enclosure, tolerance: Array) -> Criterion:
    """A yes or no is as wrong as its margin is wide: yes is right where the margin is positive.

    tolerance: how far the margin of a correct kernel may be off, so that it may decide either way within it.

    >>> import numpy as np
    >>> from assay.spec.enclosure import Enclosure
    >>> criterion = decided(Enclosure(np.array([2.0, -1.0]), np.zeros(2)), np.array([0.5, 4.0]))
    >>> criterion.ratio(np.array([False, True])), criterion.expected((0,))
    (array([4.  , 0.25]), 'expected yes by a margin of 2')
    """

    def error(value: NDArray[Any]) -> Array:
        answer = np.broadcast_to(np.asarray(value).astype(bool), margin.midpoint.shape)
        wrong = answer != (margin.midpoint > 0.0)
        # The distance of the margin's interval from 0, rounded down; an interval that holds 0 decides nothing.
        nearest = np.maximum(np.where(margin.midpoint > 0.0, margin.lower, -margin.upper), 0.0)
        return np.where(wrong, nearest, 0.0)

    def expected(index: tuple[int, ...]) -> str:
        middle = float(margin.midpoint[index])
        return f"expected {'yes' if middle > 0 else 'no'} by a margin of {abs(middle):.3g}"

    return Criterion(error, tolerance, expected)


def bounded(
    measure: Callable[..., float],
    limit: float,
    words: str,
    outputs: tuple[str, ...] = (),
    proves: Callable[..., Proof] | None = None,
) -> Criterion:
    """A certified measure of the output stays at or below ``limit``.

    measure(*values): a lower bound of what the outputs are wrong by, +inf where they make no sense.
    words: what is measured, as in "similarity below the best".
    proves: as of a :class:`Criterion`.

    >>> import numpy as np
    >>> bounded(lambda x: float(x.max()), 0.5, "largest entry").ratio(np.array([1.0, 0.25]))
    array(2.)
    """

    def error(*values: NDArray[Any]) -> Array:
        return np.asarray(measure(*values), dtype=np.float64)

    return Criterion(
        error,
        np.asarray(limit, np.float64),
        lambda _: f"expected {words} of at most {limit:.3g}",
        outputs,
        proves=proves,
    )
