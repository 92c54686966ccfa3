"""What a correct attention kernel of a precision class may err, per element (proofs_notes/attention.md, TOL-7).

The names are those of the proof.  For one row: s_j scores, p_j their softmax, o = Σ p_j v_j.  A kernel's weights are
e^θ_j times the true ones with |θ_j| ≤ L_j (TOL-1 to TOL-3, :mod:`assay.spec.softmax.weights`), its numerators and
denominators are within ν and λ (TOL-4), and

    |out − o| ≤ E1 + E2 + E3 + E4,

where errors that numerator and denominator share see |v_j − o| only (E1), those of one side see |v_j| (E2), the output
is rounded (E3), and underflow adds absolute terms (E4).  The log-sum-exp has a bound of its own (TOL-9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec.attention.definition import Exact, evaluate
from assay.spec.attention.extremes import extremes
from assay.spec.enclosure.products import matrix_product
from assay.spec.floating_point import require_usual
from assay.spec.precision import Precision, reference_accuracy
from assay.spec.precision import precision as precision_named
from assay.spec.rounding import compound, gamma
from assay.spec.softmax.rounding import Softmax
from assay.spec.softmax.weights import SLACK, Weights, quotient_error, weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.attention.instance import Instance
    from assay.spec.enclosure import Enclosure
    from assay.spec.softmax.masks import Masked
    from assay.spec.softmax.weights import Products

    Array = NDArray[np.float64]

__all__ = ["bounds", "sums", "tolerance", "values"]

_BLOCK = 1 << 16  # elements of the largest temporary: rows × keys × columns of V


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
    require_usual()
    u = precision_named(precision)
    exact = evaluate(instance, reference_accuracy(u)) if exact is None else exact
    return bounds(instance, u, output, exact)


def bounds(
    instance: Masked, u: Precision, output: str, exact: Exact, products: Products | None = None
) -> NDArray[np.float64]:
    """The same of what was evaluated, also for a problem whose scores are other products than ⟨q_i, k_j⟩."""
    row = weights(instance, u, exact, products)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        if output == "output":
            bound = _output_bound(row, values(instance), exact.output, u)
        else:
            bound = _log_sum_exp_bound(row, u)
        outside = np.isnan(bound) | ~(row.inside[..., None] if output == "output" else row.inside)
    return np.where(outside, np.inf, bound)


def values(instance: Masked) -> Array:
    """(b, h_q, n_k, d_v): the values that every query head sees; a sink is one more key, of value zero."""
    value: Array = np.repeat(instance.value.astype(np.float64), instance.group, axis=1)
    return value if instance.sink is None else np.concatenate([value, np.zeros_like(value[:, :, :1])], axis=2)


def _output_bound(row: Weights, value: Array, output: Enclosure, u: Precision) -> Array:
    """TOL-7: E1 + E2 + E3 + E4 per element."""
    common, deviation, hull, absolute, largest, total = sums(row, value, output)
    mass = row.lower_mass[..., None]
    e1 = np.fmin(common / mass, hull)  # fmin: an overflowed sum is no bound, the hull always is
    magnitude = np.fmin(absolute / mass, largest)
    size = np.fmin(np.abs(output.midpoint) + output.radius + e1, magnitude)

    e2 = quotient_error(
        row, u, log_denominator=row.log_denominator, size=size, magnitude=magnitude, moved=deviation / mass + e1,
        largest=largest, total=total,
    )  # fmt: skip

    kappa = compound(u.accumulate, u.accumulate, u.output)
    bound = e1 + e2 + kappa * (size + e2) + u.output_tiny + 2 * u.tiny
    empty = (row.count == 0)[..., None]
    return np.where(empty, 0.0, bound * SLACK + output.radius)


def _log_sum_exp_bound(row: Weights, u: Precision) -> Array:
    """TOL-9: the error of the log-sum-exp output."""
    soft = u.of(Softmax)
    excess = (row.probability * np.expm1(np.minimum(row.spread, 700.0))).sum(axis=3)
    largest = row.spread.max(axis=3, initial=0.0)
    moved = np.fmin(excess, largest)  # ln Σ p e^L ≤ Σ p (e^L − 1), and −ln Σ p e^(−L) ≤ Σ p L
    k = gamma(row.roundings, u.accumulate)
    lost = compound(soft.row_sum, k) + row.heaviest() * (row.lost(soft) * row.count + row.steps * u.tiny)
    lost = compound(soft.probability, lost)  # the rounded probabilities may be the ones that are summed
    sums = np.where(lost < 1, -np.log1p(-np.minimum(lost, 0.999999)), np.inf)
    written = 4 * u.product * (row.maximum + row.score_error + soft.lag)
    written = written + 8 * u.product * (row.log_denominator + soft.lag + 1)
    bound = moved + sums + row.merges(soft) * written + soft.log_sum_exp * row.log_sum_exp + 2 * u.tiny
    return np.where(row.count == 0, 0.0, bound * SLACK * (1 + 2 * soft.log_sum_exp))


def sums(row: Weights, value: Array, output: Enclosure) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Per row and column: Σ p h|v − o|, Σ p e^L|v − o|, max|v − o|, Σ p e^L|v|, max|v|, Σ|v|, over attended keys.

    The only three-index work (rows × keys × columns of V), in blocks of rows that stay in a cache.
    """
    b, h, n_q, n_k = row.attended.shape
    d_v = value.shape[3]
    p, spread = row.probability, row.spread
    grown = np.where(
        spread < 30,
        p * np.exp(np.minimum(spread, 30.0)),
        np.where(p > 0, p * np.exp(np.minimum(spread, 700.0)), 0.0),
    )
    grown = np.where((spread >= 700) & row.attended, np.inf, grown)
    excess = np.where(spread < 30, p * np.expm1(np.minimum(spread, 30.0)), grown)
    attended = row.attended.astype(np.float64)
    size = np.abs(value)

    shape = (b, h, n_q, d_v)
    common, deviation, hull, largest = (np.empty(shape) for _ in range(4))
    absolute = matrix_product(grown, size)
    total = matrix_product(attended, size)
    weight = np.stack([excess, grown], axis=3)
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
        gap = value[at[:2]][:, :, None] - output.midpoint[at][:, :, :, None]  # (b, h, rows, n_k, d_v)
        np.abs(gap, out=gap)
        gap += output.radius[at][:, :, :, None]
        both = weight[at] @ gap
        common[at], deviation[at] = both[..., 0, :], both[..., 1, :]
    for head in np.ndindex(b, h):
        most, least = extremes(row.attended[head], value[head])
        middle = output.midpoint[head]
        hull[head] = np.fmax(np.abs(most - middle), np.abs(least - middle)) + output.radius[head]
        largest[head] = np.fmax(np.abs(most), np.abs(least))
    nothing = ~row.attended.any(axis=3)
    hull[nothing] = largest[nothing] = 0.0
    return common, deviation, hull, absolute, largest, total
