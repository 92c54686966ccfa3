"""The floating types of instances, and a look at every number of an array in little memory.

The types are NumPy's own and the short ones of ml_dtypes, on which NumPy's tests for infinity and NaN are slow.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, Literal

import ml_dtypes
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["FLOATS", "dtype_named", "finite", "finite_or_minus_infinity", "first_that_is_not", "floating", "half_ulp"]

#: The floating types that an instance may store.
FLOATS: frozenset[str] = frozenset({"float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"})

_BLOCK = 1 << 16  # elements that are looked at together: 512 KiB at most
_LARGEST = {"float16": 0x7BFF, "bfloat16": 0x7F7F, "float8_e4m3fn": 0x7E, "float8_e5m2": 0x7B}  # finite, its bits


def dtype_named(name: str) -> np.dtype[Any]:
    """The dtype called ``name``, NumPy's own or one of ml_dtypes."""
    return np.dtype(getattr(ml_dtypes, name, name))


@functools.cache
def floating(dtype: np.dtype[Any]) -> bool:
    """Whether ``dtype`` is one of :data:`FLOATS`.  (NumPy makes the name of a dtype anew every time.)"""
    return dtype.name in FLOATS


def half_ulp(array: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """What rounding to the type of an array may have changed its numbers by, and where that type overflows.

    The first is u|x| + η/2 for every finite x, 0 elsewhere, with the unit roundoff u and the least subnormal η of the
    type.  The second is the least real number that rounds to infinity: the largest number and half an ulp of it.

    >>> half_ulp(np.array([1.0, 0.0], np.float16))
    (array([4.88311052e-04, 2.98023224e-08]), 65520.0)
    """
    limits: Any = ml_dtypes.finfo(array.dtype)  # type: ignore[no-untyped-call]
    roundoff, least, largest = float(limits.eps) / 2, float(limits.smallest_subnormal), float(limits.max)
    number = np.abs(array.astype(np.float64))
    exponent = 2.0 ** math.floor(math.log2(largest))
    return np.where(np.isfinite(number), roundoff * number + least / 2, 0.0), largest + roundoff * exponent


def first_that_is_not(good: Callable[[Any], Any], array: NDArray[Any]) -> tuple[int, ...] | None:
    """The first index, in C order, whose number is not ``good``; None where every number is.

    ``good`` maps an array to truth values.  The memory that is used is that of a block, not of the array.
    """
    if array.size <= _BLOCK:
        if 0 not in good(array).tobytes():  # for few numbers in a third of the time of all()
            return None
    else:
        # Where the stride of an axis is 0, its first slice stands for all of them, and is the first in order too.
        array = array[tuple(slice(None if stride else 1) for stride in array.strides)]
        if all(good(block).all() for block in _blocks(array, "K")):  # as the array lies in memory: the fastest order
            return None
    before = 0
    for block in _blocks(array, "C"):
        verdict = good(block)
        if not verdict.all():
            place = before + int(verdict.argmin())
            return tuple(int(k) for k in np.unravel_index(place, array.shape))
        before += block.size
    return None


def finite(x: NDArray[Any]) -> Any:
    """Which numbers are neither infinite nor NaN."""
    if x.itemsize >= 4:
        return np.isfinite(x)
    bits, magnitude, largest = _layout(x.dtype)  # faster than NumPy is on short types, and it raises no flag
    return x.view(bits) & magnitude <= largest


def finite_or_minus_infinity(x: NDArray[Any]) -> Any:
    """Which numbers are finite or −∞."""
    return finite(x) | (x == -np.inf)


@functools.cache
def _layout(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], Any, Any]:
    """Unsigned integers of the width of ``dtype``, all bits but the sign, and the bits of its largest finite number."""
    bits = np.dtype(f"u{dtype.itemsize}").newbyteorder(dtype.byteorder)
    return bits, bits.type((1 << 8 * dtype.itemsize - 1) - 1), bits.type(_LARGEST[dtype.name])


def _blocks(array: NDArray[Any], order: Literal["C", "K"]) -> Iterator[Any]:
    """Blocks of one axis, at most :data:`_BLOCK` elements long, each valid until the next."""
    return np.nditer(array, ["external_loop", "buffered"], order=order, buffersize=_BLOCK)
