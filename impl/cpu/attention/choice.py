"""Which polynomial serves a head: the cheapest whose certificate is predicted to stay below an error.

There are three measures of the error of a polynomial.  It is measured relative to e^s (ATT-3) or, where most scores are
far smaller than the largest may be, weighted by a moment of the scores or by the root of one (ATT-7).  One formula
predicts the degree that each measure needs, so that only one or two polynomials are ever computed.  (Bernstein and
Szegő: the best approximation of x^(g+1) on [−1, 1] by a lower degree errs, in a weight, by 2^-g over the geometric mean
of the weight.)
"""

from __future__ import annotations

import cmath
import functools
import itertools
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import costs, features
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

__all__ = ["RATIOS", "Sketch", "corrected", "framed", "geometric_mean", "least_errors", "realised", "sketched"]

_LARGEST_RADIUS = 40.0  # e^s varies by e^(2·40), which is all that float64 coefficients can express
_SMALLEST_RADIUS = 2.0**-20
_MOST_DEGREE = 64
_RADII = (8, 64)  # radii per octave: few for small problems (few polynomials), many for large ones (least degree)
_WORTH_A_PASS = 1 << 20  # points × features that take half a millisecond: a pass over the data pays from here on
_TRIED = 3  # degrees that are tried before a head is refused
_ROOM = 0.98  # the part of the remaining error that a predicted error may take: predictions are rough
_LARGEST_OVER_MEAN = 4.0  # of the parts of keys that lie outside a subspace: a guess, verified afterwards
_GAUSSIAN = 3.0  # a fourth moment over the square of the second: a guess, measured afterwards
_UNEVEN = 1e10  # the ratio of mean squares of keys along two axes beyond which no kurtosis is taken
# Numbers of parts of the coordinates in which a kurtosis is bounded: twice as many parts take an eighth of the time,
# but the bound is four times as large
_PARTS = (4, 2, 1)
_LEAST_PART = 16  # coordinates in a part: with fewer, time does not matter
#: Of weights 1 + (ratio·s/R)^order, those that are tried.
RATIOS = tuple(2.0 ** (k / 2.0) for k in range(11))


@dataclass(frozen=True, eq=False)
class Sketch:
    """The state of the search for one head and one error, before a polynomial is computed.

    A sketch says what was measured, what is still a guess, and which candidates (degree, measure) remain.
    :func:`sketched` makes one, :func:`realised` measures a guess that a candidate relies on, and :func:`corrected`
    repairs the sketch after a certificate was too large.

    error: absolute, in units of the output.  scatter: second moments of keys and values, where a pass measured them.
    seen: the extremes that a pass over the rows measured, where there was one.  moments: order → the largest mean power
    of the scores of a row, measured or guessed.  kurtosis: number of parts → the kurtosis of the keys in any direction,
    found in so many parts of the coordinates; a guess except for the numbers of parts in ``measured``.  candidates: in
    the order in which they are tried, the cheapest first.
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
        """The predicted time of the first candidate, in nanoseconds of one core."""
        return self.cost_of(*self.candidates[0])

    def cost_of(self, degree: int, measure: Measure) -> float:
        rank, columns = features.rank(self.frame.dimension, degree), int(self.head.value.shape[1]) + 1
        of = costs.in_use(costs.Attention)
        per_point = of.coordinate * (len(self.head.centre) + columns) + rank * (of.feature + of.product * columns)
        cost = of.head + self.head.points * per_point
        if measure.kurtosis and measure.parts not in self.measured:
            for part in _split(self.frame.dimension, measure.parts):
                pairs, fours = (features.rank(len(part) - 1, order) for order in (2, 4))
                cost += of.kurtosis + of.kurtosis_four * len(self.head.key) * fours + of.kurtosis_cube * pairs**3
        return cost

    def moment(self, measure: Measure) -> float:
        """The largest mean power of the scores of a row; with a kurtosis, its bound from the second moment (ATT-10)."""
        if measure.kurtosis:
            return measure.kurtosis * self.moments[2] ** 2
        return self.moments.get(measure.order, 0.0)

    @property
    def worth_a_pass(self) -> bool:
        return self.head.points * self.rank >= _WORTH_A_PASS

    @property
    def trivial(self) -> bool:
        """Whether no polynomial is needed: there are no keys, or every column of V is constant."""
        return len(self.head.key) == 0 or not self.head.spread.any()

    @functools.cached_property
    def expected(self) -> Extremes:
        if self.seen is not None:
            return self.seen
        return expected(self.head, self.frame.radius, self.moments.get(2, 0.0), self.deviation)

    @property
    def deviation(self) -> Array | None:
        """(d_v,): at least √(mean (v − mean)²); ``None`` where it was not measured or some row lacks a key."""
        return None if self.scatter is None or self.head.banded else self.scatter.deviation


def sketched(head: Head, error: float, memory: int, workers: int) -> Sketch:
    """The sketch of a head for an error, with candidates that are predicted to meet it.

    A pass over the keys, values and queries measures second moments only where the least degree is not already cheap.
    Raises :class:`Infeasible` where scores are too large, where rounding alone may exceed ``error``, or where the
    features of the least degree take more than ``memory`` bytes.
    """
    plain = Sketch(head, error, framed(head))
    if plain.trivial:
        return plain
    try:
        found = _begun(plain, memory, workers)
        if found.degree < 2 or not found.worth_a_pass:
            return found
    except Infeasible:
        pass  # the norms allow nothing, but moments may
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
                    spread = 1.0 + math.sqrt(count / len(head.key))  # of the eigenvalues of a sample covariance
                    guesses[parts] = parts**2 * (_GAUSSIAN - 2.0 + 2.1 * spread**2)
    return _begun(Sketch(head, error, frame, known, None, moments, guesses), memory, workers)


def corrected(sketch: Sketch, plan: Plan, seen: Extremes, memory: int, workers: int) -> Sketch:
    """The sketch after a pass whose certificate was too large: what the pass measured stands in place of guesses."""
    moments, measure = dict(sketch.moments), plan.measure
    if measure.order and not measure.kurtosis:
        moments[measure.order] = max(seen.moment - 1.0, 0.0) / plan.ratio**measure.order
    return _begun(replace(sketch, seen=seen, moments=moments), memory, workers)


def realised(sketch: Sketch, memory: int, team: Team) -> tuple[Sketch, Plan]:
    """The first plan whose certificate, rounding included, is predicted to stay below the error, and its sketch.

    The sketch that is returned has the measured kurtosis of the keys, where a candidate relies on it.  Raises
    :class:`Infeasible` where no candidate is predicted to meet the error.
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
    """The sketch with the candidates that ``memory`` bytes are enough for, the cheapest first."""
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
    for degree, error in enumerate(least_errors(radius)):
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
    """The measures by one moment, each at its best ratio: the degrees that may use it, and its factor on an error."""
    found = []
    measures = [(range(order, _MOST_DEGREE + 1), Measure(order))]
    for parts, most in sketch.kurtosis.items() if order > 2 else ():
        measures.append((range(2, order), Measure(order, kurtosis=most, parts=parts)))
    for degrees, measure in measures:

        def share(ratio: float, moment: float = sketch.moment(measure)) -> float:
            return (1.0 + moment * (ratio / radius) ** order) / geometric_mean(order, ratio)

        ratio = min(RATIOS, key=share)  # the best ratio for the root too
        found.append((degrees, replace(measure, ratio=ratio), share(ratio)))
    return found


