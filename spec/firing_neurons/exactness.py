"""Where a sum of products is exact whatever its order: small integers, and what is like them (FN-10).

Let every entry of two rows be an integer multiple of 2^e and 2^f.  Then so is every partial sum of their products, of
2^(e + f), and where no partial sum exceeds 2^(p + e + f), all of them are numbers of p significant bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Exponents = NDArray[np.int64]

__all__ = ["NONE", "exact_sums", "lowest_bits", "significant_bits"]

NONE = 1 << 20  # the exponent of the lowest bit of 0, which is a multiple of every power of two
_SLACK = 1.0 + 1e-9


def lowest_bits(x: Array) -> Exponents:
    """The exponent of the lowest bit of every number that is not 0: the largest e with x an integer times 2^e.

    >>> lowest_bits(np.array([6.0, 0.75, 0.0])).tolist() == [1, -2, NONE]
    True
    """
    mantissa, exponent = np.frexp(x)
    whole = np.abs(np.ldexp(mantissa, 53)).astype(np.int64)
    lowest = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    return np.where(whole == 0, NONE, exponent.astype(np.int64) - 53 + lowest)


def significant_bits(x: Array) -> int:
    """How many significant bits the number needs that needs the most.

    >>> significant_bits(np.array([5.0, 0.25])), significant_bits(np.zeros(2))
    (3, 0)
    """
    exponent = np.frexp(x)[1].astype(np.int64)
    return int(np.where(x == 0.0, 0, exponent - lowest_bits(x)).max(initial=0))


def exact_sums(
    left: Exponents, right: Exponents, more: int, size: Array, bits: float, least: float
) -> NDArray[np.bool_]:
    """(k, l): where every partial sum of products and of one more number is a number of ``bits`` significant bits.

    left (k,), right (l,): the least of :func:`lowest_bits` of every row, and ``more`` that of the number.
    size (k, l): about the sum of all absolute values.  least: the least normal number of the arithmetic.
    """
    unit = left[:, None] + right
    unit = np.minimum(np.where(unit >= NONE // 2, NONE, unit), more)
    room = np.ldexp(1.0, np.clip(unit + int(bits), -1100, 1023).astype(np.int64))
    normal = np.ldexp(1.0, np.clip(unit, -1100, 1023).astype(np.int64)) >= least
    exact: NDArray[np.bool_] = (size * _SLACK <= room) & normal  # a size may be 0 because it underflowed
    return exact
