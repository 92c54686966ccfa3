"""The average case: a sample of the keys in place of all, and what it is off with probability at most δ (ST-3).

The bound is a posteriori: it takes what a call said of its sample, and the largest weight of any key, from norms.
Source: Hoeffding 1963 for samples without replacement; the factor 1 − (m − 1)/n is Serfling's (1974).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["a_priori", "log_largest_weight", "sampling_error"]

_TINY = 2.0**-1022  # more than an operation loses where its result underflows


def sampling_error(
    log_largest: Array | float,
    log_mean: Array | float,
    spread: Array | float,
    *,
    keys: int,
    sample: int,
    questions: int,
    failure: float,
) -> Array:
    """What |õ − o| is at most, but for a probability δ over the choice of the sample.

    log_largest: ln of at least the largest weight e^s of any key, by row.  log_mean: ln of the mean weight of the
    sample, by row: its log-sum-exp less ln m.  spread: max v − min v of every column, over all keys.
    keys: n, how many there are.  sample: m, how many of them were drawn, without replacement.  questions: n_q·d_v, how
    many numbers are to be right at once.  failure: δ.
    The arrays broadcast.  A sample of all keys errs by 0.  Raises ``ValueError`` for a sample or failure out of range.

    >>> round(float(sampling_error(0.0, 0.0, 1.0, keys=10**9, sample=5000, questions=1, failure=0.05)), 4)
    0.0192
    """
    if not 1 <= sample <= keys:
        raise ValueError(f"sample: {sample}, expected from 1 to the {keys} keys")
    if not 0.0 < failure < 1.0:
        raise ValueError(f"failure: {failure!r}, expected a probability between 0 and 1")
    if questions < 1:
        raise ValueError(f"questions: {questions}, expected at least 1")
    if sample == keys:
        return np.zeros(np.broadcast_shapes(np.shape(log_largest), np.shape(log_mean), np.shape(spread)))
    left = 1.0 - (sample - 1) / keys
    rate = math.sqrt(left * math.log(2.0 * questions / failure) / (2.0 * sample))
    with np.errstate(over="ignore"):
        bound = np.exp(np.asarray(log_largest) - log_mean) * spread * rate
    # no output and no mean of a sample leaves the range of the values
    return np.asarray(np.fmin(bound, spread) * (1 + 1e-12), dtype=np.float64)


def a_priori(
    score_range: float, spread: Array | float, *, keys: int, sample: int, questions: int, failure: float
) -> Array:
    """The same before any call, from ρ ≥ max s − min s of every row: a mean weight is at least e^−ρ."""
    return sampling_error(score_range, 0.0, spread, keys=keys, sample=sample, questions=questions, failure=failure)


def log_largest_weight(query: NDArray[Any], key: NDArray[Any], scale: float) -> Array:
    """(…, n_q): at least the largest score of any key, σ⟨q, k̄⟩ + |σ|‖q‖·max‖k_j − k̄‖, (…, n_q, d) and (…, n_k, d).

    It is rounded outwards, by what ST-3 says of its computation; +inf where a number on the way overflows.

    >>> x = np.eye(2)
    >>> log_largest_weight(x, x, 1.0).round(6).tolist()
    [1.207107, 1.207107]
    """
    q, k, size = query.astype(np.float64), key.astype(np.float64), abs(scale)
    with np.errstate(all="ignore"):
        mean = k.mean(axis=-2, keepdims=True)  # any vector will do, so that this one need not be the mean exactly
        radius = _norms(k - mean).max(axis=-1)[..., None] + _TINY
        products = q * mean
        at_mean = scale * products.sum(axis=-1)
        away = (size * (_norms(q) + _TINY) + _TINY) * radius + _TINY
        rounded = 2.0**-53 * (4 * q.shape[-1] + 16) * (size * np.abs(products).sum(axis=-1) + away)
        bound: Array = at_mean + (away + (rounded + (q.shape[-1] + 2) * (size * _TINY + _TINY)))
    # what overflowed has made an infinity of the sum of absolute values too, or a NaN
    return np.where(np.isnan(bound), np.inf, bound)


def _norms(vectors: Array) -> Array:
    """(…): the norms along the last axis, whose squares neither underflow nor overflow."""
    largest = np.abs(vectors).max(axis=-1, keepdims=True)
    norms: Array = np.sqrt(np.square(vectors / (largest + (largest == 0))).sum(axis=-1)) * largest[..., 0]
    return norms
