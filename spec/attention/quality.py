"""How accurate a kernel of a precision class is if its roundings are independent (proofs_notes/attention.md, QUAL-1 … 3).

The tolerance is a worst case over all signs of all roundings; they rarely conspire.  Here they are independent random
numbers of mean zero, the output is taken to first order in them, and the level is six standard deviations.  It ranks
kernels and fails none: a kernel may be correct and beyond it (systematic roundings), and within it and wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec.attention.definition import Exact, evaluate
from assay.spec.attention.tolerance import reference_accuracy, tolerance
from assay.spec.precision import Precision
from assay.spec.precision import precision as precision_named

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.attention.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["DEVIATIONS", "quality"]

#: The level in standard deviations: the output, a sum of independent terms, exceeds it with a probability of 2e-9 if
#: it is normal, and of 1/36 whatever its distribution.
DEVIATIONS = 6.0


def quality(instance: Instance, precision: str | Precision, *, exact: Exact | None = None) -> Array:
    """The quality level of every element of the output, (b, h_q, n_q, d_v); nowhere above the tolerance.

    +inf where the tolerance is (rows outside the domain), 0 in empty rows.  ``exact`` saves evaluating the instance
    again.  Source: proofs_notes/attention.md, QUAL-1 and QUAL-2; Higham and Mary 2019.

    >>> from assay.spec.attention import Instance
    >>> x = np.arange(3.0).reshape(1, 1, 3, 1).astype(np.float16)
    >>> bool((quality(Instance(x, x, x), "float16") <= tolerance(Instance(x, x, x), "float16")).all())
    True
    """
    u = precision_named(precision)
    exact = evaluate(instance, reference_accuracy(u)) if exact is None else exact
    allowed = tolerance(instance, u, exact=exact)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        level = DEVIATIONS * np.sqrt(_variance(instance, u, exact)) + exact.output.radius
        level = level + u.output_tiny + 2 * u.tiny
    empty = np.isneginf(exact.log_sum_exp.midpoint)[..., None]
    return np.where(empty, 0.0, np.fmin(level, allowed))


def _variance(instance: Instance, u: Precision, exact: Exact) -> Array:
    """QUAL-1: of the output, to first order; every rounding within its unit has at most a variance of its square."""
    query = instance.query.astype(np.float64)
    key = np.repeat(instance.key.astype(np.float64), instance.group, axis=1)
    value = np.repeat(instance.value.astype(np.float64), instance.group, axis=1)
    score = exact.score.midpoint
    attended = score != -np.inf
    score = np.where(attended, score, 0.0)
    p = np.where(attended, np.exp(exact.log_probability.midpoint), 0.0)
    output = exact.output.midpoint
    n = np.maximum(attended.sum(axis=3), 1.0)
    top = np.where(attended, exact.score.midpoint, -np.inf).max(axis=3, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0.0)
    tiles = np.minimum(np.ceil(instance.key.shape[2] / u.tile), n)

    weight = _score_variance(instance, u, query, key, score)
    below = np.where(attended, top[..., None] - score, 0.0)
    weight = weight + (3 * u.product**2 + u.stored_score**2) * below**2  # the argument of exp
    weight = weight + (2 * u.product * top[..., None]) ** 2
    weight = weight + u.exp**2 + (tiles[..., None] + 1) * u.rescale**2
    sums = (n - 1 + 3 * tiles) * u.accumulate**2 * (n > 1)
    one_sided = u.probability**2 + u.value_rounding**2 + 4 * u.accumulate**2 + sums[..., None]

    # Σ p²(v − o)²: what numerator and denominator share; Σ p² v²: what the numerator alone has
    square, line = p**2 * weight, p**2
    common = square @ value**2 - 2 * output * (square @ value) + output**2 * square.sum(axis=3, keepdims=True)
    alone = (line * one_sided) @ value**2
    row = (u.row_sum**2 + sums[..., None] * line.sum(axis=3, keepdims=True)) * output**2
    if u.probability > 0:  # if the rounded probabilities are summed, their rounding is common
        shared = line @ value**2 - 2 * output * (line @ value) + output**2 * line.sum(axis=3, keepdims=True)
        alone = alone + u.probability**2 * np.maximum(shared, 0.0)
    final = (2 * u.accumulate**2 + u.output**2) * output**2
    return np.asarray(np.maximum(common, 0.0) + alone + row + final)


def _score_variance(instance: Instance, u: Precision, query: Array, key: Array, score: Array) -> Array:
    """Of every score: each of its d products meets its own roundings, at most d + 8 of them."""
    assert instance.scale is not None
    d = query.shape[3]
    squares = instance.scale**2 * (query**2 @ np.swapaxes(key**2, 2, 3))
    variance = (2 * u.input_rounding**2 + (d + 8) * u.product**2) * squares
    if instance.softcap is not None:
        variance = variance + instance.softcap**2 * (u.tanh**2 + 8 * u.product**2)
    times = u.stored_times + (3 if instance.softcap is not None and u.stored_times else 0)
    variance = variance + times * u.stored_score**2 * score**2
    if instance.bias is not None:
        bias = np.where(np.isfinite(instance.bias.astype(np.float64)), instance.bias.astype(np.float64), 0.0)
        variance = variance + (5 + d + 8) * u.product**2 * (score**2 + bias**2)
    return np.asarray(variance)
