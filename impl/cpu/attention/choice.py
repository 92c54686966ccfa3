"""Which polynomial serves a head: the cheapest whose certificate is predicted to stay below an error.

Three measures of the error of a polynomial are at hand: relative to e^s (ATT-3), and where most scores are far smaller
than the largest may be, weighted by a moment of the scores or by its root (ATT-7).  What each costs in degree is
predicted from one formula (Bernstein and Szegő: the best approximation of x^(g+1) on [−1, 1] by a lower degree errs, in
a weight, by 2^-g over the geometric mean of the weight), so that one or two polynomials are ever computed.
"""

from __future__ import annotations

import cmath
import functools
import itertools
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import features
from assay.impl.cpu.attention.certificate import GROUP, certificate, expected
from assay.impl.cpu.attention.heads import Scatter, scatter
from assay.impl.cpu.attention.plan import SLACK, Frame, Measure, Plan, U
from assay.impl.cpu.kurtosis import kurtosis
from assay.spec.approximation import Approximation, Infeasible, exp_by_moment, exp_of_degree
from assay.spec.attention.perturbation import weight_error
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.impl.cpu.attention.heads import Head
    from assay.impl.cpu.attention.passes import Team
    from assay.impl.cpu.features import Coordinates, Extremes

    Array = NDArray[np.float64]

__all__ = ["Sketch", "corrected", "realised", "sketched"]

_LARGEST_RADIUS = 40.0  # e^(2·40) is all that float64 coefficients can express
_SMALLEST_RADIUS = 2.0**-20
_MOST_DEGREE = 64
_RADII = (8, 64)  # per octave, for small problems and large: few polynomials are ever computed, or the degree is least
_WORTH_A_PASS = 1 << 20  # points × features: half a millisecond
_TRIED = 3  # degrees, before a head is given up
_ROOM = 0.98  # of what is left to the polynomial, for the roundness of the prediction
_LARGEST_OVER_MEAN = 4.0  # of the parts of keys outside a subspace: a guess, verified
_GAUSSIAN = 3.0  # a fourth moment over the square of the second: a guess, measured
_UNEVEN = 1e10  # mean squares of keys along two axes: beyond it no kurtosis is taken
# Of the coordinates, for a kurtosis: twice as many take an eighth of the time, and show four times as much
_PARTS = (4, 2, 1)
_LEAST_PART = 16  # coordinates: with fewer time is no matter
# Nanoseconds of one core, measured on two EPYC cores (benchmarks/fast_attention.py model): only speed depends on them
_HEAD = 2e5
_PASS = (2.8, 0.17, 0.019)  # per point: each coordinate and column of V; each feature; each column of each feature
_KURTOSIS = (5e4, 0.018, 0.014)  # a part of the coordinates; each product of four for each key; N³, N pairs
_RATIOS = tuple(2.0 ** (k / 2.0) for k in range(11))


