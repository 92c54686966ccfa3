"""How many neurons of normal weights fire, before any is looked at (proofs_notes/firing_neurons_fast.md, FIRE-7).

Weights w_r are independent and standard normal, and ‖x‖ = 1: each neuron fires with probability Q(b), the tail of the
normal distribution, so the number of neurons that fire on a point is binomial.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from assay.spec.problem import InvalidInstance

__all__ = ["Forecast", "forecast", "threshold_of"]


@dataclass(frozen=True)
class Forecast:
    """Neurons that fire on a point.

    probability: Q(b).  expected: m·Q(b).  least, most: all n points have from ``least`` to ``most`` firing neurons with
    probability at least 1 − failure, by the tails of the binomial distribution and a union over points.
    touched: the expected number of neurons that fire on one of n points in general position, at most: min(m, n·m·Q(b)).
    """

    probability: float
    expected: float
    least: int
    most: int
    touched: float


def threshold_of(exponent: float, neurons: int) -> float:
    """b = √(2c ln m), for which at most ½m^(1−c) neurons are expected to fire."""
    return math.sqrt(2.0 * exponent * math.log(neurons))


def forecast(neurons: int, threshold: float, *, points: int = 1, failure: float = 1e-6, moved: float = 0.0) -> Forecast:
    """The forecast for m neurons, a threshold b in units of ‖x‖, and n points.

    moved: R, how far any correlation has moved from where it began; ``most`` and ``touched`` are then those of the
    threshold b − R, and ``least`` is that of b + R.  Raises ``InvalidInstance`` for numbers out of range.

    >>> round(forecast(16384, threshold_of(0.2, 16384)).expected, 3)
    399.911
    """
    from scipy import stats

    if neurons < 1 or points < 1 or not 0.0 < failure < 1.0 or not moved >= 0.0:
        raise InvalidInstance("neurons and points at least 1, failure between 0 and 1, and moved at least 0 expected")
    tail, low, high = (float(stats.norm.sf(threshold + by)) for by in (0.0, moved, -moved))
    share = failure / (2.0 * points)
    least, most = stats.binom.ppf(share, neurons, low), stats.binom.isf(share, neurons, high)
    touched = float(-np.expm1(points * np.log1p(-high))) if high < 1.0 else 1.0
    return Forecast(tail, neurons * tail, int(least), int(most), neurons * touched)
