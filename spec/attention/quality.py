"""How accurate a kernel of a class is if its roundings are independent (proofs_notes/attention.md, QUAL-1 to QUAL-3).

The tolerance is a worst case over all signs of all roundings; they rarely conspire.  Here they are independent random
numbers of mean zero, the output is taken to first order in them, and the level is six standard deviations.  It ranks
kernels and fails none: a kernel may be correct and beyond it (systematic roundings), and within it and wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec.attention.definition import Exact, evaluate
from assay.spec.attention.tolerance import tolerance
from assay.spec.precision import Precision, reference_accuracy
from assay.spec.precision import precision as precision_named
from assay.spec.softmax.rounding import Softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.attention.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["DEVIATIONS", "deviation", "quality"]

#: The level in standard deviations: exceeded with a probability of at most 2e^−18 = 3e-8 an element (QUAL-2).
DEVIATIONS = 6.0


def quality(instance: Instance, precision: str | Precision, *, exact: Exact | None = None) -> Array:
    """The quality level of every element of the output, (b, h_q, n_q, d_v); nowhere above the tolerance.

    +inf where the tolerance is (rows outside the domain), 0 in empty rows.  ``exact`` saves evaluating the instance
    again.  Source: proofs_notes/attention.md, QUAL-1 and QUAL-2; Higham and Mary 2019.

    >>> from assay.spec.attention import Instance
    >>> x = np.arange(3.0).reshape(1, 1, 3, 1).astype(np.float32)
    >>> np.round(tolerance(Instance(x, x, x), "float32") / quality(Instance(x, x, x), "float32")).ravel()
    array([2., 2., 2.])
    """
    u = precision_named(precision)
    exact = evaluate(instance, reference_accuracy(u)) if exact is None else exact
    allowed = tolerance(instance, u, exact=exact)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        level = DEVIATIONS * deviation(instance, u, exact=exact) + exact.output.radius
        level = level + u.output_tiny + 2 * u.tiny
    empty = np.isneginf(exact.log_sum_exp.midpoint)[..., None]
    return np.where(empty, 0.0, np.where(np.isinf(allowed), np.inf, np.fmin(level, allowed)))


def deviation(instance: Instance, precision: str | Precision, *, exact: Exact | None = None) -> Array:
    """σ of QUAL-1: a bound on the standard deviation of every element of the output, to first order."""
    u = precision_named(precision)
    exact = evaluate(instance, reference_accuracy(u)) if exact is None else exact
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return np.asarray(np.sqrt(_variance(instance, u, exact)))


def _variance(instance: Instance, u: Precision, exact: Exact) -> Array:
    soft = u.of(Softmax)
    value = np.repeat(instance.value.astype(np.float64), instance.group, axis=1)
    score, log_p = exact.score.midpoint, exact.log_probability.midpoint
    own, shared = _score_variances(instance, u, np.where(score != -np.inf, score, 0.0))
    if instance.sink is not None and exact.log_sink_probability is not None:  # one more key, of value 0
        sink = np.broadcast_to(instance.sink.astype(np.float64)[None, :, None, None], (*score.shape[:3], 1))
        score = np.concatenate([score, sink], axis=3)
        log_p = np.concatenate([log_p, exact.log_sink_probability.midpoint[..., None]], axis=3)
        own = np.concatenate([own, 4 * u.product**2 * sink**2], axis=3)
        shared = np.concatenate([shared, np.zeros_like(sink)], axis=3)
        value = np.concatenate([value, np.zeros_like(value[:, :, :1])], axis=2)
    attended = score != -np.inf
    p = np.where(attended, np.exp(log_p), 0.0)
    output = exact.output.midpoint
    n = attended.sum(axis=3, keepdims=True).astype(np.float64)
    top = np.where(attended, score, -np.inf).max(axis=3, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0.0)
    below = np.where(attended, top - score, 0.0)
    tiles = np.minimum(np.ceil(instance.key.shape[2] / soft.tile), n)

    own = own + (3 * u.product**2 + soft.stored_score**2) * below**2 + soft.exp**2
    shared = shared + 2 * u.product**2 * top**2 + (tiles + 1) * soft.rescale**2
    # Σ p²τ²(v − o)² of independent keys; (Σ pσ|v − o|)² ≤ Σ pσ² Σ p(v − o)² of what they share
    variance = _deviation(p**2 * own, value, output)
    variance = variance + (p * shared).sum(axis=3, keepdims=True) * _deviation(p, value, output)

    additions = np.where(n > 1, n - 1 + 3 * tiles, 0.0) * u.accumulate**2
    variance = variance + additions * ((p @ np.abs(value)) ** 2 + output**2)
    single = soft.probability**2 + soft.value_rounding**2 + 2 * u.accumulate**2
    variance = variance + single * (p**2 @ value**2)
    if soft.probability > 0:  # if the rounded probabilities are summed, their rounding is common
        variance = variance + soft.probability**2 * _deviation(p**2, value, output)
    lse = np.where(n > 1, np.abs(top) + np.abs(exact.log_sum_exp.midpoint[..., None] - top), 0.0)
    final = 4 * u.accumulate**2 + u.output**2 + soft.row_sum**2 + 4 * u.product**2 * lse**2
    return np.asarray(variance + final * output**2)


def _deviation(weight: Array, value: Array, output: Array) -> Array:
    """Σ_j w_j (v_j − o)², through the mean of the values so that nothing cancels that is not small."""
    middle = value.mean(axis=2, keepdims=True)
    v, o = value - middle, output - middle
    total = weight @ v**2 - 2 * o * (weight @ v) + o**2 * weight.sum(axis=3, keepdims=True)
    return np.asarray(np.maximum(total, 0.0))


def _score_variances(instance: Instance, u: Precision, score: Array) -> tuple[Array, Array]:
    """Of every score: what is its own, and what keys share because Q is rounded or scaled once for all of them."""
    soft = u.of(Softmax)
    assert instance.scale is not None
    query = np.abs(instance.query.astype(np.float64))
    key = np.swapaxes(np.repeat(np.abs(instance.key.astype(np.float64)), instance.group, axis=1), 2, 3)
    d, scale = query.shape[3], abs(instance.scale)
    size = scale * (query @ key)
    squares = scale**2 * (query**2 @ key**2)
    shared = (soft.query_rounding**2 + 4 * u.product**2) * squares
    own = shared + (d + 4) * u.product**2 * size**2
    times = soft.stored_times
    if instance.softcap is not None:
        own = own + instance.softcap**2 * (soft.tanh**2 + 8 * u.product**2)
        times += 3 if times else 0
    bias = np.zeros(())
    if instance.bias is not None:
        wide = instance.bias.astype(np.float64)
        bias = np.where(np.isfinite(wide), wide, 0.0)
        own = own + (d + 13) * u.product**2 * (np.abs(bias) + np.abs(score)) ** 2
    own = own + times * soft.stored_score**2 * (size + np.abs(bias)) ** 2
    return own, shared