@dataclass(frozen=True, eq=False)
class Sketch:
    """A head and an error, and what is known before any polynomial is.

    scatter, seen: of a pass over the data, where there was one.  moments: order → the largest mean power of the scores
    of a row, or a guess.  kurtosis: of the keys in any direction, by the number of parts of the coordinates in which it
    is found; a guess, but for those numbers that are ``measured``.  candidates: what may do, the cheapest first.
    """

    head: Head
    error: float
    frame: Frame
    scatter: Scatter | None = None
    seen: Extremes | None = None
    moments: Mapping[int, float] = field(default_factory=dict)
    kurtosis: Mapping[int, float] = field(default_factory=dict)
    measured: frozenset[int] = frozenset()
    candidates: tuple[tuple[int, Measure], ...] = ((0, Measure()),)

    @property
    def degree(self) -> int:
        return self.candidates[0][0]

    @property
    def rank(self) -> int:
        return features.rank(self.frame.dimension, self.degree)

    @property
    def cost(self) -> float:
        """Nanoseconds of one core."""
        return self.cost_of(*self.candidates[0])

    def cost_of(self, degree: int, measure: Measure) -> float:
        rank, columns = features.rank(self.frame.dimension, degree), int(self.head.value.shape[1]) + 1
        coordinate, feature, product = _PASS
        per_point = coordinate * (len(self.head.centre) + columns) + rank * (feature + product * columns)
        cost = _HEAD + self.head.points * per_point
        if measure.kurtosis and measure.parts not in self.measured:
            fixed, four, cube = _KURTOSIS
            for part in _split(self.frame.dimension, measure.parts):
                pairs, fours = (features.rank(len(part) - 1, order) for order in (2, 4))
                cost += fixed + four * len(self.head.key) * fours + cube * pairs**3
        return cost

    def moment(self, measure: Measure) -> float:
        """The largest mean power of the scores of a row, or what is taken for it."""
        if measure.kurtosis:
            return measure.kurtosis * self.moments[2] ** 2
        return self.moments.get(measure.order, 0.0)

    @property
    def worth_a_pass(self) -> bool:
        return self.head.points * self.rank >= _WORTH_A_PASS

    @property
    def trivial(self) -> bool:
        """Whether no polynomial is needed."""
        return len(self.head.key) == 0 or not self.head.spread.any()

    @functools.cached_property
    def expected(self) -> Extremes:
        if self.seen is not None:
            return self.seen
        return expected(self.head, self.frame.radius, self.moments.get(2, 0.0), self.deviation)

    @property
    def deviation(self) -> Array | None:
        """At least √(mean (v − mean)²), where all rows attend to all keys and it is known."""
        return None if self.scatter is None or self.head.banded else self.scatter.deviation


