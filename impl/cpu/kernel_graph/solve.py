"""Solves of Laplacian systems of kernel graphs whose energy error is proved, from above and from below.

Conjugate gradients on fast products, in rounds: each round solves for the residual of what is there, and that residual
is computed anew with a proved bound of its error.  The energy of the residual is bounded by flows and potentials
(KG-16), and no estimate decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph import cells as celled
from assay.impl.cpu.kernel_graph import preconditioners
from assay.impl.cpu.kernel_graph.flows import flows
from assay.impl.cpu.kernel_graph.graphs import PointGraph, of_points
from assay.impl.cpu.kernel_graph.multiply import multiply
from assay.impl.cpu.kernel_graph.overflow import unwarned
from assay.impl.cpu.progress import told as shown
from assay.spec.approximation import Infeasible
from assay.spec.kernel_graph.connected import require_connected
from assay.spec.kernel_graph_solve import Instance, require_solvable
from assay.spec.problem import InvalidInstance
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.cells import Cells
    from assay.impl.cpu.kernel_graph.flows import Flows

    Array = NDArray[np.float64]
    Told = Callable[[int, int], None]

__all__ = ["NOT_CERTIFIED", "Solution", "Solver", "solve", "solver"]

NOT_CERTIFIED = "not certified at this precision"

_UNIT = 2.0**-53
_ROUNDS = 12
_INNER = 1e-8  # what a product inside a round may err, relative to degrees and entries
_OUTER = (1e-12, 1e-14, 0.0)  # what the product of a proof may err, from one try to the next; 0: by differences
_SMALL, _LARGE = 4_000, 120_000  # points up to which products of proofs are differences at once, and in the end
_GAIN = 1e-5  # by how much a round lowers its residual
_SHARPENING = 6  # iterations after the last round, which bring the two bounds together


@dataclass(frozen=True, eq=False)
class Solution:
    """x with least ≤ |x − L⁺b|_L / |L⁺b|_L ≤ error, both sides proved, and x free up to a constant.

    status: ``certified`` where ``error`` is at most the requested tolerance, else ``not certified at this precision``.
    iterations: of conjugate gradients, all rounds together; each is one product.  products: those of proofs included.
    """

    value: Array
    error: float
    least: float
    status: str
    iterations: int
    products: int
    preconditioner: str
    route: str

    @property
    def certified(self) -> bool:
        """Whether the error is proved to be at most the tolerance."""
        return self.status == "certified"


@unwarned
def solve(
    points: Any, right_side: Any, *, function: Any = "gaussian", parameter: float = 1.0, tolerance: float = 1e-8,
    preconditioner: str | None = None, most: int = 600, progress: bool | Told = False,
) -> Solution:  # fmt: skip
    """x with |x − L⁺b|_L ≤ tolerance·|L⁺b|_L for the Laplacian L of a kernel graph, proved, or said not to be.

    points (n, d) and right_side (n,), b, of one type, and function and parameter, as of
    :class:`assay.spec.kernel_graph_solve.Instance`, which refuses b whose sum is not exactly 0 and graphs that fall
    apart in float64.  preconditioner: one of ``preconditioners.NAMES``; None chooses, and ``route`` says why.  most:
    the most iterations.  progress: True shows a bar, and a function is called with (done, total), in hundredths of the
    digits.

    The value is float64.  The memory is that of the products and of the graph of the cells, at most 6,000² numbers.
    Raises InvalidInstance.
    """
    instance = Instance(
        np.asarray(points), np.asarray(right_side), function=function, parameter=parameter, tolerance=tolerance
    )
    with shown(progress, "solving") as told:
        solver = Solver.of(of_points(instance.points, function, parameter), preconditioner)
        b = instance.right_side.astype(np.float64)
        return solver.solve(b, tolerance, most, told)


@unwarned
def solver(
    points: Any, *, function: Any = "gaussian", parameter: float = 1.0, preconditioner: str | None = None
) -> Solver:
    """What solves with one graph share, for several right sides: ``solver(points).solve(b, tolerance)``.

    Arguments as of :func:`solve`.  Raises InvalidInstance.
    """
    graph = of_points(points, function, parameter)
    require_connected(graph.function, graph.points)
    return Solver.of(graph, preconditioner)


@dataclass(frozen=True, eq=False)
class _Proof:
    """What is proved of a vector x: bounds of its error, of |x|_L and of |L⁺b|_L, and its residual with its doubt."""

    upper: float
    norm: tuple[float, float]
    residual: Array
    doubt: Array

    @property
    def target(self) -> tuple[float, float]:
        """Bounds of |L⁺b|_L."""
        return max(self.norm[0] - self.upper, 0.0), self.norm[1] + self.upper


@dataclass(frozen=True, eq=False)
class Solver:
    """Everything that solves with one graph share: degrees, cells, flows and the preconditioner."""

    graph: PointGraph
    degrees: Array
    cells: Cells
    flows: Flows
    precondition: Callable[[Array], Array]
    name: str
    why: str

    @staticmethod
    def of(graph: PointGraph, preconditioner: str | None = None) -> Solver:
        """The solver of a graph."""
        degrees = _degrees(graph)
        cells = celled.divided(graph.points, celled.number(graph))
        name, why = (preconditioner, "as asked") if preconditioner else preconditioners.chosen(graph, degrees)
        return Solver(
            graph, degrees, cells, flows(graph, cells), preconditioners.made(name, graph, degrees, cells), name, why
        )

    def product(self, x: Array, share: float) -> tuple[Array, Array]:
        """Lx and a bound of its error, (n,) each; asked for an error of ``share`` of the largest degree and entry."""
        wanted = share * float(self.degrees.max()) * float(np.abs(x).max(initial=0.0))
        if not wanted > 0:
            return np.zeros_like(x), np.zeros_like(x)
        while True:
            try:
                found = multiply(
                    self.graph.points, x[:, None], function=self.graph.name, parameter=self.graph.parameter,
                    laplacian=True, error=wanted,
                )  # fmt: skip
            except Infeasible:
                wanted *= 10.0
                if not math.isfinite(wanted):
                    return np.zeros_like(x), np.full_like(x, np.inf)
            else:
                return found.value[:, 0], np.broadcast_to(found.error, found.value.shape)[:, 0]

    def proved_product(self, x: Array, level: int) -> tuple[Array, Array, float]:
        """Lx, a bound of its error but for a flow, and that flow's share of the energy of x."""
        n = self.graph.n
        if n <= _SMALL or (_OUTER[level] == 0.0 and n <= _LARGE):
            return *self.graph.differences(x), self.graph.relative + 2.0**-51
        return *self.product(x, _OUTER[level] or 1e-15), 0.0

    def degree_bound(self) -> Array:
        """(n,): upper bounds of the degrees; infinite where there are none."""
        graph = self.graph
        if graph.n <= _SMALL:
            degrees = graph.degrees() * (1 + float(gamma(graph.n + 2, _UNIT)))
            return degrees * (1 + graph.relative) + graph.n * graph.absolute
        share = 1e-3 * float(self.degrees.min())
        try:
            found = multiply(
                graph.points, np.ones((graph.n, 1)), function=graph.name, parameter=graph.parameter, error=share
            )
        except Infeasible:
            return np.full(graph.n, np.inf)
        bound: Array = (found.value + found.error)[:, 0] * (1 + 2.0**-50)
        return bound

    def norm(self, x: Array) -> float:
        """An upper bound of |x|_L."""
        value, doubt, share = self.proved_product(x, 0)
        energy, unsure = float(x @ value), float(np.abs(x) @ doubt) * (1 + 2.0**-20)
        unsure += (len(x) + 4) * 1.1 * _UNIT * float(np.abs(x) @ np.abs(value))
        return _between(energy, unsure, share)[1]

    def energy(
        self, b: Array, unsure: Array, tolerance: float, start: Array | None = None
    ) -> tuple[Array, float, tuple[float, float]]:
        """x, a bound of |x − L⁺b|_L, and bounds of |x|_L, for every b with sum 0 that is within ``unsure`` of b.

        tolerance: of the error, relative to |L⁺b|_L; what is proved may be more.  start: an approximate solution.
        """
        power = self._power(b)
        unsure = np.ldexp(unsure, power) + (2.0**-1074 if power < 0 else 0.0)
        begun = None if start is None else np.ldexp(start, power)
        x, best, _, _, _ = self._rounds(np.ldexp(b, power), unsure, tolerance, 10_000, lambda done, total: None, begun)
        back = np.ldexp(x, -power)
        if not np.array_equal(np.ldexp(back, power), x):  # potentials that float64 does not hold
            return back, math.inf, (0.0, math.inf)
        least, most, upper = (float(np.ldexp(each, -power)) for each in (*best.norm, best.upper))
        return back, _up(upper) + 2.0**-1070, (_down(least), _up(most) + 2.0**-1070)

    def _power(self, b: Array) -> int:
        """k such that for 2^k·b no energy that counts underflows; one that overflows is only not certified (KG-16)."""
        largest = float(np.abs(b).max(initial=0.0))
        if largest == 0.0:
            return 0
        return max(0, math.frexp(float(self.degrees.max()))[1] // 2) - math.frexp(largest)[1]

    def proof(self, x: Array, b: Array, level: int, unsure: Array | float = 0.0) -> _Proof:
        """What is proved of x as a solution for b, or for any right side with sum 0 within ``unsure`` of it."""
        value, doubt, share = self.proved_product(x, level)
        residual = b - value
        doubt = doubt * (1 + 2.0**-40) + 2 * _UNIT * (np.abs(b) + np.abs(value)) + unsure
        upper = self.flows.bound(residual, doubt)
        rounding = (len(b) + 4) * 1.1 * _UNIT * float(np.abs(x) @ (np.abs(b) + np.abs(residual)))  # of the sums below
        energy = float(x @ b) - float(x @ residual)  # x'Lx
        unsure = float(np.abs(x) @ doubt) * (1 + 2.0**-20) + rounding
        least, most = _between(energy, unsure, share)
        return _Proof(upper + 1.01 * share * most, (least, most), residual, doubt)

    @unwarned
    def solve(self, b: Array, tolerance: float, most: int = 600, told: Told | None = None) -> Solution:
        """The solution for b (n,) float64, whose exact sum is 0; the other arguments are those of :func:`solve`.

        Raises InvalidInstance for a right side of another shape, sum or type, or that is 0, and for a wrong tolerance.
        """
        n = self.graph.n
        if not isinstance(b, np.ndarray) or b.shape != (n,) or b.dtype != np.float64 or not np.isfinite(b).all():
            raise InvalidInstance(f"right_side: expected {n} finite numbers of float64")
        require_solvable(b)
        if not 0 < tolerance < 1:
            raise InvalidInstance(f"tolerance: {tolerance!r}, expected a number between 0 and 1")
        told = told or (lambda done, total: None)
        power = self._power(b)
        b, lost = np.ldexp(b, power), 2.0**-1074 if power < 0 else 0.0
        x, best, iterations, products, level = self._rounds(b, lost, tolerance, most, told)
        upper, lower = best.upper, 0.0
        y, count = self.gradients(best.residual, 1e-2, _SHARPENING)
        iterations_after = count
        if count:
            value, doubt, share = self.proved_product(y, level)
            products += count + 1
            rest = best.residual - value
            doubts = best.doubt + doubt * (1 + 2.0**-40) + 2 * _UNIT * (np.abs(best.residual) + np.abs(value))
            left = self.flows.bound(rest, doubts)
            energy, unsure = float(y @ value), float(np.abs(y) @ doubt) * (1 + 2.0**-20)
            unsure += (n + 4) * 1.1 * _UNIT * float(np.abs(y) @ np.abs(value))
            low_y, high_y = _between(energy, unsure, share)
            left += 1.01 * share * (best.norm[1] + high_y)
            upper = min(upper, _up(high_y + left))
            lower = max(0.0, _down(low_y - left))
        low, high = max(best.norm[0] - upper, 0.0), best.norm[1] + upper
        error = _up(upper / low) if low > 0 and math.isfinite(upper) else math.inf
        least = _down(lower / high) if high > 0 and math.isfinite(high) else 0.0
        scaled, x = x, np.ldexp(x, -power)
        if not np.array_equal(np.ldexp(x, power), scaled):  # potentials that float64 does not hold
            error, least = math.inf, 0.0
        status = "certified" if error <= tolerance else NOT_CERTIFIED
        told(100, 100)
        return Solution(
            x, error, least, status, iterations, products, self.name,
            f"{iterations} iterations, {iterations_after} more for the bounds; {self.name}: {self.why}",
        )  # fmt: skip

    def _rounds(
        self, b: Array, unsure: Array | float, tolerance: float, most: int, told: Told, start: Array | None = None
    ) -> tuple[Array, _Proof, int, int, int]:
        """x, what is proved of it, the numbers of iterations and of products, and the level of the last product."""
        n = len(b)
        x = np.zeros(n) if start is None else start
        best = _Proof(math.inf, (0.0, 0.0), b, np.zeros(n))
        if start is not None:
            best = self.proof(x, b, 0, unsure)
        iterations = products = level = stalled = 0
        for _ in range(_ROUNDS):
            near = 0.0 < best.upper < math.inf
            target = 0.05 * tolerance * best.target[0] / best.upper if near else _GAIN
            seen = _seen(told, min(_ratio(best), 1.0), tolerance)
            step, count = self.gradients(best.residual, max(_GAIN, min(target, 0.1)), most - iterations, seen)
            iterations += count
            products += count + 1
            trial = x + step
            trial -= trial.mean()
            proof = self.proof(trial, b, level, unsure)
            if proof.upper < 0.5 * best.upper or not math.isfinite(best.upper):
                stalled = 0
            else:
                level, stalled = min(level + 1, len(_OUTER) - 1), stalled + 1
            if proof.upper <= best.upper:
                x, best = trial, proof
            ratio = _ratio(best)
            told(*_share(ratio, tolerance))
            if ratio <= tolerance or stalled >= len(_OUTER) or iterations >= most:
                break
        return x, best, iterations, products, level

    def gradients(
        self, residual: Array, wanted: float, most: int, seen: Callable[[float], None] = lambda left: None
    ) -> tuple[Array, int]:
        """A correction for a residual by conjugate gradients, and the number of iterations; no bound goes with it.

        seen: is called after every iteration with the share of the residual that is left, as its norm estimates it.
        """
        r = residual - residual.mean()
        x = np.zeros_like(r)
        z = self._flat(r)
        p = z
        measure = begun = float(r @ z)
        count = 0
        while count < most and measure > wanted * wanted * begun and math.isfinite(measure) and begun > 0:
            q, _ = self.product(p, _INNER)
            curvature = float(p @ q)
            if not curvature > 0:
                break
            step = measure / curvature
            x += step * p
            r -= step * (q - q.mean())
            z = self._flat(r)
            before, measure = measure, float(r @ z)
            if not measure > 0:
                break
            p = z + (measure / before) * p
            count += 1
            seen(math.sqrt(measure / begun))
        return x, count

    def _flat(self, residual: Array) -> Array:
        z = self.precondition(residual)
        flat: Array = z - z.mean()
        return flat


def _ratio(proof: _Proof) -> float:
    low = proof.target[0]
    return proof.upper / low if low > 0 and math.isfinite(proof.upper) else math.inf


def _share(ratio: float, tolerance: float) -> tuple[int, int]:
    """How many hundredths of the digits are there."""
    if not math.isfinite(ratio) or ratio >= 1:
        return 0, 100
    return min(100, int(100 * math.log(ratio) / math.log(tolerance))) if ratio > 0 else 100, 100


def _seen(told: Told, ratio: float, tolerance: float) -> Callable[[float], None]:
    """What tells how far a round has come that began at this ratio: 100 only a proof may tell."""
    return lambda left: told(min(_share(ratio * left, tolerance)[0], 99), 100)


def _between(energy: float, unsure: float, share: float) -> tuple[float, float]:
    """Bounds of |x|_L, where x'Lx is within ``unsure`` of ``energy`` but for a flow with a share of x's own energy."""
    least = math.sqrt(max(energy - unsure, 0.0)) / math.sqrt(1.0 + 1.01 * share)
    most = math.sqrt(max(energy + unsure, 0.0)) / math.sqrt(max(1.0 - 1.01 * share, 2.0**-1000))
    return _down(least), _up(most) if share < 0.5 else math.inf


def _up(value: float) -> float:
    return value * (1 + 2.0**-50)


def _down(value: float) -> float:
    return value * (1 - 2.0**-50)


def _degrees(graph: PointGraph) -> Array:
    """Degrees to two digits or better, for preconditioners and scales: not for proofs."""
    if graph.n <= 2000:
        return graph.degrees()
    ones = np.ones((graph.n, 1))
    error = 1e-3
    while True:
        found = multiply(graph.points, ones, function=graph.name, parameter=graph.parameter, error=error)
        least = float(found.value.min())
        if least > 10 * error or error < 1e-9:
            degrees: Array = np.maximum(found.value[:, 0], max(least, 1e-300) * 0.5)
            return degrees
        error /= 100.0
