"""What a kernel of a precision class may err in the scores and the weights of a softmax.

These are the lemmas that problems with a softmax share: TOL-1 to TOL-6 of proofs_notes/attention.md, whose names are
used.  For one row: s_j scores, m their maximum, lse = m + ln D the log-sum-exp, p_j = e^(s_j − lse).  A kernel has
scores within Δ_j (TOL-1, TOL-2), weights e^θ_j times the true ones with |θ_j| ≤ L_j (TOL-3), sums that go through so
many roundings (TOL-4) and lose so much to underflow (TOL-5), in rows whose numbers stay within the range (TOL-6).

Everything is computed in float64 from certified enclosures, widened by their radii and by the factor :data:`SLACK`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from assay.spec.enclosure.products import matrix_product
from assay.spec.rounding import compound, gamma
from assay.spec.softmax.rounding import Softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.enclosure import Enclosure
    from assay.spec.precision import Precision
    from assay.spec.softmax.masks import Masked

    Array = NDArray[np.float64]

__all__ = [
    "SLACK", "Distribution", "Products", "Weights", "merge_error", "plain_products", "quotient_error", "weights",
]  # fmt: skip

SLACK = 1.0 + 1e-9  # over the rounding of these computations themselves, of relative size 1e-12 at most (TOL-8)


class Distribution(Protocol):
    """The certified softmax of an instance, (b, h_q, n_q, n_k); −∞ where a query does not attend."""

    @property
    def score(self) -> Enclosure: ...

    @property
    def log_probability(self) -> Enclosure: ...

    @property
    def log_sink_probability(self) -> Enclosure | None:
        """(b, h_q, n_q), where there is a sink."""
        ...


@dataclass(frozen=True, eq=False)
class Products:
    """The sums of products that are the scores before the scale, as a kernel computes them.

    Arrays broadcast to (b, h_q, n_q, n_k).  Attention's are ⟨q_i, k_j⟩; a problem may have others, of more factors, or
    of factors that a kernel computed before.
    """

    size: Array  # G_ij: the sum of the absolute values
    norms: Array  # ‖q_i‖₁ + ‖k_j‖₁: what is lost where factors underflow, in units of the smallest normal number
    reach: Array  # max(|q_i|, |k_j|): the largest number that a kernel may form besides the products
    terms: int  # d: how many roundings a product goes through
    factors: int = 2  # of a product, each rounded on entry
    rounded: float = 0.0  # the relative error of products of some of the factors that are rounded before the sum
    error: Array | float = 0.0  # of the scores themselves, where the factors are off
    runs: int = 1  # into which the keys are divided, each with tiles of its own


def plain_products(instance: Masked) -> Products:
    """Those of attention."""
    query = np.abs(instance.query.astype(np.float64))
    key = np.abs(np.repeat(instance.key.astype(np.float64), instance.group, axis=1))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return Products(
            size=matrix_product(query, np.swapaxes(key, 2, 3)),
            norms=query.sum(axis=3)[..., None] + key.sum(axis=3)[..., None, :],
            reach=np.maximum(query.max(axis=3)[..., None], key.max(axis=3)[..., None, :]),
            terms=query.shape[3],
        )


@dataclass(frozen=True)
class Weights:
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
    depth: Array  # of these, how many a sum adds one after the other: all of them, but for sums in blocks
    tiles: Array  # T: rescalings that a weight goes through
    rescalings: Array  # … and those of the whole row
    lower_mass: Array  # D⁻ = Σ p_j e^(−L_j), a lower bound
    apart: Array  # Y: how far the sum of weights of a stored log-sum-exp and what it was made of are apart
    inside: NDArray[np.bool_]  # the domain of the class (TOL-6)

    @property
    def roundings(self) -> Array:
        """Additions, rescalings and merges that a row of n > 1 weights goes through; none for one weight (TOL-4)."""
        return np.where(self.count > 1, self.depth - 1 + 3 * self.tiles + 2, 0.0)

    def roundings_of_stored(self, soft: Softmax) -> tuple[Array, Array]:
        """The same where weights come from a stored log-sum-exp (K7): of the numerator, and of what is stored."""
        merges = self.merges(soft)
        numerator, denominator = (
            np.where(self.count > 1, self.depth - 1 + each + merges + 2, 0.0) for each in (0, self.tiles)
        )
        return numerator, denominator

    @property
    def steps(self) -> Array:
        """Operations on a row that may underflow (TOL-5)."""
        return self.count + 3 * self.rescalings + 4

    def part(self, index: Any) -> Weights:
        """The rows with this index."""
        return Weights(**{each.name: getattr(self, each.name)[index] for each in fields(self)})

    def merges(self, soft: Softmax) -> int:
        """P: parts that are merged one after the other through a stored log-sum-exp (K7)."""
        return math.ceil(int(self.attended.shape[-1]) / soft.part)

    def lost(self, soft: Softmax) -> Array:
        """τ: what a weight may lose to flushing and to gradual underflow, in units of the normalised ones (TOL-5)."""
        # The largest weight where probabilities are rounded: 1/D of the normalised ones, or 1 after dividing.
        unit: Array = np.exp(0.0 * self.count if soft.normalised else -self.log_denominator)
        return math.exp(soft.lag) * soft.flush + soft.probability_tiny * unit

    def heaviest(self) -> Array:
        """ω: what the largest computed weight may be, in units of the computed sum (TOL-5)."""
        weight: Array = np.exp(self.score_error - np.log(self.lower_mass))
        return weight


def weights(instance: Masked, u: Precision, exact: Distribution, products: Products | None = None) -> Weights:
    """What the roundings of a class make of the scores and the weights of an instance (TOL-1 to TOL-6).

    exact: the softmax of the instance, certified as accurately as :func:`~assay.spec.precision.reference_accuracy`.
    products: what the scores are sums of, where it is not the products of queries and keys.
    """
    soft = u.of(Softmax)
    products = plain_products(instance) if products is None else products
    score, log_p, log_p_radius = (
        exact.score.midpoint,
        exact.log_probability.midpoint,
        exact.log_probability.radius,
    )
    attended = score != -np.inf
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        delta, inside = _score_errors(instance, u, products, score, attended)
        delta = delta + np.where(attended, exact.score.radius, 0.0)
        if instance.sink is not None and exact.log_sink_probability is not None:
            # the sink is one more key, of exact score (folding log₂e into it rounds) and zero value
            sink = np.broadcast_to(instance.sink.astype(np.float64)[None, :, None, None], (*score.shape[:3], 1))
            score = np.concatenate([score, sink], axis=3)
            log_p = np.concatenate([log_p, exact.log_sink_probability.midpoint[..., None]], axis=3)
            log_p_radius = np.concatenate([log_p_radius, exact.log_sink_probability.radius[..., None]], axis=3)
            delta = np.concatenate(
                [delta, (4 * u.product + soft.stored_score) * np.abs(sink) + soft.stored_tiny], axis=3
            )
            attended = np.concatenate([attended, np.ones_like(sink, dtype=bool)], axis=3)
        size = np.where(attended, np.abs(score), 0.0)
        top = np.where(attended, score, -np.inf).max(axis=3, initial=-np.inf)
        top = np.where(np.isfinite(top), top, 0.0)  # an empty row: nothing below matters
        count = attended.sum(axis=3).astype(np.float64)
        steps = soft.rescalings(int(instance.key.shape[2]), products.runs)
        rescalings, tiles = (np.minimum(number, count) for number in steps)
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
        rounding = rounding + (2.02 * u.product * (largest_size + largest_delta) + soft.stored_tiny)[..., None]
        shared = -math.log1p(-soft.exp) - (tiles + 1) * math.log1p(-soft.rescale)
        shared = shared + merge_error(u, largest_size + largest_delta, log_denominator, count)
        spread = delta + rounding + shared[..., None] + np.where(attended, log_p_radius, 0.0)
        spread = np.where(attended, spread * SLACK, 0.0)

        probability = np.where(attended, np.exp(log_p + log_p_radius), 0.0)
        lower_mass = np.where(attended, np.exp(log_p - log_p_radius - spread), 0.0).sum(axis=3) / SLACK
        # K7 (TOL-4): arguments of weights under computed scores, whose largest may be another one
        high, low = np.where(attended, score + delta, -np.inf), np.where(attended, score - delta, -np.inf)
        own = np.exp(np.minimum(high - low.max(axis=3, initial=-np.inf, keepdims=True), 0.0))
        own = np.log(np.maximum(np.where(attended, own, 0.0).sum(axis=3) * SLACK, 1.0))
        gap = np.where(attended, np.maximum(_largest_of_others(high) - low, 0.0), 0.0)
        rounded = 1.01 * (3 * u.product + soft.stored_score)
        shared = 2.02 * u.product * (largest_size + largest_delta + own) + 2 * soft.stored_tiny
        shared = shared - np.where(count > 1, tiles * math.log1p(-soft.rescale), 0.0)
        apart = np.expm1(np.where(attended, rounded * (2 * gap + own[..., None]) + shared[..., None], 0.0))
        mean = np.where(attended, probability * np.exp(spread) * apart, 0.0).sum(axis=3) / lower_mass
        at_most = np.expm1(rounded * (2 * np.log(np.maximum(count, 1.0)) + own) + shared)
    return Weights(
        attended=attended,
        probability=probability,
        spread=spread,
        score_error=largest_delta,
        maximum=np.abs(top),
        log_denominator=log_denominator,
        log_sum_exp=np.where(count > 0, np.abs(top) + log_denominator, 0.0),
        count=count,
        depth=soft.depth(count),
        tiles=tiles,
        rescalings=rescalings,
        lower_mass=lower_mass,
        apart=np.fmin(mean, at_most) * SLACK,
        inside=inside,
    )


def _largest_of_others(scores: Array) -> Array:
    """For every number of a row the largest of the others; −∞ where there are none."""
    if scores.shape[-1] < 2:
        return np.full_like(scores, -np.inf)
    second, first = np.split(np.partition(scores, -2, axis=-1)[..., -2:], 2, axis=-1)
    found: Array = np.where(np.equal(scores, first), second, first)
    return found


def merge_error(u: Precision, maximum: Array | float, log_denominator: Array | float, count: Array | int) -> Array:
    """e_lse: the relative error of a factor e^(x − lse) that comes from rounding lse = m + ln D (K7); ln 1 = 0."""
    logarithm = 8 * np.maximum(1.0, log_denominator) * (count > 1)
    error: Array = 1.01 * u.product * (4 * (maximum + log_denominator) + logarithm)
    return error


def quotient_error(
    row: Weights,
    u: Precision,
    *,
    log_denominator: Array,
    size: Array,
    magnitude: Array,
    moved: Array,
    largest: Array,
    total: Array,
) -> Array:
    """E2: what the roundings of numerator and denominator make of Σ_j p_j v_j, (…, columns of V) (TOL-4, TOL-5).

    log_denominator: that of the weights that a kernel has, (…).  The rest has the axes of the result.  size: at least
    what the quotient is before these roundings; magnitude: Σ_j p̃_j|v_j|; moved: Σ_j p̃_j|v_j − o|; largest: max_j|v_j|;
    total: Σ_j|v_j|, over the keys that are attended to.
    """
    soft = u.of(Softmax)

    # TOL-4: relative errors of numerator (ν) and denominator (λ) …
    parts = row.merges(soft)
    factor = np.where(row.count > 1, -math.log1p(-soft.rescale), 0.0)
    merge = np.log1p(merge_error(u, row.maximum + row.score_error, log_denominator, row.count)) + factor
    k = row.roundings
    nu_plain = compound(
        soft.value_rounding, gamma(k + 4, u.accumulate)[..., None], np.expm1((parts + 1) * merge)[..., None]
    )
    nu = compound(soft.probability, nu_plain)
    lam = compound(soft.row_sum, gamma(k, u.accumulate)[..., None])
    # … and where the weights come from a stored log-sum-exp
    merges = parts if parts > 1 else 0
    above, below = row.roundings_of_stored(soft)
    nu_stored = compound(
        soft.probability, soft.value_rounding, gamma(above + 4, u.accumulate)[..., None],
        np.expm1((merges + np.where(row.count > 1, 1, 2)) * merge)[..., None],
    )  # fmt: skip
    lam_stored = compound(soft.row_sum, gamma(below, u.accumulate)[..., None], row.apart[..., None])

    # TOL-5: absolute errors, in units of normalised weights
    weight, lost, steps = row.heaviest()[..., None], row.lost(soft)[..., None], row.steps[..., None]
    total = total + u.least_factor * row.count[..., None]
    lost_above = weight * (lost * total + steps * u.tiny) + u.tiny + np.where(largest > 0, u.alignment, 0.0)
    lost_below = weight * (lost * row.count[..., None] + steps * u.tiny)

    def quotient(nu: Array, lam: Array, magnitude: Array, size: Array) -> Array:
        rest = 1 - lam - lost_below
        return np.where(rest > 0, (nu * magnitude + lost_above + (lam + lost_below) * size) / rest, np.inf)

    error = np.maximum(quotient(nu, lam, magnitude, size), quotient(nu_stored, lam_stored, magnitude, size))
    # the denominator sums unrounded probabilities, or the rounded ones: then their rounding is common
    if soft.probability > 0:
        shift = soft.probability / (1 - soft.probability) * np.fmin(moved, 2 * largest)
        grown = np.fmin(magnitude * (1 + soft.probability) / (1 - soft.probability), largest)
        error = np.maximum(error, shift + quotient(nu_plain, lam, grown, np.fmin(size + shift, grown)))
    return error


def _score_errors(
    instance: Masked, u: Precision, products: Products, score: Array, attended: NDArray[np.bool_]
) -> tuple[Array, NDArray[np.bool_]]:
    """K1: Δ_ij of every score (TOL-1, TOL-2), and which rows are inside the domain (TOL-6)."""
    soft = u.of(Softmax)
    assert instance.scale is not None
    d, n_k = products.terms, score.shape[3]
    scale = abs(instance.scale)
    product, norms = products.size, products.norms
    scaled = scale * product
    relative = compound(*[soft.query_rounding] * products.factors, products.rounded, gamma(d + 8, u.product))
    underflow = 2 * (1 + scale) * (u.tiny * (2 * d + 2 + norms) + soft.stored_tiny * (norms + product))
    underflow = underflow + (1 + scale) * u.alignment * (norms + d * u.least_factor)
    delta = relative * scaled + underflow * max(1.0, instance.softcap or 0.0) + products.error
    stored, times = scaled, soft.stored_times

    if instance.softcap is not None:  # c·tanh(s/c) is 1-Lipschitz and |tanh| ≤ 1
        delta = delta + instance.softcap * (soft.tanh + 8 * u.product)
        times += 3 if times else 0
    if (added := instance.added_bias()) is not None:
        bias = np.broadcast_to(added.astype(np.float64), score.shape)
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
    reach = fold * np.maximum(product, products.reach)
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
    inside &= np.isfinite(np.broadcast_to(products.error, score.shape)).all(axis=3)
    inside &= 2 * (n_k + 1) * largest_value * math.exp(soft.lag) <= soft.largest_sum
    inside &= largest_value * (1 + 4 * u.output) <= u.largest_output
    return delta, inside
