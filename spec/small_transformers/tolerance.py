"""What a correct simulation by an oracle of a precision class may err, per element (proofs_notes, MERGE-2).

The names are those of the proof.  Whatever the plan, the recombined output is a quotient of sums over all keys with
weights e^θ_j times the true ones, |θ_j| ≤ L_j + ψ: L_j is what the oracle makes of a score beside a calibrator, and ψ
what the factor e^c/p₀ (or e^lse) that its call shares is off.  What a call rounds in its columns is at most N relative
to them, and what underflow takes is at most α and β after the factor.  Then TOL-7 of proofs_notes/attention.md applies.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.attention.tolerance import sums, values
from assay.spec.precision import Precision, reference_accuracy
from assay.spec.precision import precision as precision_named
from assay.spec.rounding import compound, gamma
from assay.spec.small_transformers.definition import evaluate
from assay.spec.small_transformers.rounding import PRECISIONS, Recombination
from assay.spec.small_transformers_merge.tolerance import corrections
from assay.spec.softmax.rounding import Softmax
from assay.spec.softmax.weights import SLACK, merge_error, plain_products, weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.attention.definition import Exact
    from assay.spec.small_transformers.instance import Instance
    from assay.spec.softmax.weights import Weights

    Array = NDArray[np.float64]

__all__ = ["Calls", "calls", "parts", "tolerance"]

_EXTRA = 2  # coordinates besides those of a key: of the calibrator, and of a mask


@dataclass(frozen=True, eq=False)
class Calls:
    """What the calls of a simulation and their recombination make of every row; arrays (b, h_q, n_q).

    row: the weights, with L_j + ψ in place of L_j.  column: N.  above, below: the relative errors of the recombined
    numerator and denominator.  lost: what underflow takes of a row, in units of the recombined sum, per unit of Σ|v|;
    least_lost: and besides.  alike: how far all columns of a call may be off alike, where that does not cancel.
    far: how far a calibrator is from the log-sum-exp of its keys.  inside: the domain.
    """

    row: Weights
    above: Array
    below: Array
    lost: Array
    least_lost: Array
    alike: Array
    far: Array
    inside: NDArray[np.bool_]


def tolerance(
    instance: Instance,
    precision: str | Precision,
    output: str = "output",
    *,
    exact: Exact | None = None,
) -> NDArray[np.float64]:
    """The bound on the error of every correct simulation with an oracle of the class ``precision``, per element.

    Shape (b, h_q, n_q, d_v), or (b, h_q, n_q) for ``output="log_sum_exp"``; +inf in rows outside the domain of the
    class, where nothing is judged.  ``exact`` saves evaluating the instance again.
    Source: proofs_notes/small_transformers.md, MERGE-2.  Raises ``ValueError`` for an unknown class or output.

    >>> from assay.spec.small_transformers import Instance
    >>> x = np.arange(3.0).reshape(1, 1, 3, 1).astype(np.float32)
    >>> print(*(f"{t:.0e}" for t in tolerance(Instance(x, x, x, oracle_size=2), "float32").ravel()))
    3e-05 4e-05 4e-05
    """
    if output not in ("output", "log_sum_exp"):
        raise ValueError(f"unknown output {output!r}: expected 'output' or 'log_sum_exp'")
    u = precision_named(precision, PRECISIONS)
    exact = evaluate(instance, reference_accuracy(u)) if exact is None else exact
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        made = calls(instance, u, exact)
        if output == "output":
            bound = _output_bound(instance, u, exact, made)
            outside = np.isnan(bound) | ~made.inside[..., None]
        else:
            bound = _log_sum_exp_bound(instance, u, exact, made)
            outside = np.isnan(bound) | ~made.inside
    return np.where(outside, np.inf, bound)


def parts(instance: Instance) -> int:
    """T: at most so many calls for one row, twice what is needed and two."""
    assert instance.oracle_size is not None
    room = instance.oracle_size if instance.oracle == "log_sum_exp" else instance.oracle_size - 1
    return 2 * math.ceil(int(instance.key.shape[2]) / room) + 2


def calls(instance: Instance, u: Precision, exact: Exact) -> Calls:
    """MERGE-2, up to the quotient."""
    plain = instance.attention()
    soft, made = u.of(Softmax), u.of(Recombination)
    assert instance.oracle_size is not None
    assert instance.scale is not None
    m, scale = instance.oracle_size, abs(instance.scale)
    log_m, t = math.log(m), parts(instance)
    products = plain_products(plain)
    products = dataclasses.replace(products, terms=products.terms + _EXTRA)
    row = weights(plain, u, exact, products)
    score = np.where(row.attended, np.abs(exact.score.midpoint), 0.0).max(axis=3, initial=0.0)

    # |c| and |c − lse| at most (MERGE-1), and what TOL-1 and TOL-2 say of the calibrator's score
    reach = score + log_m + 1
    far = np.minimum(made.far, reach + score + log_m)
    placed = reach / scale if scale else np.full(reach.shape, np.inf)  # c/σ, the coordinate that carries it
    relative = compound(soft.query_rounding, soft.query_rounding, gamma(10, u.product))  # one product that is not 0
    delta = relative * reach + (1 + scale) * u.alignment * (1 + placed + u.least_factor)
    delta = delta + 2 * (1 + scale) * (u.tiny * (2 * products.terms + 3 + placed) + soft.stored_tiny * (1 + 2 * placed))
    times = soft.stored_times
    delta = (
        delta + compound(*[soft.stored_score] * times) * (reach + delta) + times * soft.stored_tiny * max(1.0, scale)
    )
    largest = np.maximum(row.score_error, delta)

    # TOL-3 for a call: L_j of a key grows by what the calibrator and the part add, L_c is that of the calibrator
    tiles = math.ceil(m / soft.tile)
    factors = -math.log1p(-soft.exp) - (tiles + 1) * math.log1p(-soft.rescale)
    stored = merge_error(u, reach + largest, log_m, 2)
    argument = far + 2 * log_m + 2 * largest + 2 * soft.lag
    rounding = 1.01 * (3 * u.product + soft.stored_score) * argument + 2.02 * u.product * (reach + largest)
    of_row = -(row.tiles + 1) * math.log1p(-soft.rescale) - math.log1p(-soft.exp)
    of_row = of_row + merge_error(u, score + row.score_error, row.log_denominator, row.count)
    added = (rounding + np.maximum(0.0, factors + stored - of_row)) * SLACK
    own = (delta + rounding + factors + stored) * SLACK
    spread = np.where(row.attended, row.spread + added[..., None], 0.0)
    most = np.maximum(spread.max(axis=3, initial=0.0), own)

    # TOL-4, TOL-5 for a call: N, and what underflow takes of a column whose absolute values sum to x
    k = m - 1 + 3 * tiles + 2
    merges = np.expm1((math.ceil(m / soft.part) + 1) * (np.log1p(stored) - math.log1p(-soft.rescale)))
    nu = compound(soft.probability, soft.value_rounding, gamma(k + 4, u.accumulate), merges)
    steps = m + 3 * tiles + 4
    unit = np.exp(largest + most)
    weight_lost = math.exp(soft.lag) * soft.flush + soft.probability_tiny
    lam = compound(soft.row_sum, soft.probability, gamma(k, u.accumulate)) + unit * (weight_lost * m + steps * u.tiny)
    kappa = compound(u.accumulate, u.accumulate, u.output)
    rest = np.where(lam < 1, 1 - lam, np.nan)
    column = (nu + lam) / rest * (1 + kappa) + kappa
    # K7: a stored log-sum-exp is off from the sum of the weights of its call, for all columns alike
    alike = (
        3.03 * (3 * u.product + soft.stored_score) * log_m + 2 * soft.stored_tiny - tiles * math.log1p(-soft.rescale)
    )
    alike = np.expm1(alike + 2.02 * u.product * (reach + largest + log_m)) * SLACK
    unit = unit * (1 + alike)
    lost = unit * weight_lost / rest * (1 + kappa)
    flushed = unit * (steps * u.tiny + weight_lost * m * u.least_factor) + u.tiny + u.alignment
    least_lost = flushed / rest * (1 + kappa) + u.output_tiny + 2 * u.tiny

    # p and p₀ themselves, and ψ
    least = (made.least - (lost * m + least_lost)) / ((1 + column) * (1 + alike))
    least = np.where(least > 0, least, np.nan)
    calibrated = column + (lost + least_lost) / least
    calibrated = np.where(calibrated < 1, -np.log1p(-np.minimum(calibrated, 0.999999)), np.inf)
    psi = own + calibrated
    merged = np.zeros(())
    if instance.oracle == "log_sum_exp":
        written = 4 * u.product * (score + largest + soft.lag) + 8 * u.product * (log_m + soft.lag + 1)
        said = most - np.log(rest) + math.ceil(m / soft.part) * written
        said = said + soft.log_sum_exp * (score + log_m + most) + 2 * u.tiny
        psi = np.maximum(psi, most + said)
        again = merge_error(u, score + log_m + said, math.log(instance.key.shape[2]), t)
        merged = np.expm1((t + 1) * (np.log1p(again) - math.log1p(-soft.rescale)))
    psi = psi + 1.01 * made.unit * (8 * (reach + far) + 16) + 1.01 * (t + 2) * (made.elementary + 2 * made.unit)
    spread = np.where(row.attended, (spread + psi[..., None]) * SLACK, 0.0)

    # the recombined sums
    added_up = gamma(t + 6, made.unit)
    radius = exact.log_probability.radius
    inside = row.inside & (1.5 * np.maximum(reach, placed) <= soft.largest_score / 2) & np.isfinite(psi)
    with_lower = np.where(
        row.attended, row.probability * np.exp(-spread - 2 * np.where(row.attended, radius, 0.0)), 0.0
    )
    return Calls(
        row=dataclasses.replace(row, spread=spread, lower_mass=with_lower.sum(axis=3) / SLACK),
        above=compound(column, added_up, merged),
        below=compound(column, added_up),
        alike=alike if instance.oracle == "log_sum_exp" else np.zeros_like(alike),
        lost=lost / least,
        least_lost=least_lost / least,
        far=far,
        inside=inside,
    )


def _output_bound(instance: Instance, u: Precision, exact: Exact, made: Calls) -> Array:
    """TOL-7 with the sums of MERGE-2."""
    row, plain = made.row, instance.attention()
    common, _, hull, absolute, largest, total = sums(row, values(plain), exact.output)
    mass = row.lower_mass[..., None]
    above, below, lost, least_lost, alike = (
        x[..., None] for x in (made.above, made.below, made.lost, made.least_lost, made.alike)
    )
    e1 = np.fmin(common / mass, hull)
    magnitude = np.fmin(absolute / mass, largest)
    size = np.fmin(np.abs(exact.output.midpoint) + exact.output.radius + e1, magnitude)
    alpha, beta = lost * total + least_lost + alike * largest, lost * row.count[..., None] + least_lost
    rest = 1 - below - beta
    e2 = np.where(rest > 0, (above * magnitude + alpha + (below + beta) * size) / rest, np.inf)
    if instance.oracle == "log_sum_exp":  # a merge by o + σ·(o_t − o)
        e2 = e2 + corrections(u, parts(instance), largest, 2 * np.fmin(hull, largest))
    kappa = compound(u.accumulate, u.accumulate, u.output)
    bound = e1 + e2 + kappa * (size + e2) + u.output_tiny + 2 * u.tiny
    return np.where((row.count == 0)[..., None], 0.0, bound * SLACK + exact.output.radius)


def _log_sum_exp_bound(instance: Instance, u: Precision, exact: Exact, made: Calls) -> Array:
    """TOL-9 with the sums of MERGE-2."""
    row, soft, own = made.row, u.of(Softmax), u.of(Recombination)
    excess = (row.probability * np.expm1(np.minimum(row.spread, 700.0))).sum(axis=3)
    moved = np.fmin(excess, row.spread.max(axis=3, initial=0.0))
    lost = made.below + made.lost * row.count + made.least_lost
    total = np.where(lost < 1, -np.log1p(-np.minimum(lost, 0.999999)), np.inf)
    size = row.log_sum_exp + made.far
    written = parts(instance) * (8 * own.unit * (size + 1) + own.elementary) + soft.log_sum_exp * row.log_sum_exp
    bound = (moved + total + written + 2 * u.tiny) * SLACK * (1 + 2 * soft.log_sum_exp)
    return np.where(row.count == 0, 0.0, bound + np.where(row.count == 0, 0.0, exact.log_sum_exp.radius))