def _left(sketch: Sketch) -> Array:
    """(columns,): the part of the error that rounding leaves to the polynomial, per column of V."""
    errors = least_errors(max(sketch.frame.radius, _SMALLEST_RADIUS))
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


def framed(head: Head) -> Frame:
    """The frame of centred keys over a power of two, and of queries times that power and the scale."""
    d = head.queries.shape[2]
    unit = math.ldexp(1.0, max(-1000, math.frexp(head.key_norm)[1])) if head.key_norm < math.inf else math.inf
    factor = head.scale * unit if unit < math.inf else math.inf
    radius = abs(factor) * head.query_norm * (head.key_norm / unit) * SLACK if unit < math.inf else math.inf
    if not radius <= _LARGEST_RADIUS:
        raise Infeasible(f"scores of up to {radius:.3g} in size, of which the polynomial method serves 40")
    keys, queries = features.centred(head.centre, 1.0 / unit), features.centred(np.zeros(d), factor)
    return Frame(keys, queries, radius, 3.0 * U * radius * SLACK + 2.0**-500, abs(factor) * head.query_norm * SLACK)


def _rotated(head: Head, frame: Frame, known: Scatter, error: float) -> Frame:
    """The frame in fewer coordinates, where the keys lie so near a subspace that the error can pay for the rest."""
    d = len(known.weights)
    if not known.moment < math.inf:
        return frame
    granted = error / (8.0 * float(head.spread.max()))
    norm = abs(head.scale) * head.query_norm
    outside = np.sqrt(np.maximum(np.cumsum(known.weights[::-1])[::-1], 0.0))  # from this axis on: root mean square
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
    """A bound, in units of ‖p‖, on how far two orders of summing basisᵀp may differ (ATT-5, rotated keys)."""
    return 2.0 * float(gamma(len(basis) + 2, U)) * float(np.linalg.norm(basis)) * SLACK


def _measured(sketch: Sketch, parts: int, memory: int, team: Team) -> Sketch:
    """The sketch with the kurtosis of the keys, in so many parts of the coordinates, measured instead of guessed."""
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
    """The kurtosis of the keys of a head in any direction, in the coordinates of its frame (ATT-10)."""
    head, keys, r, n = sketch.head, sketch.frame.keys, sketch.frame.dimension, len(sketch.head.key)
    assert sketch.scatter is not None
    basis = sketch.scatter.axes[:, :r] / (np.sqrt(sketch.scatter.weights[:r]) * keys.factor)

    def summed(sums: Callable[[NDArray[Any], Coordinates, int, int], Array], part: range) -> Array:
        """The sums over all keys, in some of the coordinates."""
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
    """The working storage that a candidate takes, in bytes."""
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
def geometric_mean(order: int, ratio: float) -> float:
    """The geometric mean of 1 + (ratio·cos θ)^order over θ, for order 2 or 4."""
    if order == 2:
        return ((1.0 + math.sqrt(1.0 + ratio**2)) / 2.0) ** 2
    return abs((1.0 + cmath.sqrt(1.0 + 1j * ratio**2)) / 2.0) ** 4


@functools.cache
def _taylor(degree: int) -> tuple[float, ...]:
    return tuple(1.0 / math.factorial(m) for m in range(degree + 1))


@functools.lru_cache(maxsize=64)
def least_errors(radius: float) -> list[float]:
    """About the relative error of the best polynomial of each degree on [−R, R]: twice Bessel's I_(g+1)(R), bounded."""
    n = np.arange(1.0, _MOST_DEGREE + 2.0)
    exponents = n * math.log(radius / 2.0) - np.cumsum(np.log(n)) + radius**2 / (4.0 * (n + 1.0))
    errors: list[float] = (2.0 * np.exp(np.minimum(exponents, 0.0))).tolist()
    return errors
