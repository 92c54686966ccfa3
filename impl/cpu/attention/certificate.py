"""The certificate of the polynomial method: what its output may err by, from what was computed (ATT-5, ATT-7)."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

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

__all__ = ["GROUP", "STORED", "certificate", "expected", "roundings", "run"]

GROUP = 8 * features.CHUNK  # rows of a band that share one call
STORED = {"float32": (2.0**-24, 2.0**-149), "float64": (0.0, 0.0)}  # rounding of the output: relative, absolute
_VANISHED = 2.0**-300  # what underflow may lose, in units of the largest value
_MOST_GROWTH = 2.0**600  # of features, far from overflow
_LONGEST = 2.0**8  # of queries: twice the largest radius, and more


def run(head: Head) -> int:
    """Rows of a band after which its running sums are begun anew: a group of them, or as many as the window is wide."""
    band, rows = head.band, int(head.queries.shape[1])
    width = min(band.left + band.right + 1, rows)
    return rows if band.left >= rows + len(head.key) else max(GROUP, -(-width // GROUP) * GROUP)


def roundings(head: Head, plan: Plan, m: int) -> int:
    """What a term of degree m meets at most on its way into a sum over keys and features."""
    d = plan.frame.dimension
    return _count(m, d, plan.approximation.degree, *_beyond(head, d))


def _count(m: int, dimension: int, degree: int, beyond: int, each: int) -> int:
    return features.roundings(dimension, degree, m) + beyond + each * m


def _beyond(head: Head, dimension: int) -> tuple[int, int]:
    """Of these, what is not of one block of keys: of any term, and for each of its factors."""
    n, rows = len(head.key), int(head.queries.shape[1])
    if not head.banded:
        return max(-(-n // features.BLOCK) - 1, 0).bit_length() + 1, 0
    started = -(-min(head.band.left + head.band.right + 1, n) // features.BLOCK)
    groups = -(-min(run(head), rows) // GROUP)
    return started + groups + 24 + 2 * features.CHUNK, dimension + 2


@functools.lru_cache(maxsize=256)
def _rounded(dimension: int, degree: int, beyond: int, each: int) -> Array:
    """(degree + 1,): what so many roundings make of a term of each degree, relative to it."""
    return gamma(np.array([_count(m, dimension, degree, beyond, each) for m in range(degree + 1)]), U)


def expected(head: Head, radius: float, second: float, deviation: Array | None) -> Extremes:
    """What a pass over the data will find, but for moments: a guess.

    second: the largest mean square of the scores of a row; deviation: √(mean (v − mean)²), where these are known.
    """
    share = 0.99  # of the sum of weights and the number of keys: 1 at least, as these are centred
    if head.banded:  # but those that one row sees are not
        share = math.exp(-radius) * (1.0 if head.band.left >= len(head.key) else 1.0 / 3.0)
    with np.errstate(over="ignore", invalid="ignore"):
        reach = math.tanh(radius / 2.0) * head.spread  # outputs are no farther from the mean of V (ATT-2)
        if deviation is not None and not head.banded:  # nor, but for a few per cent, than this (Cauchy and Schwarz)
            reach = np.minimum(reach, 1.1 * math.sqrt(second) * deviation)
        least, largest = np.fmax(head.least, head.mean - reach), np.fmin(head.largest, head.mean + reach)
    return Extremes(share, 1.0, least, largest)


def certificate(head: Head, plan: Plan, found: Extremes, deviation: Array | None = None) -> Array:
    """(d_v,): at least |out − o| for every row from which ``found`` was computed; +inf where nothing is certain.

    deviation: at least √(mean (v − mean)²) of a column, for rows that attend to all keys.
    """
    approximation, measure, frame = plan.approximation, plan.measure, plan.frame
    widest = _growth(approximation.coefficients, max(frame.query_norm, 1.0) * frame.dimension)
    if not (found.share > 0.0 and widest <= _MOST_GROWTH and frame.query_norm <= _LONGEST):
        return np.full_like(head.mean, math.inf)
    by_degree = _rounded(frame.dimension, approximation.degree, *_beyond(head, frame.dimension))
    weighted = (np.abs(plan.coefficients) * by_degree).tolist()
    summed = _growth(weighted, frame.radius) / found.share  # |Ẑ − Z|/Ẑ at most, and |N̂ − N|/Ẑ
    if not summed < 0.5:
        return np.full_like(head.mean, math.inf)
    relative, absolute = STORED[head.dtype]
    size = np.maximum(np.abs(found.least), np.abs(found.largest))
    with np.errstate(over="ignore", invalid="ignore"):

        def total(distance: Array, drift: Array) -> Array:
            """distance, drift: at least |v_j − o| and |o − mean V|."""
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
