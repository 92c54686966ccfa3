"""Polynomial approximations of analytic functions, of least degree and with a proved error.

The error is measured by a weight w > 0: |P − f| ≤ error·w.  Unless another weight is given, w is |f| itself and the
error is relative.  The module answers two questions about f on an interval (proofs_notes/approximation.md):

- How good is *this* polynomial, with the float64 coefficients that it has (:func:`certified_error`, APX-1)?
- How good can *any* polynomial of a degree be (:attr:`Approximation.best`, APX-2)?

The two answers together fix the degree: :func:`of_least_degree` returns an approximation that meets a relative error,
with a proof that a lower degree cannot.  The candidates come from Remez' exchange (Cheney 1966, chapter 3) in high
precision, and no property of them is trusted.  f and w are functions of a power series of Arb balls (Johansson 2017),
for example ``lambda x: x.exp()``.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flint

from assay.spec import flint_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Function = Callable[[Any], Any]  # flint.arb_series → flint.arb_series

__all__ = [
    "Approximation",
    "Infeasible",
    "alternation",
    "approximation",
    "certified_error",
    "exp_by_moment",
    "exp_of_degree",
    "exp_of_least_degree",
    "of_least_degree",
]

_EXCHANGES = 64
_NOISE = 2.0**-100  # an error far below what float64 coefficients can express
_DENSITY = 12  # grid points between two extrema
_LEVELLED = 1.01  # an exchange stops when the errors at the reference differ by less than this factor
_SHARP = 1.01  # pieces are halved until the certified error is at most this factor above the largest error seen …
_WIDEST = 2.0**12  # bits of working precision for a wide function, at most: then nothing may be proved
_EXACT = 2.0**-70  # … or at most this, far below the roundoff of the coefficients
_PIECES = 1 << 13  # … or there are this many pieces
_FIRST_PIECES = 32  # at first; twice as many with a weight, which may have singularities near the interval
_MOST_DEGREE = 96
_MOST_SPREAD = 80.0  # of ln |f|: at this spread float64 coefficients have lost all digits
_SPARE_DEGREES = 2  # degrees that are tried above the least one that real coefficients need


class Infeasible(ValueError):
    """No polynomial of a feasible degree with float64 coefficients has the requested error; the message says why."""


@dataclass(frozen=True)
class Approximation:
    """A polynomial P(x) = Σ c_k x^k with |P(x) − f(x)| ≤ error·w(x) for every x of the interval.

    coefficients: c_0 … c_g, float64 numbers, meant exactly.  error: a proved upper bound (APX-1), relative (w = |f|)
    unless another weight was given.  best: a proved lower bound on the error of *every* real polynomial of this degree
    (APX-2).
    """

    coefficients: tuple[float, ...]
    interval: tuple[float, float]
    error: float
    best: float

    @property
    def degree(self) -> int:
        return len(self.coefficients) - 1


def of_least_degree(function: Function, interval: tuple[float, float], error: float) -> Approximation:
    """The approximation of least degree whose proved relative error is at most ``error``.

    function: f as it acts on an ``arb_series``, analytic and without a zero on the interval.  interval: (a, b), a ≤ b.
    error: in (0, 1).  Source: ATT-4, APX-1 and APX-2.  Raises ``ValueError`` for bad arguments, and :class:`Infeasible`
    where float64 coefficients cannot reach ``error``.

    The next lower degree is proved insufficient for every real polynomial, unless the rounding of the coefficients or
    the distance to the best polynomial (1 % of its error) costs one degree.

    >>> found = of_least_degree(lambda x: x.exp(), (-1.0, 1.0), 1e-3)
    >>> found.degree, found.best <= found.error <= 1e-3
    (4, True)
    """
    a, b = _interval(interval)
    if not 0.0 < error < 1.0:
        raise ValueError(f"error {error!r}: expected a number between 0 and 1")

    if _spread(function, a, b) > _MOST_SPREAD:
        raise Infeasible(
            f"relative error {error:g} on [{a:g}, {b:g}]: the function varies by more than a factor e^{_MOST_SPREAD:g}"
        )

    @functools.cache
    def tried(degree: int) -> Approximation:
        return approximation(function, (a, b), degree)

    below, least = -1, 0  # degrees; ``below`` is proved too low
    while tried(least).best > error:
        if least == _MOST_DEGREE:
            raise Infeasible(f"relative error {error:g} on [{a:g}, {b:g}]: needs a degree above {_MOST_DEGREE}")
        below, least = least, min(max(1, 2 * least), _MOST_DEGREE)
    while least - below > 1:
        middle = (below + least) // 2
        below, least = (middle, least) if tried(middle).best > error else (below, middle)
    candidates = [tried(degree) for degree in range(least, least + 1 + _SPARE_DEGREES)]
    for found in candidates:
        if found.error <= error:
            return found
    raise Infeasible(
        f"relative error {error:g} on [{a:g}, {b:g}]: polynomials of degree {least} could, but with float64 "
        f"coefficients the best is {min(each.error for each in candidates):.2g}"
    )


@functools.lru_cache(maxsize=4096)
def exp_of_least_degree(radius: float, error: float) -> Approximation:
    """:func:`of_least_degree` for e^x on [−radius, radius]; results are kept."""
    return of_least_degree(lambda x: x.exp(), (-radius, radius), error)


@functools.lru_cache(maxsize=4096)
def exp_of_degree(radius: float, degree: int) -> Approximation:
    """The :func:`approximation` of e^x on [−radius, radius]; results are kept."""
    return approximation(lambda x: x.exp(), (-radius, radius), degree)


@functools.lru_cache(maxsize=4096)
def exp_by_moment(radius: float, degree: int, order: int, ratio: float, root: bool) -> Approximation:
    """The :func:`approximation` of e^x on [−radius, radius] in the weight 1 + (ratio·x/radius)^order, or its root.

    order: 2, 4, …  The polynomial errs little near 0, where most scores are, and more at the ends: over n numbers s_j,
    Σ_j |P(s_j) − e^(s_j)| ≤ error·(n + (ratio/radius)^order Σ_j s_j^order).  Source: ATT-7.  Results are kept.
    """

    def weight(x: Any) -> Any:
        square = x * x * (flint.arb(ratio) / flint.arb(radius)) ** 2
        power = square
        for _ in range(order // 2 - 1):
            power *= square
        return (1 + power).sqrt() if root else 1 + power

    return approximation(lambda x: x.exp(), (-radius, radius), degree, weight)


def approximation(
    function: Function, interval: tuple[float, float], degree: int, weight: Function | None = None
) -> Approximation:
    """The best approximation of a degree, as nearly as float64 coefficients can express it, with both certificates.

    function, interval: as for :func:`of_least_degree`.  weight: w > 0, as it acts on an ``arb_series``, analytic on the
    interval; without it the error is relative.  Raises ``ValueError`` for a bad interval, or where the weight (or the
    function, without one) may be 0.
    """
    a, b = _interval(interval)
    if a == b:
        with flint_context.bits(128):
            value = _at(function, flint.arb(a))
            constant = float(value.mid())
        coefficients = (constant, *[0.0] * degree)
        return Approximation(coefficients, (a, b), certified_error(function, coefficients, (a, b), weight), 0.0)
    with flint_context.bits(_bits(function, a, b, degree)):
        exact, best = _remez(function, weight or function, flint.arb(a), flint.arb(b), degree)
        coefficients = tuple(float(c.mid()) for c in exact)
    return Approximation(coefficients, (a, b), certified_error(function, coefficients, (a, b), weight), best)


def certified_error(
    function: Function, coefficients: Sequence[float], interval: tuple[float, float], weight: Function | None = None
) -> float:
    """A proved upper bound of |P(x) − f(x)|/w(x) over the whole interval; +inf where none was found (APX-1).

    On a piece m ± h the quotient is its Taylor polynomial at m, of order K, plus a remainder.  The coefficient of the
    remainder lies in a ball that contains the K-th Taylor coefficient at every point of the piece.  The interval is cut
    into equal pieces; then the piece with the largest bound is halved, again and again, until this bound is near the
    largest error seen.
    """
    a, b = _interval(interval)
    degree = len(coefficients) - 1
    with flint_context.bits(_bits(function, a, b, degree)):
        polynomial = flint.arb_poly([flint.arb(c) for c in coefficients])
        seen = 0.0
        pieces: list[tuple[float, int, Any, Any]] = []
        first = 1 if a == b else _FIRST_PIECES if weight is None else 2 * _FIRST_PIECES
        cuts = [flint.arb(a), *((flint.arb(a) + (flint.arb(b) - a) * k / first).mid() for k in range(1, first))]
        parts = [*cuts, flint.arb(b)]
        number = itertools.count()
        while True:
            for low, high in itertools.pairwise(parts):
                bound, here = _piece(function, weight or function, polynomial, low, high, degree + 4)
                heapq.heappush(pieces, (-bound, next(number), low, high))
                seen = max(seen, here)
            largest, _, low, high = heapq.heappop(pieces)
            if -largest <= max(_SHARP * seen, _EXACT) or len(pieces) >= _PIECES:
                return -largest
            parts = [low, ((low + high) / 2).mid(), high]


def alternation(
    function: Function, coefficients: Sequence[Any], points: Sequence[Any], weight: Function | None = None
) -> float:
    """A proved lower bound of max |P* − f|/w for every P* of degree ≤ len(points) − 2; 0 where none is proved.

    The bound is min |P − f|/w over the points, if the points are certainly in increasing order and the sign of P − f
    certainly alternates there (APX-2).  coefficients: those of P, which has at most this degree.  Coefficients and
    points are numbers or arbs; the computation has the precision of the context.
    """
    polynomial = flint.arb_poly(list(coefficients))
    points = [flint.arb(x) for x in points]
    if not all(here < after for here, after in itertools.pairwise(points)):
        return 0.0
    errors = [_error(polynomial, x, *_values(function, weight or function, x)) for x in points]
    signs = [(e > 0) - (e < 0) for e in errors]
    if 0 in signs or any(here == after for here, after in itertools.pairwise(signs)):
        return 0.0
    return max(0.0, math.nextafter(min(float(e.abs_lower()) for e in errors), 0.0))


def _piece(
    function: Function, weight: Function, polynomial: Any, low: Any, high: Any, order: int
) -> tuple[float, float]:
    """An upper bound of |P − f|/w on [low, high], +inf where none is certain, and a lower bound of its middle value."""
    middle = ((low + high) / 2).mid()
    half = flint.arb(max((high - middle).abs_upper(), (middle - low).abs_upper()))
    try:
        exact = _quotient(function, weight, polynomial, middle, order)
        around = _quotient(function, weight, polynomial, middle + flint.arb(0, half), order + 1)
    except ValueError:  # w may be 0 on so wide a piece, or terms were lost
        return math.inf, 0.0
    bound, power = flint.arb(0), flint.arb(1)
    for k in range(order):
        bound += abs(exact[k]) * power
        power *= half
    bound += abs(around[order]) * power
    if not bound.is_finite():
        return math.inf, 0.0
    return math.nextafter(float(bound.abs_upper()), math.inf), math.nextafter(float(exact[0].abs_lower()), 0.0)


def _quotient(function: Function, weight: Function, polynomial: Any, at: Any, terms: int) -> Any:
    """(P − f)(at + t)/w(at + t) as a series in t of so many terms.  Raises ``ValueError`` where terms were lost."""
    with flint_context.terms(terms):
        variable = flint.arb_series([at, 1], prec=terms)
        above = flint.arb_series(polynomial(flint.arb_poly([at, 1])).coeffs()[:terms], prec=terms)
        values = function(variable)
        found = (above - values) / (values if weight is function else weight(variable))
    if found.prec < terms:  # a lost term reads as 0; f may set the cap itself, or divide by a zero
        raise ValueError(f"{found.prec} of {terms} terms")
    return found


def _bits(function: Function, a: float, b: float, degree: int) -> int:
    """Working precision in bits: P cancels where f is relatively small; an exchange needs errors down to 2^-100."""
    spread = _spread(function, a, b)
    return max(128, 80 + 8 * degree + math.ceil(4 * spread if spread < _WIDEST else _WIDEST))


def _spread(function: Function, a: float, b: float) -> float:
    """About max ln |f| − min ln |f|.  It is a guide: no proof depends on it."""
    with flint_context.bits(64):
        values = [_at(function, flint.arb(a) + (flint.arb(b) - a) * k / 16) for k in range(17)]
        logarithms = [float(abs(value).log().mid()) for value in values if not value.contains(0)]
    return max(logarithms, default=0.0) - min(logarithms, default=0.0)


def _at(function: Function, x: Any) -> Any:
    return function(flint.arb_series([x], prec=1))[0]


def _error(polynomial: Any, x: Any, value: Any, unit: Any) -> Any:
    """(P − f)/w at a point x, where f has the value ``value`` and w the value ``unit``."""
    return (polynomial(x) - value) / unit


def _values(function: Function, weight: Function, x: Any) -> tuple[Any, Any]:
    """The values of f and w at a point."""
    value = _at(function, x)
    return value, value if weight is function else _at(weight, x)


def _remez(function: Function, weight: Function, a: Any, b: Any, degree: int) -> tuple[list[Any], float]:
    """The coefficients of a nearly best polynomial, and a proved lower bound of the error of the best one."""
    points = [((a + b) / 2 - (b - a) / 2 * _cos(k, degree + 1)).mid() for k in range(degree + 2)]
    if not all(_at(weight, x) * _at(weight, a) > 0 for x in points):
        named = "function" if weight is function else "weight"
        raise ValueError(f"the {named} may be 0 on [{float(a):g}, {float(b):g}]: expected one without a zero there")
    count = _DENSITY * (degree + 2)
    grid = [((a + b) / 2 - (b - a) / 2 * _cos(k, count)).mid() for k in range(count + 1)]
    known = [(x, *_values(function, weight, x)) for x in grid]
    nearest: list[Any] = []
    least, best = flint.arb("inf"), 0.0
    for _ in range(_EXCHANGES):
        coefficients, levelled = _levelled(function, weight, points, degree, a, b)
        polynomial = flint.arb_poly(coefficients)
        best = max(best, alternation(function, coefficients, points, weight))
        there = [(x, *_values(function, weight, x)) for x in points]  # the points where the sign alternates
        everywhere = sorted(known + there, key=lambda each: float(each[0]))
        errors = [_error(polynomial, *each).mid() for each in everywhere]
        largest = max(abs(e) for e in errors)
        if not nearest or largest < least:
            nearest, least = coefficients, largest
        if largest < _LEVELLED * abs(levelled) or largest < _NOISE:
            break
        points = _extrema([x for x, _, _ in everywhere], errors, degree + 2)
    return nearest, best


def _cos(k: int, n: int) -> Any:
    return (flint.arb(k) / n * flint.arb.pi()).cos()


def _levelled(
    function: Function, weight: Function, points: list[Any], degree: int, a: Any, b: Any
) -> tuple[list[Any], Any]:
    """The polynomial whose errors at the points are ±E in turn, and E; only midpoints are computed."""
    rows, values = [], []
    for i, x in enumerate(points):
        share = 1 / _at(weight, x)
        t = (2 * x - a - b) / (b - a)
        chebyshev = [flint.arb(1), t]
        while len(chebyshev) <= degree:
            chebyshev.append(2 * t * chebyshev[-1] - chebyshev[-2])
        rows.append([share * c for c in chebyshev[: degree + 1]] + [flint.arb((-1) ** i)])
        values.append([share * _at(function, x)])
    solved = flint.arb_mat(rows).solve(flint.arb_mat(values)).tolist()
    t = flint.arb_poly([-(a + b) / (b - a), 2 / (b - a)])
    terms = [flint.arb_poly([1]), t]
    while len(terms) <= degree:
        terms.append(2 * t * terms[-1] - terms[-2])
    polynomial = sum(
        (row[0] * term for row, term in zip(solved, terms[: degree + 1], strict=False)), flint.arb_poly([0])
    )
    coefficients = [c.mid() for c in polynomial.coeffs()[: degree + 1]]
    return coefficients + [flint.arb(0)] * (degree + 1 - len(coefficients)), solved[-1][0].mid()


def _extrema(grid: list[Any], errors: list[Any], wanted: int) -> list[Any]:
    """Where the largest errors are of ``wanted`` consecutive runs of one sign, chosen for the largest least error."""
    runs: list[int] = []
    for i, e in enumerate(errors):
        if runs and (e > 0) == (errors[runs[-1]] > 0):
            if abs(e) > abs(errors[runs[-1]]):
                runs[-1] = i
        else:
            runs.append(i)
    starts = range(max(1, len(runs) - wanted + 1))
    first = max(starts, key=lambda s: min(float(abs(errors[i])) for i in runs[s : s + wanted]))
    return [_refined(grid, errors, i) for i in runs[first : first + wanted]]


def _refined(grid: list[Any], errors: list[Any], i: int) -> Any:
    """The vertex of the parabola through an extremum of the grid and its two neighbours."""
    if i in (0, len(grid) - 1):
        return grid[i]
    x0, x1, x2 = grid[i - 1 : i + 2]
    e0, e1, e2 = errors[i - 1 : i + 2]
    above = (x1 - x0) ** 2 * (e1 - e2) - (x1 - x2) ** 2 * (e1 - e0)
    below = (x1 - x0) * (e1 - e2) - (x1 - x2) * (e1 - e0)
    if below.contains(0):  # also where two of the points coincide
        return x1
    x = (x1 - above / below / 2).mid()
    return x if x0 < x < x2 else x1


def _interval(interval: tuple[float, float]) -> tuple[float, float]:
    a, b = (float(x) for x in interval)
    if not (math.isfinite(a) and math.isfinite(b) and a <= b):
        raise ValueError(f"interval {interval!r}: expected two finite numbers, the lower one first")
    return a, b
