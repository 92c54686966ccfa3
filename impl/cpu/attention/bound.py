"""A bound on the error of the exact kernel from norms alone, without its scores (proofs_notes/attention.md, ATT-8)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.rounding import compound, gamma
from assay.spec.softmax.rounding import Softmax
from assay.spec.softmax.weights import merge_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.precision import Precision

__all__ = ["exact_bound"]

_SLACK = 1.0 + 1e-9  # pays for the rounding of this computation itself
_HALF = 0.5


def exact_bound(
    u: Precision, n: int, d: int, scale: float, query_norm: float, key_norm: float,
    magnitude: NDArray[np.float64], spread: NDArray[np.float64], bias: float = 0.0, norms: float | None = None,
    reach: float = 0.0,
) -> NDArray[np.float64]:  # fmt: skip
    """(d_v,): an upper bound of the tolerance of TOL-7 for class ``u``, per column of V; +inf where TOL-6 may fail.

    n: at least the number of keys.  d: the head dimension.  query_norm ≥ ‖q_i‖₂ and key_norm ≥ ‖k_j‖₂ for all rows.
    magnitude (d_v,) ≥ |v_jc|.  spread (d_v,) ≥ max_j v_jc − min_j v_jc.  bias ≥ |b_ij| wherever
    it does not hide.  norms: at least what TOL-1 multiplies the smallest normal number with; None for ‖q_i‖₁ + ‖k_j‖₁.
    reach: at least every number that is formed besides q, k and products.  There is no softcap or sink.
    Source: ATT-8.
    """
    soft = u.of(Softmax)
    nothing = np.full_like(magnitude, math.inf)
    S = abs(scale) * query_norm * key_norm * _SLACK
    most = 1.5 * max(1.0, abs(scale)) * max(1.0, query_norm, key_norm, query_norm * key_norm, reach) * _SLACK
    S, scaled = S + bias, S
    most = max(most, 1.5 * S, 1.5 * bias / abs(scale) if scale else 0.0)
    inside = most <= soft.largest_score / 4 and (scale == 0.0 or abs(scale) >= u.tiny)
    X = float(magnitude.max())
    if not (inside and 2.0 * (n + 1) * X * math.exp(soft.lag) * _SLACK <= min(soft.largest_sum, u.largest_output) / 2):
        return nothing
    keys = np.asarray(float(n))
    depth, tiles = float(soft.depth(keys)), min(soft.rescalings(n)[1], n)
    a, rescaled, parts = u.product, min(-(-n // soft.tile), n), -(-n // soft.part)
    norms = math.sqrt(d) * (query_norm + key_norm) if norms is None else norms
    delta = float(gamma(d + 8, a)) * S + 2.0 * (1.0 + abs(scale)) * u.tiny * (2.0 * d + 2.0 + norms)
    if bias:
        delta += 5.0 * a * (scaled + delta + bias)  # TOL-2
    lse = float(merge_error(u, S + delta, math.log(n), n))
    L = (
        delta
        + 3.03 * a * (2.0 * S + 2.0 * delta + 2.0 * soft.lag + math.log(n))
        + 2.02 * a * (S + delta)
        - math.log1p(-soft.exp)
        - (tiles + 1) * math.log1p(-soft.rescale)
        + lse
    )
    if not L + delta < 1.0:
        return nothing
    merged = parts if parts > 1 else 0
    stored = math.log1p(lse) - math.log1p(-soft.rescale)
    own = math.log(n)
    apart = 9.09 * a * own + 2.02 * a * (S + delta + own) - tiles * math.log1p(-soft.rescale)
    # K6: it divides; K7: its weights come from a stored log-sum-exp (TOL-4)
    K, above, below = depth + 3 * tiles + 1, depth + parts + 1, depth + tiles + parts + 1
    sums = ((K + 4, (parts + 1) * stored, K, 0.0), (above + 4, (merged + 1) * stored, below, apart))
    vanishing = n * math.exp(soft.lag) * soft.flush
    beta = math.exp(L + delta) * (vanishing + (n + 3 * rescaled + 4) * u.tiny)
    alpha = math.exp(L + delta) * (vanishing * X + (n + 3 * rescaled + 4) * u.tiny) + u.tiny
    E2 = np.maximum(*(_quotient(*_sums(u, *each), alpha, beta, magnitude) for each in sums))
    E3 = (3.0 * u.accumulate + 2.0 * u.output) * (magnitude + E2)
    bound: NDArray[np.float64] = (
        math.tanh(L / 2.0) * spread * _SLACK + E2 + E3 + u.output_tiny + 2.0 * u.tiny
    ) * _SLACK
    return bound


def _sums(u: Precision, above: float, factor: float, below: float, apart: float) -> tuple[float, float]:
    """ν and λ of so many roundings and of factors e^x (TOL-4)."""
    if not max(factor, apart) < 1.0:
        return math.inf, math.inf
    numerator, denominator = (
        float(compound(gamma(k, u.accumulate), math.expm1(x))) for k, x in ((above, factor), (below, apart))
    )
    return numerator, denominator


def _quotient(
    numerator: float, denominator: float, alpha: float, beta: float, magnitude: NDArray[np.float64]
) -> NDArray[np.float64]:
    """E2 of TOL-7 for ν, λ, α, β and a = A = ``magnitude``; +inf where the denominator may vanish."""
    left = 1.0 - denominator - beta
    if not (numerator + denominator < _HALF and left > 0.0):
        return np.full_like(magnitude, math.inf)
    return ((numerator + denominator + beta) * magnitude + alpha) / left
