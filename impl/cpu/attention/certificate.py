"""The certificate of the polynomial method: a bound on the error of its output, as computed (ATT-5, ATT-7)."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from assay.impl.cpu import features
from assay.impl.cpu.attention.plan import SLACK, U
from assay.impl.cpu.features import Extremes
from assay.spec.attention.perturbation import output_error
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.cpu.attention.heads import Head
    from assay.impl.cpu.attention.plan import Plan

    Array = NDArray[np.float64]

__all__ = ["GROUP", "STORED", "Averaged", "bounded", "certificate", "expected", "roundings", "run"]

GROUP = 8 * features.CHUNK  # rows of a banded head that one task evaluates
STORED = {"float32": (2.0**-24, 2.0**-149), "float64": (0.0, 0.0)}  # dtype → rounding of the output: relative, absolute
_VANISHED = 2.0**-300  # the most that underflow may lose, in units of the largest value
_MOST_GROWTH = 2.0**600  # the largest sum of features that is certified: far from overflow
_LONGEST = 2.0**8  # the largest norm of queries that is certified: more than twice the largest radius


class Averaged(Protocol):
    """What a certificate knows of the numbers v of which outputs are averages, for every column (d_v,).

    least ≤ v ≤ largest; spread ≥ largest − least; magnitude ≥ |v|; half ≥ |v − middle| for the middle of the plan;
    mean: any number about their mean.  dtype: that of the outputs.
    """

    @property
    def dtype(self) -> str: ...
    @property
    def mean(self) -> Array: ...
    @property
    def least(self) -> Array: ...
    @property
    def largest(self) -> Array: ...
    @property
    def magnitude(self) -> Array: ...
    @property
    def spread(self) -> Array: ...
    @property
    def half(self) -> Array: ...


def run(head: Head) -> int:
    """The number of rows after which the running sums of a banded head are begun anew.

    It is a multiple of :data:`GROUP` and at least the width of the window.  Without a left end the sums are never begun
    anew, and the number is larger than all rows.
    """
    band, rows = head.band, int(head.queries.shape[1])
    width = min(band.left + band.right + 1, rows)
    return rows if band.left >= rows + len(head.key) else max(GROUP, -(-width // GROUP) * GROUP)


def roundings(head: Head, plan: Plan, m: int) -> int:
    """K_m of ATT-5: the most roundings that a term of degree m meets on its way into a sum over keys and features."""
    d = plan.frame.dimension
    return _count(m, d, plan.approximation.degree, *_beyond(head, d))


def _count(m: int, dimension: int, degree: int, beyond: int, each: int) -> int:
    return features.roundings(dimension, degree, m) + beyond + each * m


def _beyond(head: Head, dimension: int) -> tuple[int, int]:
    """The roundings that lie beyond the sum over one block of keys: of any term, and for each of its factors."""
    n, rows = len(head.key), int(head.queries.shape[1])
    if not head.banded:
        return max(-(-n // features.BLOCK) - 1, 0).bit_length() + 1, 0
    started = -(-min(head.band.left + head.band.right + 1, n) // features.BLOCK)
    groups = -(-min(run(head), rows) // GROUP)
    return started + groups + 24 + 2 * features.CHUNK, dimension + 2


@functools.lru_cache(maxsize=256)
def _rounded(dimension: int, degree: int, beyond: int, each: int) -> Array:
    """(degree + 1,): γ of the roundings of a term, for each degree: its error relative to the term."""
    return gamma(np.array([_count(m, dimension, degree, beyond, each) for m in range(degree + 1)]), U)


def expected(head: Head, radius: float, second: float, deviation: Array | None) -> Extremes:
    """A guess of the extremes that a pass over the data will measure; the moment is left out.

    second: the largest mean square of the scores of a row, 0 where it is not known.  deviation (d_v,):
    √(mean (v − mean)²), ``None`` where it is not known.
    """
    share = 0.99  # Z/n is at least 1 but for roundings, because the keys are centred
    if head.banded:  # the keys that one row sees need not be centred
        share = math.exp(-radius) * (1.0 if head.band.left >= len(head.key) else 1.0 / 3.0)
    with np.errstate(over="ignore", invalid="ignore"):
        reach = math.tanh(radius / 2.0) * head.spread  # no output is farther from the mean of V (ATT-2)
        if deviation is not None and not head.banded:  # but for a few per cent (Cauchy–Schwarz)
            reach = np.minimum(reach, 1.1 * math.sqrt(second) * deviation)
        least, largest = np.fmax(head.least, head.mean - reach), np.fmin(head.largest, head.mean + reach)
    return Extremes(share, 1.0, least, largest)


def certificate(head: Head, plan: Plan, found: Extremes, deviation: Array | None = None) -> Array:
    """(d_v,): a bound on |out − o| for every row from which ``found`` was computed; +inf where nothing is certain.

    deviation (d_v,): at least √(mean (v − mean)²) of each column; given only where rows attend to all keys.
    Source: ATT-5 and, where the plan measures by moments, ATT-7.
    """
    by_degree = _rounded(plan.frame.dimension, plan.approximation.degree, *_beyond(head, plan.frame.dimension))
    return bounded(head, plan, found, by_degree, deviation)


def bounded(head: Averaged, plan: Plan, found: Extremes, by_degree: Array, deviation: Array | None = None) -> Array:
    """The bound of :func:`certificate` from γ of the roundings of a term of every degree, ``by_degree`` (degree + 1,).

    deviation (d_v,): at least √(mean (v − head.mean)²) of each column.
    """
    approximation, measure, frame = plan.approximation, plan.measure, plan.frame
    widest = _growth(approximation.coefficients, max(frame.query_norm, 1.0) * frame.dimension)
    if not (found.share > 0.0 and widest <= _MOST_GROWTH and frame.query_norm <= _LONGEST):
        return np.full_like(head.mean, math.inf)
    weighted = (np.abs(plan.coefficients) * by_degree).tolist()
    summed = _growth(weighted, frame.radius) / found.share  # ρ of ATT-5: bounds |Ẑ − Z|/Ẑ, and |N̂ − N|/Ẑ
    if not summed < 0.5:
        return np.full_like(head.mean, math.inf)
    relative, absolute = STORED[head.dtype]
    size = np.maximum(np.abs(found.least), np.abs(found.largest))
    with np.errstate(over="ignore", invalid="ignore"):

        def total(distance: Array, drift: Array) -> Array:
            """The bound of ATT-5 from upper bounds of |v_j − o| (distance) and |o − mean V| (drift)."""
            if measure.order == 0:
                cut = output_error(approximation.error) * head.spread
            else:
                cut = approximation.error * found.moment * distance
                if measure.root and deviation is not None:
                    rooted = math.sqrt(found.moment / found.share)
                    cut = np.minimum(cut, approximation.error * rooted * (deviation + drift))
            rounded = summed * (2.0 * head.half + cut) + 2.0 * _VANISHED / found.share * plan.grow
            bound: Array = (
                math.tanh(frame.shifted * SLACK / 2.0) * head.spread
                + cut
                + rounded
                + 4.0 * U * head.half
                + 3.0 * U * (head.magnitude + head.half + cut + rounded)
                + relative * size
                + absolute
            ) * SLACK + 2.0**-1070
            return np.where(np.isnan(bound), math.inf, bound)

        bound = total(head.spread, head.spread)
        if measure.order == 0:
            return bound
        distance = np.maximum(head.largest - found.least, found.largest - head.least) * SLACK + bound
        drift = np.maximum(np.abs(found.least - head.mean), np.abs(found.largest - head.mean)) * SLACK + bound
        return total(np.minimum(head.spread, distance), np.minimum(head.spread, drift))


def _growth(coefficients: list[float] | tuple[float, ...], radius: float) -> float:
    """Σ_m |c_m| radius^m, rounded up."""
    total = 0.0
    for c in reversed(coefficients):
        total = total * radius + abs(c)
    return total * SLACK
