"""What a correct attention kernel of a precision class may err, per element (proofs_notes/attention.md, TOL-7).

The names are those of the proof.  For one row: s_j scores, m their maximum, lse = m + ln D the log-sum-exp,
p_j = e^(s_j − lse), o = Σ p_j v_j.  A kernel has scores within Δ_j (TOL-1, TOL-2), weights e^θ_j times the true ones
with |θ_j| ≤ L_j (TOL-3), numerators and denominators within ν and λ (TOL-4), and

    |out − o| ≤ E1 + E2 + E3 + E4,

where errors that numerator and denominator share see |v_j − o| only (E1), those of one side see |v_j| (E2), the output
is rounded (E3), and underflow adds absolute terms (E4).  Everything is computed in float64 from the certified
enclosures of :func:`assay.spec.attention.definition.evaluate`, widened by their radii and by the factor 1 + 1e-9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.attention.definition import Exact, evaluate
from assay.spec.precision import Precision, reference_accuracy
from assay.spec.precision import precision as precision_named
from assay.spec.rounding import compound, gamma
from assay.spec.softmax.rounding import Softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.attention.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["merge_error", "tolerance"]

_SLACK = 1.0 + 1e-9  # over the rounding of this computation itself, of relative size 1e-12 at most (TOL-8)
_BLOCK = 1 << 21  # elements of the largest temporary: rows × keys × columns of V


def tolerance(
    instance: Instance,
    precision: str | Precision,
    output: str = "output",
    *,
    exact: Exact | None = None,
) -> NDArray[np.float64]:
    """The bound on the error of every correct kernel of the class ``precision``, per element of ``output``.

    Shape (b, h_q, n_q, d_v), or (b, h_q, n_q) for ``output="log_sum_exp"``; +inf in rows outside the domain of the
    class (TOL-6), where no kernel is judged.  ``exact`` saves evaluating the instance again.
    Source: proofs_notes/attention.md, TOL-7 and TOL-8.  Raises ``ValueError`` for an unknown class or output.

    >>> from assay.spec.attention import Instance
    >>> x = np.arange(3.0).reshape(1, 1, 3, 1).astype(np.float16)
    >>> np.round(tolerance(Instance(x, x, x), "float16"), 5).ravel()
    array([0.00115, 0.0017 , 0.0019 ])
    """
    if output not in ("output", "log_sum_exp"):
        raise ValueError(f"unknown output {output!r}: expected 'output' or 'log_sum_exp'")
    u = precision_named(precision)
    row = _rows(instance, u, evaluate(instance, reference_accuracy(u)) if exact is None else exact)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        bound = _output_bound(row, u) if output == "output" else _log_sum_exp_bound(row, u)
        outside = np.isnan(bound) | ~(row.inside[..., None] if output == "output" else row.inside)
    return np.where(outside, np.inf, bound)


@dataclass(frozen=True)
class _Rows:
    """The exact quantities of every row, and what a kernel's scores and weights may be off.

    Axes: (b, h_q, n_q) for rows, with a last axis over keys (the sink, where there is one, is the last key).
    """

    attended: NDArray[np.bool_]
    probability: Array  # p_j, upper bounds
    spread: Array  # L_j
    score_error: Array  # max_j Δ_j
    maximum: Array  # |m|
    log_denominator: Array  # ln D, at least 0
    log_sum_exp: Array  # |lse|
    count: Array  # n: keys that are attended to
    tiles: Array  # T: rescalings
    lower_mass: Array  # D⁻ = Σ p_j e^(−L_j), a lower bound
    value: Array  # (b, h_q, n_k, d_v)
    output: Array  # o, (b, h_q, n_q, d_v), and
    output_radius: Array  # its radius
    inside: NDArray[np.bool_]  # the domain of the class


def _rows(instance: Instance, u: Precision, exact: Exact) -> _Rows:
    soft = u.of(Softmax)
    query, key, value = (
        instance.query.astype(np.float64),
        np.repeat(instance.key.astype(np.float64), instance.group, axis=1),
        np.repeat(instance.value.astype(np.float64), instance.group, axis=1),
    )
    score, log_p, log_p_radius = (
        exact.score.midpoint,
        exact.log_probability.midpoint,
        exact.log_probability.radius,
    )
    attended = score != -np.inf
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        delta, inside = _score_errors(instance, u, query, key, score, attended)
        delta = delta + np.where(attended, exact.score.radius, 0.0)
        if instance.sink is not None and exact.log_sink_probability is not None:
            # the sink is one more key, of exact score (folding log₂e into it rounds) and zero value
            sink = np.broadcast_to(instance.sink.astype(np.float64)[None, :, None, None], (*score.shape[:3], 1))
            score = np.concatenate([score, sink], axis=3)
            log_p = np.concatenate([log_p, exact.log_sink_probability.midpoint[..., None]], axis=3)
            log_p_radius = np.concatenate([log_p_radius, exact.log_sink_probability.radius[..., None]], axis=3)
            delta = np.concatenate([delta, (4 * u.product + soft.stored_score) * np.abs(sink)], axis=3)
            attended = np.concatenate([attended, np.ones_like(sink, dtype=bool)], axis=3)
            value = np.concatenate([value, np.zeros_like(value[:, :, :1])], axis=2)
        size = np.where(attended, np.abs(score), 0.0)
        top = np.where(attended, score, -np.inf).max(axis=3, initial=-np.inf)
        top = np.where(np.isfinite(top), top, 0.0)  # an empty row: nothing below matters
        count = attended.sum(axis=3).astype(np.float64)
        tiles = np.minimum(math.ceil(instance.key.shape[2] / soft.tile), count)
        # D = 1/max_j p_j: accurate where lse − m would cancel; and 1 ≤ D ≤ n
        log_denominator = np.where(count > 0, -np.where(attended, log_p, -np.inf).max(axis=3, initial=-np.inf), 0.0)
        log_denominator = np.clip(log_denominator, 0.0, np.log(np.maximum(count, 1.0)))
        below = np.where(attended, top[..., None] - score, 0.0)

        # K2 (TOL-3): |θ_j| ≤ L_j
        delta = np.where(attended, delta, 0.0)
        largest_delta = delta.max(axis=3, initial=0.0)
        largest_size = size.max(axis=3, initial=0.0)
        argument = below + delta + (largest_delta + 2 * soft.lag + log_denominator)[..., None]
        rounding = 1.01 * (3 * u.product + soft.stored_score) * argument
        rounding = rounding + (2.02 * u.product * (largest_size + largest_delta))[..., None]
        shared = -math.log1p(-soft.exp) - (tiles + 1) * math.log1p(-soft.rescale)
        shared = shared + merge_error(u, largest_size + largest_delta, log_denominator, count)
        spread = delta + rounding + shared[..., None] + np.where(attended, log_p_radius, 0.0)
        spread = np.where(attended, spread * _SLACK, 0.0)

        probability = np.where(attended, np.exp(log_p + log_p_radius), 0.0)
        lower_mass = np.where(attended, np.exp(log_p - log_p_radius - spread), 0.0).sum(axis=3)
    return _Rows(
        attended=attended,
        probability=probability,
        spread=spread,
        score_error=largest_delta,
        maximum=np.abs(top),
        log_denominator=log_denominator,
        log_sum_exp=np.where(count > 0, np.abs(top) + log_denominator, 0.0),
        count=count,
        tiles=tiles,
        lower_mass=lower_mass / _SLACK,
        value=value,
        output=exact.output.midpoint,
        output_radius=exact.output.radius,
        inside=inside,
    )


def merge_error(u: Precision, maximum: Array | float, log_denominator: Array | float, count: Array | int) -> Array:
    """e_lse: the relative error of a factor e^(x − lse) that comes from rounding lse = m + ln D (K7); ln 1 = 0."""
    logarithm = 8 * np.maximum(1.0, log_denominator) * (count > 1)
    error: Array = 1.01 * u.product * (4 * (maximum + log_denominator) + logarithm)
    return error


def _merges(row: _Rows, u: Precision) -> int:
    """P: parts that are merged one after the other through a stored log-sum-exp (K7)."""
    soft = u.of(Softmax)
    return math.ceil(int(row.attended.shape[3]) / soft.part)


def _roundings(row: _Rows) -> Array:
    """Additions, rescalings and merges that a row of n > 1 weights goes through; none for one weight (TOL-4)."""
    return np.where(row.count > 1, row.count - 1 + 3 * row.tiles + 2, 0.0)


def _steps(row: _Rows) -> Array:
    """Operations on a row that may underflow (TOL-5)."""
    return row.count + 3 * row.tiles + 4


def _unit(row: _Rows, u: Precision) -> Array:
    """The largest weight where probabilities are rounded, in units of the normalised ones: 1/D, or 1 after dividing."""
    soft = u.of(Softmax)
    unit: Array = np.exp(0.0 * row.count if soft.normalised else -row.log_denominator)
    return unit


def _score_errors(
    instance: Instance, u: Precision, query: Array, key: Array, score: Array, attended: NDArray[np.bool_]
) -> tuple[Array, NDArray[np.bool_]]:
    """K1: Δ_ij of every score (TOL-1, TOL-2), and which rows are inside the domain (TOL-6)."""
    soft = u.of(Softmax)
    assert instance.scale is not None
    d, n_k = query.shape[3], key.shape[2]
    scale = abs(instance.scale)
    product = np.abs(query) @ np.swapaxes(np.abs(key), 2, 3)  # G_ij = Σ_c |q_ic||k_jc|
    scaled = scale * product
    relative = compound(soft.query_rounding, soft.query_rounding, gamma(d + 8, u.product))
    norms = np.abs(query).sum(axis=3)[..., None] + np.abs(key).sum(axis=3)[..., None, :]
    underflow = 2 * (1 + scale) * (u.tiny * (2 * d + 2 + norms) + soft.stored_tiny * (norms + product))
    delta = relative * scaled + underflow * max(1.0, instance.softcap or 0.0)
    stored, times = scaled, soft.stored_times

    if instance.softcap is not None:  # c·tanh(s/c) is 1-Lipschitz and |tanh| ≤ 1
        delta = delta + instance.softcap * (soft.tanh + 8 * u.product)
        times += 3 if times else 0
    if instance.bias is not None:
        bias = np.broadcast_to(instance.bias.astype(np.float64), score.shape)
        bias = np.where(np.isfinite(bias), np.abs(bias), 0.0)
        capped = scaled if instance.softcap is None else np.minimum(scaled, instance.softcap)
        delta = delta + 5 * u.product * (capped + delta + bias) + gamma(d + 8, u.product) * bias
        stored = stored + bias
    else:
        bias = np.zeros(())
    delta = (
        delta + compound(*[soft.stored_score] * times) * (stored + delta) + times * soft.stored_tiny * max(1.0, scale)
    )
    delta = np.where(attended, delta, 0.0)

    # TOL-6.  1.5 > log₂e; everything that a kernel may form on its way to a score stays below half the largest number
    fold = 1.5 * max(1.0, scale)
    limit = soft.largest_score / 2
    reach = fold * np.maximum(
        product, np.maximum(np.abs(query).max(axis=3)[..., None], np.abs(key).max(axis=3)[..., None, :])
    )
    inside = ((reach <= limit) & (1.5 * (scaled + bias) <= limit)).all(axis=3)
    inside &= 1.5 * scale <= limit
    if scale > 0:
        inside &= (1.5 * bias / scale <= limit).all(axis=-1)
    if instance.sink is not None:
        inside &= 1.5 * np.abs(instance.sink.astype(np.float64))[None, :, None] <= limit
    if instance.softcap is not None:
        inside &= 1.5 * instance.softcap <= limit
        inside &= fold / instance.softcap * np.maximum(product, 1.0).max(axis=3) <= limit
        inside &= instance.softcap >= 4 * u.tiny
    normal = scale == 0 or 4 * u.tiny <= scale
    largest_value = np.abs(instance.value.astype(np.float64)).max(axis=(2, 3))
    largest_value = np.repeat(largest_value, instance.group, axis=1)[..., None]
    inside &= normal
    inside &= 2 * (n_k + 1) * largest_value * math.exp(soft.lag) <= soft.largest_sum
    inside &= largest_value * (1 + 4 * u.output) <= u.largest_output
    return delta, inside


def _output_bound(row: _Rows, u: Precision) -> Array:
    """TOL-7: E1 + E2 + E3 + E4 per element."""
    soft = u.of(Softmax)
    common, deviation, hull, absolute, largest, total = _sums(row)
    mass = row.lower_mass[..., None]
    e1 = np.fmin(common / mass, hull)  # fmin: an overflowed sum is no bound, the hull always is
    magnitude = np.fmin(absolute / mass, largest)
    size = np.fmin(np.abs(row.output) + row.output_radius + e1, magnitude)

    # TOL-4: relative errors of numerator (ν) and denominator (λ)
    k = _roundings(row)
    merge = merge_error(u, row.maximum + row.score_error, row.log_denominator, row.count)
    factor = np.where(row.count > 1, -math.log1p(-soft.rescale), 0.0)
    merges = np.expm1((_merges(row, u) + 1) * (np.log1p(merge) + factor))
    nu_plain = compound(soft.value_rounding, gamma(k + 4, u.accumulate)[..., None], merges[..., None])
    nu = compound(soft.probability, nu_plain)
    lam = compound(soft.row_sum, gamma(k, u.accumulate)[..., None])

    # TOL-5: absolute errors, in units of normalised weights
    weight = np.exp(row.score_error - np.log(row.lower_mass))[..., None]
    lost = math.exp(soft.lag) * soft.flush + soft.probability_tiny * _unit(row, u)[..., None]
    steps = _steps(row)[..., None]
    lost_above = weight * (lost * total + steps * u.tiny) + u.tiny
    lost_below = weight * (lost * row.count[..., None] + steps * u.tiny)

    def quotient(nu: Array, magnitude: Array, size: Array) -> Array:
        rest = 1 - lam - lost_below
        return np.where(rest > 0, (nu * magnitude + lost_above + (lam + lost_below) * size) / rest, np.inf)

    # the denominator sums unrounded probabilities, or the rounded ones: then their rounding is common
    e2 = quotient(nu, magnitude, size)
    if soft.probability > 0:
        shift = soft.probability / (1 - soft.probability) * np.fmin(deviation / mass + e1, 2 * largest)
        grown = np.fmin(magnitude * (1 + soft.probability) / (1 - soft.probability), largest)
        e2 = np.maximum(e2, shift + quotient(nu_plain, grown, np.fmin(size + shift, grown)))

    kappa = compound(u.accumulate, u.accumulate, u.output)
    bound = e1 + e2 + kappa * (size + e2) + u.output_tiny + 2 * u.tiny
    empty = (row.count == 0)[..., None]
    return np.where(empty, 0.0, bound * _SLACK + row.output_radius)


def _log_sum_exp_bound(row: _Rows, u: Precision) -> Array:
    """TOL-9: the error of the log-sum-exp output."""
    soft = u.of(Softmax)
    excess = (row.probability * np.expm1(np.minimum(row.spread, 700.0))).sum(axis=3)
    largest = row.spread.max(axis=3, initial=0.0)
    weights = np.fmin(excess, largest)  # ln Σ p e^L ≤ Σ p (e^L − 1), and −ln Σ p e^(−L) ≤ Σ p L
    k = gamma(_roundings(row), u.accumulate)
    weight = np.exp(row.score_error - np.log(row.lower_mass))
    lost = math.exp(soft.lag) * soft.flush + soft.probability_tiny * _unit(row, u)
    lost = compound(soft.row_sum, k) + weight * (lost * row.count + _steps(row) * u.tiny)
    lost = compound(soft.probability, lost)  # the rounded probabilities may be the ones that are summed
    sums = np.where(lost < 1, -np.log1p(-np.minimum(lost, 0.999999)), np.inf)
    written = 4 * u.product * (row.maximum + row.score_error + soft.lag)
    written = written + 8 * u.product * (row.log_denominator + soft.lag + 1)
    bound = weights + sums + _merges(row, u) * written + soft.log_sum_exp * row.log_sum_exp + 2 * u.tiny
    return np.where(row.count == 0, 0.0, bound * _SLACK * (1 + 2 * soft.log_sum_exp))


def _sums(row: _Rows) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Per row and column: Σ p h|v − o|, Σ p e^L|v − o|, max|v − o|, Σ p e^L|v|, max|v|, Σ|v|, over attended keys.

    The only three-index work (rows × keys × columns of V), in blocks of rows.
    """
    b, h, n_q, n_k = row.attended.shape
    d_v = row.value.shape[3]
    p, spread = row.probability, row.spread
    grown = np.where(
        spread < 30,
        p * np.exp(np.minimum(spread, 30.0)),
        np.where(p > 0, p * np.exp(np.minimum(spread, 700.0)), 0.0),
    )
    grown = np.where((spread >= 700) & row.attended, np.inf, grown)
    excess = np.where(spread < 30, p * np.expm1(np.minimum(spread, 30.0)), grown)
    attended = row.attended.astype(np.float64)
    size = np.abs(row.value)

    shape = (b, h, n_q, d_v)
    common, deviation, hull, largest = (np.empty(shape) for _ in range(4))
    absolute = grown @ size
    total = attended @ size
    rows = max(1, _BLOCK // max(1, n_k * d_v))
    if b * h * n_q <= rows:
        blocks = [(slice(None), slice(None), slice(None))]
    else:
        blocks = [
            (slice(i, i + 1), slice(j, j + 1), slice(k, k + rows))
            for i in range(b)
            for j in range(h)
            for k in range(0, n_q, rows)
        ]
    for at in blocks:
        head = at[:2]
        gap = np.abs(row.value[head][:, :, None] - row.output[at][:, :, :, None])  # (b, h, rows, n_k, d_v)
        gap += row.output_radius[at][:, :, :, None]
        both = np.stack([excess[at], grown[at]], axis=3) @ gap
        common[at], deviation[at] = both[..., 0, :], both[..., 1, :]
        seen = attended[at][..., None]
        hull[at] = (gap * seen).max(axis=3)
        largest[at] = (size[head][:, :, None] * seen).max(axis=3)
    return common, deviation, hull, absolute, largest, total
