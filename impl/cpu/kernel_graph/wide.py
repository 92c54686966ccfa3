"""Elimination with an exponent beside every number, for weights that leave the range of float64 (KG-17).

A number is mantissa·2^exponent with a mantissa in [1, 2), or 0.  An addition rounds once; exponents never overflow.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Exponents = NDArray[np.int64]

__all__ = ["depth", "laid", "left", "per_step", "substituted"]

_FAR = 1000  # a summand 2^1000 times below the other is left out


def laid(mantissa: Array, exponent: Exponents | None) -> tuple[Array, Exponents]:
    """Symmetric mantissas in [1, 2) and exponents (n, n), from what is above the diagonal; 0 on it."""
    upper = np.triu(mantissa, 1)
    parts, powers = np.frexp(upper)
    powers = powers.astype(np.int64) - 1
    if exponent is not None:
        powers += np.triu(exponent, 1)
    powers[upper == 0.0] = 0
    return np.ascontiguousarray(2.0 * (parts + parts.T)), np.ascontiguousarray(powers + powers.T)


def left(mantissa: Array, exponent: Exponents, keep: int) -> tuple[Array, Exponents]:
    """The graph of the last ``keep`` nodes after the elimination of all others: (keep, keep), symmetric."""
    m, e = np.ascontiguousarray(mantissa), np.ascontiguousarray(exponent)
    n = len(m)
    sums, powers = np.zeros(n), np.zeros(n, dtype=np.int64)
    _compiled()(m, e, keep, sums, powers)
    last = slice(n - keep, None)
    return laid(m[last, last], e[last, last])


def substituted(mantissa: Array, exponent: Exponents, entering: Array) -> tuple[Array, Exponents]:
    """The potentials (n, columns) of currents ≥ 0, the last node grounded: mantissas and exponents."""
    parts, powers = np.frexp(entering)
    m = np.ascontiguousarray(np.concatenate([mantissa, 2.0 * parts], axis=1))
    e = np.ascontiguousarray(np.concatenate([exponent, powers.astype(np.int64) - 1], axis=1))
    n = len(mantissa)
    sums, shifts = np.zeros(n), np.zeros(n, dtype=np.int64)
    _compiled()(m, e, 1, sums, shifts)
    found, found_powers = np.zeros((n, entering.shape[1])), np.zeros((n, entering.shape[1]), dtype=np.int64)
    for k in range(n - 2, -1, -1):
        for column in range(entering.shape[1]):
            terms = np.append(m[k, k + 1 : n] * found[k + 1 :, column], m[k, n + column])
            places = np.append(e[k, k + 1 : n] + found_powers[k + 1 :, column], e[k, n + column])
            if not (terms > 0.0).any():
                continue
            top = int(places[terms > 0.0].max())
            total = np.ldexp(terms, np.clip(places - top, -_FAR, 0).astype(np.int32) * (terms > 0.0)).sum()
            part, power = np.frexp(total / sums[k])
            found[k, column] = 2.0 * part
            found_powers[k, column] = top - shifts[k] + int(power) - 1
    return found, found_powers


def depth(m: int) -> int:
    """Additions through which a weight passes on its way to the sum of m − 1 of them, and what is left out."""
    return m


def per_step(m: int) -> int:
    """Roundings that an elimination from m nodes is off by: a share, a product, a sum, and the sum of the weights."""
    return 4 + depth(m)


@functools.cache
def _compiled() -> Callable[..., None]:
    import numba

    types: Any = numba.types
    real, whole = types.Array(types.float64, 2, "C"), types.Array(types.int64, 2, "C")
    line, places = types.Array(types.float64, 1, "C"), types.Array(types.int64, 1, "C")
    return compiled(_eliminate, types.void(real, whole, types.int64, line, places), set())


def _eliminate(m: Any, e: Any, keep: Any, sums: Any, powers: Any) -> None:
    """Eliminate all nodes but the last ``keep``, in place; what is above the diagonal, and further columns, is read.

    Compiled by :func:`_compiled`.  The table of powers of two replaces calls of ldexp.
    """
    n, columns = m.shape
    half = np.empty(1002)
    half[0] = 1.0
    for i in range(1, 1002):
        half[i] = half[i - 1] * 0.5
    share, place = np.empty(columns), np.empty(columns, np.int64)
    for k in range(n - keep):
        total, top = 0.0, np.int64(0)
        for j in range(k + 1, n):
            if m[k, j] == 0.0:
                continue
            if total == 0.0:
                total, top = m[k, j], e[k, j]
                continue
            gap = top - e[k, j]
            if gap >= 0:
                total += m[k, j] * half[min(gap, 1001)]
            else:
                total = m[k, j] + total * half[min(-gap, 1001)]
                top = e[k, j]
            while total >= 2.0:
                total *= 0.5
                top += 1
        sums[k], powers[k] = total, top
        for j in range(k + 1, n):
            share[j], place[j] = m[k, j] / total, e[k, j] - top
        for i in range(k + 1, n):
            for j in range(i + 1, columns):
                term, at = share[i] * m[k, j], place[i] + e[k, j]
                if term == 0.0:
                    continue
                gap = e[i, j] - at
                if m[i, j] == 0.0:
                    value, at = term, at
                elif gap >= 0:
                    value, at = m[i, j] + term * half[min(gap, 1001)], e[i, j]
                else:
                    value = term + m[i, j] * half[min(-gap, 1001)]
                while value >= 2.0:
                    value *= 0.5
                    at += 1
                while value < 1.0:
                    value *= 2.0
                    at -= 1
                m[i, j], e[i, j] = value, at
