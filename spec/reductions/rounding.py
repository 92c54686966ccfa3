"""Conversions between exact and machine numbers: rounding up to a type, and comparing an output with a rational."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import flint
import ml_dtypes
import numpy as np

from assay.spec import flint_context
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "TYPES", "above", "dtype_named", "exp_bounds", "log_bounds", "output_array", "rational_bounds", "root_of_log",
    "round_up",
]  # fmt: skip

#: Number type of arrays → significant bits, exponent of the least normal number, largest finite number.
TYPES: dict[str, tuple[int, int, int]] = {
    "float64": (53, -1022, (2**53 - 1) * 2**971),
    "float32": (24, -126, (2**24 - 1) * 2**104),
    "bfloat16": (8, -126, (2**8 - 1) * 2**120),
    "float16": (11, -14, 65504),
}
_BITS = 192  # the precision of the balls from which rationals are taken


def dtype_named(name: str) -> np.dtype[Any]:
    """The NumPy dtype of a number type.  Raises InvalidInstance, naming the known types, for an unknown one."""
    if name not in TYPES:
        raise InvalidInstance(f"dtype {name!r}: expected one of {', '.join(TYPES)}")
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def round_up(x: Fraction, dtype: str) -> Fraction:
    """The least normal number of the type that is at least x > 0.  Raises InvalidInstance if there is none.

    >>> round_up(Fraction(257), "bfloat16")
    Fraction(258, 1)
    """
    dtype_named(dtype)
    bits, least, largest = TYPES[dtype]
    x = max(x, Fraction(2) ** least)
    exponent = x.numerator.bit_length() - x.denominator.bit_length()
    if Fraction(2) ** exponent > x:
        exponent -= 1
    quantum = Fraction(2) ** (exponent - bits + 1)
    rounded = math.ceil(x / quantum) * quantum
    if rounded > largest:
        raise InvalidInstance(f"entries of about {float(x):.4g} exceed {float(largest):.4g}, the largest {dtype}")
    return rounded


def log_bounds(n: int) -> tuple[Fraction, Fraction]:
    """Certified rational bounds of ln n from below and above, relatively 2^-180 apart."""
    with flint_context.bits(_BITS):
        return rational_bounds(flint.arb(n).log())


def exp_bounds(x: Fraction) -> tuple[Fraction, Fraction]:
    """Certified rational bounds of e^x from below and above, relatively about 2^-180 apart."""
    with flint_context.bits(_BITS + 64 + abs(x.numerator // x.denominator).bit_length()):
        return rational_bounds((flint.arb(flint.fmpq(x.numerator, x.denominator))).exp())


def root_of_log(n: int, factor: Fraction) -> Fraction:
    """A rational that is at least √(factor·ln n), and relatively less than 2^-90 above it."""
    x = factor * log_bounds(n)[1]
    shift = 2 * (_BITS + max(0, x.denominator.bit_length() - x.numerator.bit_length()))
    return Fraction(math.isqrt(math.ceil(x * 2**shift)) + 1, 2 ** (shift // 2))


def output_array(output: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """An output of this shape as a float64 array (exact for every narrower type) or as an array of exact numbers.

    Raises ``ValueError`` for another shape, for entries that are not real numbers, and for NaN and infinity.
    """
    array = np.asarray(output)
    if array.shape != shape:
        raise ValueError(f"output has shape {array.shape}: expected {shape}")
    if array.dtype == object:
        if not all(isinstance(x, (int, float, Fraction)) for x in array.flat):
            raise ValueError("output holds something that is no number: expected int, float or Fraction")
        finite = np.array([math.isfinite(x) for x in array.flat], dtype=bool).reshape(shape)
    elif array.dtype.kind in "iub":
        return array.astype(object)
    else:
        if array.dtype.kind == "c" or array.dtype.itemsize > 8:
            raise ValueError(f"output has dtype {array.dtype}: expected real numbers of at most 64 bits")
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"output has dtype {array.dtype}: expected real numbers") from None
        finite = np.isfinite(array)
    if not finite.all():
        wrong = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"output{list(wrong)} is {array[wrong]}: expected a finite number")
    return array


def above(array: NDArray[Any], cut: Fraction) -> NDArray[np.bool_]:
    """Whether each element exceeds the rational ``cut``; the comparison is exact."""
    if array.dtype == object:
        return np.array([Fraction(x) > cut for x in array.flat], dtype=bool).reshape(array.shape)
    return np.asarray(array > floor_float(cut))


def floor_float(x: Fraction) -> float:
    """The largest float64 that is at most x (−inf below all); a float64 exceeds it iff it exceeds x."""
    if x >= TYPES["float64"][2]:
        return float(TYPES["float64"][2])
    if x < -TYPES["float64"][2]:
        return -math.inf
    near = x.numerator / x.denominator  # division of integers is correctly rounded
    return math.nextafter(near, -math.inf) if Fraction(near) > x else near


def rational_bounds(ball: Any) -> tuple[Fraction, Fraction]:
    """The ends of a ball, as rationals, from below and above."""
    return _rational(ball.lower()), _rational(ball.upper())


def _rational(ball: Any) -> Fraction:
    mantissa, exponent = ball.mid().man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