def sketched(head: Head, error: float, memory: int, workers: int) -> Sketch:
    """What serves a head within ``error``.

    Raises :class:`Infeasible` where scores are too large, rounding alone may cost more, or the features of the least
    degree take more than ``memory`` bytes.
    """
    plain = Sketch(head, error, _frame(head))
    if plain.trivial:
        return plain
    try:
        found = _begun(plain, memory, workers)
        if found.degree < 2 or not found.worth_a_pass:
            return found
    except Infeasible:
        pass  # moments may show more
    known = scatter(head)
    frame, moments, guesses = _rotated(head, plain.frame, known, error), {}, {}
    if known.moment < math.inf:
        second = known.moment * (1.0 + 2.0**-20)
        moments = {4: min(_GAUSSIAN * second**2, frame.radius**2 * second), 2: second}
        r = frame.dimension
        if not head.banded and 0.0 < known.weights[0] / _UNEVEN <= known.weights[r - 1]:
            for parts in _PARTS:
                if parts == 1 or r >= parts * _LEAST_PART:
                    count = features.rank(-(-r // parts), 2)
                    spread = 1.0 + math.sqrt(count / len(head.key))  # of a sample covariance
                    guesses[parts] = parts**2 * (_GAUSSIAN - 2.0 + 2.1 * spread**2)
    return _begun(Sketch(head, error, frame, known, None, moments, guesses), memory, workers)


def corrected(sketch: Sketch, plan: Plan, seen: Extremes, memory: int, workers: int) -> Sketch:
    """The same after a pass whose certificate was too large, with what it saw in place of guesses."""
    moments, measure = dict(sketch.moments), plan.measure
    if measure.order and not measure.kurtosis:
        moments[measure.order] = max(seen.moment - 1.0, 0.0) / plan.ratio**measure.order
    return _begun(replace(sketch, seen=seen, moments=moments), memory, workers)


def realised(sketch: Sketch, memory: int, team: Team) -> tuple[Sketch, Plan]:
    """The first plan whose certificate, with all that rounding may add, is predicted to stay below the error.

    And the sketch it was made from: with the kurtosis of the keys, where a candidate relies on it.
    """
    if sketch.trivial:
        return sketch, _plan(sketch, exp_of_degree(0.0, 0), Measure())
    best = math.inf
    per_octave = _RADII[sketch.worth_a_pass]
    radius = 2.0 ** (math.ceil(math.log2(max(sketch.frame.radius, _SMALLEST_RADIUS)) * per_octave) / per_octave)
    radius = max(radius, sketch.frame.radius)
    for degree, measure in sketch.candidates:
        if measure.kurtosis and measure.parts not in sketch.measured:
            return realised(_measured(sketch, measure.parts, memory, team), memory, team)
        if measure.order:
            found = exp_by_moment(radius, degree, measure.order, measure.ratio, measure.root)
        else:
            found = exp_of_degree(radius, degree)
            if not found.error < 0.5:
                continue
        plan = _plan(sketch, found, measure)
        bound = float(_predicted(sketch, plan).max())
        if bound <= sketch.error:
            return sketch, plan
        best = min(best, bound)
    raise Infeasible(f"error {sketch.error:g}: the best certificate in sight is {best:.2g}")


def _begun(sketch: Sketch, memory: int, workers: int) -> Sketch:
    """With candidates that ``memory`` bytes are enough for."""
    found = _candidates(sketch)
    if not found:
        raise Infeasible(
            f"error {sketch.error:g}: scores up to {sketch.frame.radius:.3g} need a degree above {_MOST_DEGREE}"
        )
    needs = {candidate: _need(sketch, workers, *candidate) for candidate in found}
    if not (affordable := [candidate for candidate in found if needs[candidate] <= memory]):
        degree, need = found[0][0], needs[found[0]]
        raise Infeasible(
            f"rank {features.rank(sketch.frame.dimension, degree)} (degree {degree}, scores up to "
            f"{sketch.frame.radius:.3g}) needs {need / 2**20:.0f} MiB of the {memory / 2**20:.0f} MiB allowed"
        )
    return replace(sketch, candidates=tuple(sorted(affordable, key=lambda candidate: sketch.cost_of(*candidate))))


def _candidates(sketch: Sketch) -> list[tuple[int, Measure]]:
    """Degrees and measures whose error is predicted to be small enough, the least degree first."""
    head, radius = sketch.head, max(sketch.frame.radius, _SMALLEST_RADIUS)
    shown = head.spread > 0.0
    left = _left(sketch)[shown]
    seen = sketch.expected
    distance = np.minimum(head.spread, np.maximum(head.largest - seen.least, seen.largest - head.least))[shown]
    drift = np.maximum(np.abs(seen.least - head.mean), np.abs(seen.largest - head.mean))[shown]
    relative = weight_error(min(float((left / head.spread[shown]).min()), 1.0))
    linear = float((left / distance).min())
    rooted = 0.0 if sketch.deviation is None else float((left / (sketch.deviation[shown] + drift)).min())
    by_order = [_by_moment(sketch, radius, order) for order in sketch.moments]
    found: list[tuple[int, Measure]] = []
    for degree, error in enumerate(_least_errors(radius)):
        if found and degree == found[0][0] + _TRIED:
            break
        if error <= _ROOM * min(relative, 0.5):
            found.append((degree, Measure()))
            continue
        for measures in by_order:
            for degrees, measure, share in measures:
                whole = error * share <= _ROOM * linear
                if degree in degrees and (whole or error * math.sqrt(share) <= _ROOM * rooted):
                    found.append((degree, replace(measure, root=not whole)))
                    break
    return found


def _by_moment(sketch: Sketch, radius: float, order: int) -> list[tuple[range, Measure, float]]:
    """Measures by one moment: the degrees that may use it, its best ratio, and what it makes of an error there."""
    found = []
    measures = [(range(order, _MOST_DEGREE + 1), Measure(order))]
    for parts, most in sketch.kurtosis.items() if order > 2 else ():
        measures.append((range(2, order), Measure(order, kurtosis=most, parts=parts)))
    for degrees, measure in measures:

        def share(ratio: float, moment: float = sketch.moment(measure)) -> float:
            return (1.0 + moment * (ratio / radius) ** order) / _geometric_mean(order, ratio)

        ratio = min(_RATIOS, key=share)  # of the root too
        found.append((degrees, replace(measure, ratio=ratio), share(ratio)))
    return found


def _left(sketch: Sketch) -> Array:
    """What rounding leaves to the polynomial, per column of V."""
    errors = _least_errors(max(sketch.frame.radius, _SMALLEST_RADIUS))
    degree = next((g for g, error in enumerate(errors) if error < 1e-7), _MOST_DEGREE)
    stand_in = Approximation(_taylor(degree), (-sketch.frame.radius, sketch.frame.radius), 0.0, 0.0)
    rounding = certificate(sketch.head, _plan(sketch, stand_in, Measure()), sketch.expected, sketch.deviation)
    left: Array = sketch.error - rounding
    if not left.min() > 0.0:
        raise Infeasible(f"error {sketch.error:g}: rounding alone may cost {float(rounding.max()):.2g}")
    return left


def _predicted(sketch: Sketch, plan: Plan) -> Array:
    moment = sketch.moment(plan.measure) * plan.ratio**plan.measure.order
    seen = replace(sketch.expected, moment=1.0 + moment)
    return certificate(sketch.head, plan, seen, sketch.deviation)


def _plan(sketch: Sketch, approximation: Approximation, measure: Measure) -> Plan:
    return Plan(approximation, measure, sketch.frame, sketch.head.middle, sketch.head.grow)


def _frame(head: Head) -> Frame:
    """Centred keys over a power of two, queries times it and the scale."""
    d = head.queries.shape[2]
    unit = math.ldexp(1.0, max(-1000, math.frexp(head.key_norm)[1])) if head.key_norm < math.inf else math.inf
    factor = head.scale * unit if unit < math.inf else math.inf
    radius = abs(factor) * head.query_norm * (head.key_norm / unit) * SLACK if unit < math.inf else math.inf
    if not radius <= _LARGEST_RADIUS:
        raise Infeasible(f"scores of up to {radius:.3g} in size, of which the polynomial method serves 40")
    keys, queries = features.centred(head.centre, 1.0 / unit), features.centred(np.zeros(d), factor)
    return Frame(keys, queries, radius, 3.0 * U * radius * SLACK + 2.0**-500, abs(factor) * head.query_norm * SLACK)


def _rotated(head: Head, frame: Frame, known: Scatter, error: float) -> Frame:
    """The frame in fewer coordinates, where the keys lie so near a subspace that what is lost may be granted."""
    d = len(known.weights)
    if not known.moment < math.inf:
        return frame
    granted = error / (8.0 * float(head.spread.max()))
    norm = abs(head.scale) * head.query_norm
    outside = np.sqrt(np.maximum(np.cumsum(known.weights[::-1])[::-1], 0.0))  # from the axis on
    enough = [r for r in range(1, d) if norm * _LARGEST_OVER_MEAN * outside[r] <= granted]
    if not enough:
        return frame
    r = enough[0]
    basis = np.ascontiguousarray(known.axes[:, :r])
    keys, queries = replace(frame.keys, basis=basis), replace(frame.queries, basis=basis)
    whole_key, whole_query = head.key_norm * frame.keys.factor, head.query_norm * abs(frame.queries.factor)
    frobenius = float(np.linalg.norm(basis)) * SLACK
    again = _again(basis)
    key_norm, rest = features.largest_norms(head.key, keys, beside=True)
    key_norm, rest = key_norm + again * whole_key, rest + again * frobenius * whole_key
    query_norm = max(features.largest_norms(query, queries)[0] for query in head.queries) + again * whole_query
    rounded = float(gamma(2 * r + 4, U)) * (whole_key + frobenius * key_norm)
    lost = whole_query * (rest + rounded + again * key_norm)
    rotated = Frame(keys, queries, query_norm * key_norm * SLACK, frame.shifted + lost * SLACK, query_norm)
    return rotated if math.tanh(rotated.shifted / 2.0) <= 2.0 * granted else frame


def _again(basis: Array) -> float:
    """At least how far basisᵀp, computed in two places and two orders, may lie apart, beside ‖p‖."""
    return 2.0 * float(gamma(len(basis) + 2, U)) * float(np.linalg.norm(basis)) * SLACK


def _measured(sketch: Sketch, parts: int, memory: int, team: Team) -> Sketch:
    """With the kurtosis of the keys, found in so many parts of the coordinates, in place of a guess."""
    most = _kurtosis(sketch, parts, team)
    found = replace(sketch, kurtosis={**sketch.kurtosis, parts: most}, measured=sketch.measured | {parts})
    if most > sketch.kurtosis[parts]:
        return _begun(found, memory, team.workers)
    known = (
        (g, replace(each, kurtosis=most) if each.kurtosis and each.parts == parts else each)
        for g, each in sketch.candidates
    )
    return replace(found, candidates=tuple(known))


def _kurtosis(sketch: Sketch, parts: int, team: Team) -> float:
    """Of the keys of a head in any direction, in the coordinates of its frame (ATT-10)."""
    head, keys, r, n = sketch.head, sketch.frame.keys, sketch.frame.dimension, len(sketch.head.key)
    assert sketch.scatter is not None
    basis = sketch.scatter.axes[:, :r] / (np.sqrt(sketch.scatter.weights[:r]) * keys.factor)

    def summed(sums: Callable[[NDArray[Any], Coordinates, int, int], Array], part: range) -> Array:
        """Over the keys, in some of the coordinates."""
        white = replace(keys, basis=np.ascontiguousarray(basis[:, part.start : part.stop]))

        def block(first: int) -> Array:
            return sums(head.key, white, first, min(first + features.BLOCK, n))

        found: Array = functools.reduce(
            np.add, team.ordered(block, [(first,) for first in range(0, n, features.BLOCK)])
        )
        return found

    fourths = (summed(features.fourth_moments, part) for part in _split(r, parts))
    second = summed(features.second_moments, range(r))
    return kurtosis(fourths, second, n, _again(basis) * head.key_norm * keys.factor)


def _split(count: int, parts: int) -> list[range]:
    """range(count) in so many parts, as equal as can be."""
    ends = [count * part // parts for part in range(parts + 1)]
    return list(itertools.starmap(range, itertools.pairwise(ends)))


def _need(sketch: Sketch, workers: int, degree: int, measure: Measure) -> int:
    """Bytes of working storage."""
    head, d = sketch.head, sketch.frame.dimension
    count, width = features.rank(d, degree), int(head.value.shape[1]) + 2
    inner = features.rank(d, max(degree - 1, 0))
    tables = (2 * workers + 3) * (5 * GROUP // features.CHUNK if head.banded else 1) + 8 + 8
    if not head.banded:
        tables += max(-(-len(head.key) // features.BLOCK), 1).bit_length()
    held = workers * features.CHUNK * (inner + 8 + 2 * d + len(head.centre) + 2 * width)
    passes = (count + 8) * (width * tables + 8) + held
    products = features.rank(-(-d // measure.parts), 2) + 8
    squares = (4 * workers + 8) * products**2 + workers * features.CHUNK * products if measure.kurtosis else 0
    return 8 * max(passes, squares)


@functools.cache
def _geometric_mean(order: int, ratio: float) -> float:
    """That of 1 + (ratio·cos θ)^order over θ."""
    if order == 2:
        return ((1.0 + math.sqrt(1.0 + ratio**2)) / 2.0) ** 2
    return abs((1.0 + cmath.sqrt(1.0 + 1j * ratio**2)) / 2.0) ** 4


@functools.cache
def _taylor(degree: int) -> tuple[float, ...]:
    return tuple(1.0 / math.factorial(m) for m in range(degree + 1))


@functools.lru_cache(maxsize=64)
def _least_errors(radius: float) -> list[float]:
    """About what the best polynomial of each degree errs relative to e^s: twice Bessel's I_(g+1)(R), bounded."""
    n = np.arange(1.0, _MOST_DEGREE + 2.0)
    exponents = n * math.log(radius / 2.0) - np.cumsum(np.log(n)) + radius**2 / (4.0 * (n + 1.0))
    errors: list[float] = (2.0 * np.exp(np.minimum(exponents, 0.0))).tolist()
    return errors
