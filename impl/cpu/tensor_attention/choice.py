"""Which polynomial serves a head of order k: the one of least degree whose certificate is predicted to be small enough.

Scores of some rows and combinations are computed to guess what moments of all of them will be.  A guess decides about
time only: the certificate is computed from the sums themselves.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.impl.cpu.attention.choice import geometric_mean, least_errors
from assay.impl.cpu.attention.plan import SLACK, Frame, Measure, Plan, U
from assay.impl.cpu.features import Extremes
from assay.impl.cpu.tensor_attention.certificate import certificate
from assay.spec.approximation import Approximation, Infeasible, exp_by_moment, exp_of_degree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from assay.impl.cpu.tensor_attention.heads import Head

    Array = NDArray[np.float64]

__all__ = ["Guess", "candidates", "guessed", "planned", "predicted", "realised"]

_MOST_DEGREE = 64
_LARGEST_RADIUS = 40.0  # e^s varies by e^(2·40), which is all that float64 coefficients can express
_SMALLEST_RADIUS = 2.0**-20
_PER_OCTAVE = 16  # radii that polynomials are made for
_ROOM = 0.95  # the part of an error that a predicted one may take
_TRIED = 6  # degrees that are tried before a head is refused
_ROWS, _COMBINATIONS = 16, 128  # scores that are computed, half of them of the longest of so many rows …
_SAMPLED = 256
_RATIOS = 2.0 ** (np.arange(11) / 2.0)


@dataclass(frozen=True, eq=False)
class Guess:
    """Means over all combinations, for the worst of the rows: guesses, or what a pass measured.

    moments: order → the largest mean of the power of the scores.  share: the least mean of e^s.  least, largest (d_v,):
    of the output.
    """

    moments: Mapping[int, float]
    share: float
    least: Array
    largest: Array


def guessed(head: Head) -> Guess:
    """What the scores of some rows, the longest among them, and of some combinations say."""
    rng = np.random.default_rng(0)
    rows = head.queries.reshape(-1, head.queries.shape[2])
    some = rows[rng.integers(len(rows), size=_SAMPLED)].astype(np.float64)
    longest = np.argsort(-np.einsum("ij,ij->i", some, some))[: _ROWS // 2]
    query = np.concatenate([some[longest], some[: _ROWS // 2]])
    places = [rng.integers(len(key), size=_COMBINATIONS) for key in head.keys]
    keys, values = (
        functools.reduce(np.multiply, (x[place].astype(np.float64) for x, place in zip(of, places, strict=True)))
        for of in (head.keys, head.values)
    )
    factor = head.frame.factor / math.prod(1.0 / frame.factor for frame in head.frames)
    scores = np.clip(factor * query @ keys.T, -head.radius, head.radius)
    weight, square = np.exp(scores), scores * scores
    share = weight.mean(axis=1)
    output = weight @ values / (share * _COMBINATIONS)[:, None]
    wide = np.sqrt(np.square(values).mean(axis=0) / _COMBINATIONS)  # what so few combinations leave open
    return Guess(
        {2: float(square.mean(axis=1).max()), 4: float((square * square).mean(axis=1).max())}, float(share.min()),
        np.maximum(output.min(axis=0) - wide, head.least), np.minimum(output.max(axis=0) + wide, head.largest),
    )  # fmt: skip


def planned(head: Head, approximation: Approximation, measure: Measure) -> Plan:
    """The plan of a head for a polynomial."""
    shifted = 3.0 * U * head.radius * SLACK + 2.0**-500
    frame = Frame(head.frames[0], head.frame, head.radius, shifted, head.query_norm)
    return Plan(approximation, measure, frame, np.zeros_like(head.grow), head.grow)


@np.errstate(over="ignore", divide="ignore")  # an error far above what there is to lose
def candidates(head: Head, error: float) -> tuple[Guess, list[tuple[int, Measure]]]:
    """What is guessed of a head, and degrees and measures that are predicted to meet the error, the least first.

    Raises :class:`Infeasible` where the scores are too large, rounding alone exceeds the error, or no degree is enough.
    """
    if not head.spread.any():
        return Guess({}, 1.0, head.least, head.largest), [(0, Measure())]
    if not head.radius <= _LARGEST_RADIUS:
        raise Infeasible(f"scores of up to {head.radius:.3g} in size, of which the polynomial method serves 40")
    guess = guessed(head)
    taylor = tuple(1.0 / math.factorial(m) for m in range(12))
    alone = planned(head, Approximation(taylor, (-head.radius, head.radius), 0.0, 0.0), Measure())
    rounding = certificate(head, alone, Extremes(guess.share, 1.0, guess.least, guess.largest))
    left = error - rounding
    if not left.min() > 0.0:
        raise Infeasible(f"error {error:g}: rounding alone may cost {float(rounding.max()):.2g}")
    found = list(_candidates(head, guess, left))
    if not found:
        raise Infeasible(f"error {error:g}: scores up to {head.radius:.3g} need a degree above {_MOST_DEGREE}")
    return guess, found


def _candidates(head: Head, guess: Guess, left: Array) -> Iterator[tuple[int, Measure]]:
    shown = head.spread > 0.0
    distance = np.minimum(head.spread, np.maximum(head.largest - guess.least, guess.largest - head.least))[shown]
    rooted = (head.deviation + np.maximum(np.abs(guess.least), np.abs(guess.largest)))[shown]
    linear, root = float((left[shown] / distance).min()), float((left[shown] / rooted).min())
    radius = max(head.radius, _SMALLEST_RADIUS)
    plain = 0.54 * float((head.spread[shown] / left[shown]).max())  # ATT-2, for relative errors below a half
    measures = [
        (order, *_by_moment(order, moment, radius, guess.share, linear, root))
        for order, moment in guess.moments.items()
    ]
    first = None
    for degree, relative in enumerate(least_errors(radius)):
        if first is not None and degree >= first + _TRIED:
            return
        options = [(factor, measure) for order, factor, measure in measures if order <= degree]
        if relative < _ROOM / 2.0:
            options.append((plain, Measure()))
        for factor, measure in sorted(options, key=lambda option: option[0]):
            if relative * factor <= _ROOM:
                first = degree if first is None else first
                yield degree, measure


def _by_moment(
    order: int, moment: float, radius: float, share: float, linear: float, root: float
) -> tuple[float, Measure]:
    """The best measure by a moment: its factor on the least error of a degree, in units of what is allowed."""
    weight = (1.0 + moment * (_RATIOS / radius) ** order) / share
    means = _means(order)
    by_sum, by_root = weight / (means * linear), np.sqrt(weight / (share * means)) / root
    best = int(np.minimum(by_sum, by_root).argmin())
    factor = float(min(by_sum[best], by_root[best]))
    return factor, Measure(order, float(_RATIOS[best]), bool(by_root[best] < by_sum[best]))


@functools.cache
def _means(order: int) -> Array:
    return np.array([geometric_mean(order, float(ratio)) for ratio in _RATIOS])


def realised(head: Head, degree: int, measure: Measure) -> Plan:
    """The plan of a candidate, with its polynomial."""
    if not head.spread.any():
        return planned(head, exp_of_degree(0.0, 0), measure)
    radius = max(head.radius, _SMALLEST_RADIUS)
    radius = max(2.0 ** (math.ceil(math.log2(radius) * _PER_OCTAVE) / _PER_OCTAVE), radius)
    if measure.order:
        return planned(head, exp_by_moment(radius, degree, measure.order, measure.ratio, measure.root), measure)
    return planned(head, exp_of_degree(radius, degree), measure)


def predicted(head: Head, plan: Plan, guess: Guess) -> Array:
    """(d_v,): the certificate that a plan will have if the guess is right."""
    moment = 1.0 + guess.moments.get(plan.measure.order, 0.0) * plan.ratio**plan.measure.order
    return certificate(head, plan, Extremes(guess.share, moment / guess.share, guess.least, guess.largest))
