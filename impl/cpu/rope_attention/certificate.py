"""The certificate of the polynomial method through Fourier transforms: a bound for every row and column (ROPE-6)."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.attention.certificate import STORED
from assay.impl.cpu.attention.plan import SLACK, U
from assay.impl.cpu.rope_attention.monomials import components
from assay.spec.attention.perturbation import output_error
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.cpu.attention.plan import Measure
    from assay.impl.cpu.rope_attention.jobs import Job
    from assay.impl.cpu.rope_attention.sums import Sums
    from assay.spec.approximation import Approximation

    Array = NDArray[np.float64]

__all__ = ["Rows", "certified", "roundings"]

_VANISHED = 2.0**-300  # the most that underflow may lose, for each key
_MOST_GROWTH = 2.0**600  # the largest absolute sum of monomials that is certified: far from overflow


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of one query head: output (rows, d_v) in float64, and its bound.

    bound (rows, d_v): at least |output − exact| after the rounding to the stored type; +inf where nothing is certain.
    """

    output: Array
    bound: Array


@functools.lru_cache(maxsize=256)
def roundings(support: tuple[tuple[int, int], ...], degree: int) -> tuple[int, ...]:
    """K_m of ROPE-6 for m = 0 … degree: the most roundings of a term of degree m, beside those of the transforms."""
    parts = [components(support, m) for m in range(degree + 1)]
    monomials = sum(len(component.queries) for part in parts for component in part)
    terms = [max((len(pair.terms) for each in part for pair in each.pairs), default=1) for part in parts]
    return tuple(4 * m + terms[m] + monomials + degree + 8 for m in range(degree + 1))


def certified(
    job: Job, head: int, support: tuple[tuple[int, int], ...], approximation: Approximation, measure: Measure,
    sums: Sums, stored: str, rows: slice,
) -> Rows:  # fmt: skip
    """Some rows of the output of one head of a job from its sums, with their certificate.

    stored: the dtype of the output.
    """
    c = np.array(approximation.coefficients)
    degree, width = len(c) - 1, len(job.columns) - 1
    seen, n_k = job.seen[rows], job.key.shape[1]
    values, powers = sums.values[head][:, rows], sums.powers[head][:, rows]
    with np.errstate(all="ignore"):
        weight: Any = c @ powers  # Ẑ
        quotient = (values / weight).T
        output = np.clip(job.middle + job.grow * quotient, job.least, job.largest)
        reach = max(float(np.abs(job.query[head]).max(initial=0.0)), 1.0) * max(len(support), 1)
        if not _growth(np.abs(c), reach) <= _MOST_GROWTH:
            return Rows(output, np.full((len(seen), width), math.inf))

        # Γ: roundings that are relative to the terms; F: what the transforms lose, and underflow
        rates = gamma(np.array(roundings(support, degree), np.float64), U) + job.weight_error * SLACK
        relative = _growth(np.abs(c) * rates, job.radius)
        lost_powers = sums.lost_powers[head] + _VANISHED * n_k
        lost_weight = float(np.abs(c) @ lost_powers) * SLACK
        lost_values = (sums.lost_values[head] + _VANISHED * n_k) * SLACK
        total = (np.abs(powers[0]) + lost_powers[0]) * (1.0 + 2.0 * rates[0]) * SLACK  # at least Σ_j e^b
        half = job.half / job.grow  # at most 1: a power of two divides exactly
        off_weight = relative * total + lost_weight
        off_values = relative * total[:, None] * half + lost_values

        def bound(distance: Array) -> Array:
            """distance (rows, d_v): at least max_j |v_j − o|."""
            moved: Any
            if measure.order == 0:
                cut: Any = output_error(approximation.error) * job.spread * np.ones((len(seen), 1))
                moved = job.half + cut
            else:
                cut = approximation.error * (heavy / weight)[:, None] * distance
                moved = job.half
            rounded = (off_values * job.grow + moved * off_weight[:, None]) / weight[:, None]
            unit, least = STORED[stored]
            whole: Array = (
                math.tanh(job.shifted / 2.0) * job.spread
                + cut
                + rounded
                + 4.0 * U * job.half
                + 3.0 * U * (job.magnitude + job.half + cut + rounded)
                + unit * np.abs(output)
                + least
            ) * SLACK + 2.0**-1070
            return np.where(np.isfinite(whole) & (weight > 0.0)[:, None], whole, np.inf)

        heavy = total
        if measure.order:
            p = measure.order
            summed = np.abs(powers[p]) + lost_powers[p] + rates[p] * job.radius**p * total
            heavy = (total + (measure.ratio / approximation.interval[1]) ** p * summed) * SLACK
        whole = bound(np.broadcast_to(job.spread, (len(seen), width)))
        if measure.order:
            distance = np.maximum(job.largest - output, output - job.least) * SLACK + whole
            whole = bound(np.minimum(job.spread, distance))
    hidden = seen == 0  # every key is absent: 0, exactly
    output[hidden], whole[hidden] = 0.0, 0.0
    return Rows(output, whole)


def _growth(coefficients: Array, radius: float) -> float:
    """Σ_m |c_m| radius^m, rounded up."""
    total = 0.0
    for c in reversed(coefficients.tolist()):
        total = total * radius + c
    return total * SLACK
