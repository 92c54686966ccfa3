"""Attention in arithmetic of p significant bits, emulated: what DOC-7 is about.

After every operation the result is rounded to the nearest number of p bits (ties to even); exponents are unlimited, but
for weights below a limit, which may be flushed to 0.  Sums are sequential in at most two levels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.impl.transformer.weights import factor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["rounded", "shares", "summed"]


def rounded(x: Array, bits: int) -> Array:
    """The nearest numbers of ``bits`` significant bits.

    >>> rounded(np.array([5.0, 9.0, -0.3]), 3).tolist()
    [5.0, 8.0, -0.3125]
    """
    mantissa, exponent = np.frexp(x)
    result: Array = np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)
    return result


def summed(terms: Array, bits: int, part: int | None = None) -> Array:
    """The sums of columns, (rows,), from terms (columns, rows): each addition rounded, one column after the other.

    part: the columns are added in groups of this size first, and then the sums of the groups.
    """
    size = len(terms) if part is None else part
    groups = []
    for start in range(0, len(terms), size):
        total = terms[start].copy()
        for term in terms[start + 1 : start + size]:
            total = rounded(total + term, bits)
        groups.append(total)
    total = groups[0]
    for other in groups[1:]:
        total = rounded(total + other, bits)
    result: Array = total
    return result


def shares(
    left: NDArray[np.generic],
    right: NDArray[np.generic],
    bits: int,
    *,
    part: int | None = None,
    flush: float = 0.0,
    base_two: bool = False,
    order: NDArray[np.intp] | None = None,
) -> Array:
    """(n,): the calibrator's share of the attention of every left vector, at most 1/2 iff it is orthogonal to one.

    left (n, d), right (m, d): 0 and 1.  bits: p.  Score −κ²⟨a, b⟩, weight e^score, share 1/(1 + Σ weights), κ as in
    the transformer (:func:`~assay.impl.transformer.weights.factor`), and each of them rounded.
    flush: weights below it become 0; at most 1/(16m).  base_two: the weight is 2^x of the rounded x = score·log₂e.
    order: in which order the right vectors are added, the calibrator (number m) among them.
    """
    kappa = rounded(np.array(factor(len(right))), bits)
    products = right.astype(np.float64) @ left.astype(np.float64).T
    scores = rounded(-rounded(kappa * kappa, bits) * products, bits)
    weights = np.exp2(rounded(scores * rounded(np.array(np.log2(np.e)), bits), bits)) if base_two else np.exp(scores)
    weights = rounded(weights, bits)
    weights[weights < flush] = 0.0
    terms = np.concatenate([weights, np.ones((1, len(left)))])
    total = summed(terms if order is None else terms[order], bits, part)
    return rounded(1.0 / total, bits)
