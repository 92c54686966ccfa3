"""The cells of the diagram: what the polynomial method needs and costs for n keys with entries up to B.

The keys have dimension d = ⌈c·log₂ n⌉, and the scale is 1/d.  Entries of at most B bound the scores by B² and by
nothing less, so the polynomial must be good on [−B², B²] (ATT-6).  Degrees, ranks and errors are proved
(spec/approximation, ATT-2).  Seconds are measured on this machine up to a length that the caller chooses and up to
ranks that take a moment; beyond, they are extrapolated.  Each cell says which of the two holds.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl import cpu
from assay.impl.cpu import features
from assay.spec.approximation import Infeasible, exp_of_degree, exp_of_least_degree
from assay.spec.attention.perturbation import output_error, weight_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from assay.impl.cpu.certified import Certified
    from assay.impl.models import HeadBounds

__all__ = ["LENGTHS", "RATIOS", "Cell", "Diagram", "Head", "Interrupted", "diagram", "heads_of"]

LENGTHS: tuple[int, ...] = tuple(1 << k for k in range(10, 21, 2))
RATIOS: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0)

_SEARCHED = 16.0  # the bound of the scores up to which degrees are searched; above, they are only bounded from below
_MOST_DEGREE = 40  # the highest degree that is proved too low …
_ENOUGH = 64.0  # … and the end of the largest interval of such a proof
_ROUNDS = 5  # a time is the median of at least so many runs,
_SECONDS = 0.1  # and of as many as fit into so many seconds
_ROWS, _FEATURES = 128, 64  # the size of a timed block, so small that BLAS takes one thread
_MOMENT = 0.2  # seconds: a longer run of the polynomial route is extrapolated
_SLACK = 2.0**-48  # pays for the rounding of two formulas in float64


@dataclass(frozen=True)
class Cell:
    """One cell of the diagram: one n and one B.

    ratio: B/√(ln n).  radius: B², the bound of the scores.  degree, rank: those of the polynomial, rank C(d + g, g);
    ``None`` where there is none.  error: the certified error of the output in units of range(V), without rounding
    (ATT-2).  certified: the largest error that the polynomial route returned with its output, in the same units, with
    rounding; ``None`` where the route was not run.  reason: why there is no polynomial of a rank below n, or why the
    route refused; empty otherwise.

    exact_seconds, polynomial_seconds: for one head in float32 with value dimension d, on one thread; ``*_measured``
    says whether the number was measured or extrapolated.  polynomial_seconds is ``None`` where there is a ``reason``.
    """

    length: int
    dim: int
    ratio: float
    bound: float
    radius: float
    degree: int | None
    rank: int | None
    error: float | None
    certified: float | None
    reason: str
    exact_seconds: float
    exact_measured: bool
    polynomial_seconds: float | None
    polynomial_measured: bool

    @property
    def polynomial_wins(self) -> bool:
        return self.polynomial_seconds is not None and self.polynomial_seconds < self.exact_seconds


@dataclass(frozen=True)
class Head:
    """A head of a real model, shown on the diagram."""

    model: str
    bounds: HeadBounds


@dataclass(frozen=True)
class Diagram:
    """All cells, sorted by n and then by ratio.  constant: c.  error: the requested one, in units of range(V).

    interrupted: the user ended it, and cells are missing.
    """

    constant: float
    error: float
    cells: tuple[Cell, ...]
    heads: tuple[Head, ...] = ()
    interrupted: bool = False

    @property
    def crossover(self) -> dict[int, float | None]:
        """n → the largest ratio of the grid up to which the polynomial route is faster; ``None`` where it never is."""
        line: dict[int, float | None] = {}
        for length in dict.fromkeys(cell.length for cell in self.cells):
            line[length] = None
            for cell in sorted((c for c in self.cells if c.length == length), key=lambda c: c.ratio):
                if not cell.polynomial_wins:
                    break
                line[length] = cell.ratio
        return line


class Interrupted(KeyboardInterrupt):
    """The user ended the diagram.  ``diagram`` holds the cells until then, of ``total``."""

    def __init__(self, diagram: Diagram, total: int) -> None:
        super().__init__()
        self.diagram = diagram
        self.total = total


def diagram(
    lengths: Sequence[int] = LENGTHS,
    ratios: Sequence[float] = RATIOS,
    *,
    constant: float = 1.0,
    error: float = 1e-3,
    measured_to: int = 4096,
    heads: Sequence[Head] = (),
) -> Diagram:
    """The cells of every length and ratio.

    constant: c of d = ⌈c·log₂ n⌉.  error: the requested error of the output, in units of range(V), in (0, 1).
    measured_to: the longest n whose time is measured.  heads: heads of models to be shown.  Raises ``ValueError`` for
    bad arguments, and :class:`Interrupted` where the user ends it.
    """
    if not (lengths and all(n >= 2 for n in lengths)):
        raise ValueError(f"lengths {list(lengths)!r}: expected numbers from 2 on")
    if not (ratios and all(0 < r < math.inf for r in ratios)):
        raise ValueError(f"ratios {list(ratios)!r}: expected numbers above 0")
    if not 0 < constant < math.inf:
        raise ValueError(f"constant {constant!r}: expected a number above 0")
    if not 0 < error < 1:
        raise ValueError(f"error {error!r}: expected a number between 0 and 1")
    if measured_to < 2:
        raise ValueError(f"measured_to {measured_to!r}: expected at least 2")
    cells: list[Cell] = []
    try:
        cells.extend(_cells(sorted(set(lengths)), sorted(set(ratios)), constant, error, _Clock(measured_to)))
    except KeyboardInterrupt:
        found = Diagram(constant, error, tuple(cells), tuple(heads), interrupted=True)
        raise Interrupted(found, len(set(lengths)) * len(set(ratios))) from None
    return Diagram(constant, error, tuple(cells), tuple(heads))


def _cells(
    lengths: Sequence[int], ratios: Sequence[float], constant: float, error: float, clock: _Clock
) -> Iterator[Cell]:
    """The cells of a diagram, one after the other."""
    for n in lengths:
        d = math.ceil(constant * math.log2(n))
        exact, exact_measured = clock.exact(n, d)
        for ratio in ratios:
            bound = ratio * math.sqrt(math.log(n))
            degree, rank, reached, reason = polynomial(n, d, bound * bound, error)
            route = _Polynomial(None, False, None, reason)
            if rank is not None and not reason:
                route = clock.polynomial(n, d, rank, bound, error)
            yield Cell(
                n,
                d,
                ratio,
                bound,
                bound * bound,
                degree,
                rank,
                reached,
                route.certified,
                route.reason,
                exact,
                exact_measured,
                route.seconds,
                route.measured,
            )


def polynomial(n: int, d: int, radius: float, error: float) -> tuple[int | None, int | None, float | None, str]:
    """Degree, rank, certified error of the output in units of range(V), and the reason for taking no polynomial.

    The reason is empty if the rank is below n.  ATT-2 turns the error of the output into one of the weights and back.
    """
    relative = weight_error(error) * (1 - _SLACK)
    proved = _no_polynomial(n, d, radius, relative)
    if radius > _SEARCHED:
        return None, None, None, proved or f"scores up to {radius:.3g}: no degree searched above {_SEARCHED:g}"
    try:
        found = exp_of_least_degree(radius, relative)
    except Infeasible as reason:
        return None, None, None, proved or str(reason)
    reached = output_error(found.error) * (1 + _SLACK)
    rank = features.rank(d, found.degree)
    if rank >= n and not proved:
        proved = f"rank {rank} is not below n"
    return found.degree, rank, reached, proved


def _no_polynomial(n: int, d: int, radius: float, relative: float) -> str:
    """A sentence if every real polynomial of a rank below n errs more than that (ATT-6, APX-2); otherwise empty."""
    affordable = 0
    while affordable <= _MOST_DEGREE and features.rank(d, affordable + 1) < n:
        affordable += 1
    if affordable > _MOST_DEGREE:
        return ""
    part = min(radius, _ENOUGH)  # a polynomial that errs there errs on the whole interval
    if exp_of_degree(part, affordable).best <= relative:
        return ""
    return f"every polynomial of a rank below n, degree ≤ {affordable}, errs more"


def heads_of(model: str, bounds: Sequence[HeadBounds]) -> tuple[Head, ...]:
    """The heads of a model, in the form that a diagram shows."""
    return tuple(Head(model, each) for each in bounds)


@dataclass(frozen=True)
class _Polynomial:
    """The time of the polynomial route, ``None`` where it refuses, and the certificate where it ran."""

    seconds: float | None
    measured: bool
    certified: float | None
    reason: str


class _Clock:
    """A clock that times each configuration once on this machine; times are in seconds."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.known: dict[tuple[object, ...], float] = {}
        self.rate: dict[tuple[int, int], float] = {}  # (n, d) → seconds for each row and feature

    def exact(self, n: int, d: int) -> tuple[float, bool]:
        """The time of the exact kernel on one thread, and whether it was measured or taken to grow as n²."""
        taken = min(n, self.longest)
        query, key, value = _uniform(taken, d)
        seconds = self._timed(("exact", taken, d), lambda: cpu.attention.exact(query, key, value, 1 / d, threads=1))
        return seconds * (n / taken) ** 2, taken == n

    def polynomial(self, n: int, d: int, rank: int, bound: float, error: float) -> _Polynomial:
        """The time of ``cpu.attention.approximate`` on entries ±B; beyond the longest measured length it grows as n.

        Where a run would take longer than a moment, its time is extrapolated in proportion to the rank from the largest
        rank that was measured, or it is what :meth:`_block` predicts.
        """
        taken = min(n, self.longest)
        if self._block(taken, d, rank) > _MOMENT:
            return _Polynomial(
                n * rank * self.rate.get((taken, d), self._block(1, d, _FEATURES) / _FEATURES), False, None, ""
            )
        # for every query a d-th of the keys lies at either end of the range, so no moment of the scores is small
        draw = np.random.default_rng(0)
        corners = draw.choice([-bound, bound], (d, d)).astype(np.float32)
        query, key = (
            corners[draw.integers(d, size=taken)][None, None] * draw.choice([-1, 1], (taken, 1)).astype(np.float32)
            for _ in range(2)
        )
        value = draw.uniform(-1, 1, (1, 1, taken, d)).astype(np.float32)
        spread = value.max(axis=2) - value.min(axis=2)

        def run() -> Certified:
            return cpu.attention.approximate(
                query, key, value, error * float(spread.min()), 1 / d, fallback="raise", threads=1
            )

        try:
            certified = float((run().error[:, :, 0] / spread).max())
        except Infeasible as reason:
            return _Polynomial(None, False, None, str(reason))
        seconds = self._timed(("polynomial", taken, d, bound), run)
        self.rate[taken, d] = seconds / (taken * rank)
        if taken == n:
            return _Polynomial(seconds, True, certified, "")
        return _Polynomial(seconds * (n / taken), False, None, "")

    def _block(self, n: int, d: int, rank: int) -> float:
        """The time predicted from the work that no polynomial route avoids, on a block of rows and features in cache.

        That work is one multiplication for each feature and row, for Q and for K, and the products Φ(K)ᵀ(V, 1) and
        Φ(Q)(Φ(K)ᵀ(V, 1)).
        """
        width = min(rank, _FEATURES)
        first, second, products = (np.ones((_ROWS, width), np.float32) for _ in range(3))
        values = np.ones((_ROWS, d + 1), np.float32)

        def block() -> NDArray[np.float32]:
            np.multiply(first, second, out=products)
            total = products.T @ values
            np.multiply(first, second, out=products)
            result: NDArray[np.float32] = products @ total
            return result

        return self._timed(("block", width, d), block) * (rank / width) * (n / _ROWS)

    def _timed(self, what: tuple[object, ...], run: Callable[[], Any]) -> float:
        if what not in self.known:
            run()  # the first run compiles and fills caches
            rounds: list[float] = []
            while len(rounds) < _ROUNDS or sum(rounds) < _SECONDS:
                start = time.perf_counter()
                run()
                rounds.append(time.perf_counter() - start)
            self.known[what] = statistics.median(rounds)
        return self.known[what]


def _uniform(n: int, d: int) -> tuple[NDArray[np.float32], ...]:
    draw = np.random.default_rng(0)
    return tuple(draw.uniform(-1, 1, (1, 1, n, d)).astype(np.float32) for _ in range(3))
