"""A spectral inequality between two graphs shown but for a small probability, for many points (KG-15).

A Chebyshev polynomial that is small on the claimed interval is applied to a random vector: an eigenvalue outside would
make it grow beyond what is seen, unless the vector happened to be nearly orthogonal to the eigenvector.  The solves
inside carry proved energy errors (KG-16), which enter the decision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph.graphs import SparseGraph, adjacency, from_edges, of_points
from assay.impl.cpu.kernel_graph.overflow import unwarned
from assay.impl.cpu.kernel_graph.pairs import drawn_through
from assay.impl.cpu.kernel_graph.solve import Solver
from assay.impl.cpu.kernel_graph.sparsify import Sparsifier, matched
from assay.impl.cpu.progress import told as shown
from assay.spec.problem import InvalidInstance
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.graphs import PointGraph

    Array = NDArray[np.float64]
    Told = Callable[[int, int], None]

__all__ = ["Verdict", "probable", "probe"]

_UNIT = 2.0**-53
_BEYOND = 0.15  # η: how much wider than the interval that the polynomial is made for the claim is
_SMALL = 1e-4  # t: a coefficient of the random vector below it is what the claim may fail by
_MOST = 200  # steps of a polynomial
_DRAWS = 6


@dataclass(frozen=True)
class Verdict:
    """Whether the claim was accepted, and a bound of the probability, over the coins, with which a false one is."""

    accepted: bool
    probability: float
    steps: int


@unwarned
def probe(
    points: Any, approximation: Any, *, function: Any = "gaussian", parameter: float = 1.0, error: float, seed: int = 0,
    probes: int = 2, progress: bool | Told = False,
) -> Verdict:  # fmt: skip
    """Test the claim that x'L_Hx is within (1 ± error)·x'L_Gx for all x, G the kernel graph of points (n, d).

    approximation: H, a symmetric matrix of weights (n, n).  seed: of the coins, which must be chosen after H.  probes:
    independent ones, all of which must accept; a false claim passes each with probability 2·10^-4/√π at most.

    Raises InvalidInstance for wrong arguments.
    """
    if not 0 < error < 1:
        raise InvalidInstance(f"error: {error!r}, expected a number between 0 and 1")
    graph = of_points(points, function, parameter)
    other = adjacency(approximation, "approximation")
    if other.n != graph.n:
        raise InvalidInstance(f"approximation: {other.n} nodes, expected {graph.n}")
    solver = Solver.of(graph)
    with shown(progress, "probing") as told:
        return _probed(solver, other, error, np.random.default_rng([seed, 1]), probes, told)


def probable(graph: PointGraph, error: float, seed: int, progress: bool | Told) -> Sparsifier:
    """A sparsifier of a large graph: drawn through well-separated pairs, shown by two probes, or drawn again."""
    solver = Solver.of(graph)
    n = graph.n
    rng = np.random.default_rng([seed, 0])
    degree = 1.3 * (2.1 * (1 + _BEYOND)) ** 2 / error / error
    with shown(progress, "probing") as told:
        for attempt in range(1, _DRAWS + 1):
            left, right, weight = drawn_through(graph, solver.degrees, degree, rng)
            weight = matched(n, left, right, weight, solver.degrees)
            other = SparseGraph(from_edges(n, left, right, weight), n)
            found = _probed(solver, other, error, np.random.default_rng([seed, attempt]), 2, told)
            if found.accepted:
                return Sparsifier(
                    other.matrix, 1.0 - error, 1.0 + error, "probable", min(1.0, attempt * found.probability), attempt,
                    f"{len(weight)} edges, mean degree {2 * len(weight) / n:.4g}, {attempt} drawn; two probes of"
                    f" {found.steps} solves accepted",
                )  # fmt: skip
            degree *= 1.3
    raise InvalidInstance(f"error: {error!r} could not be shown in {_DRAWS} draws, expected a larger one")


def _probed(
    solver: Solver, other: SparseGraph, error: float, rng: np.random.Generator, probes: int, told: Told
) -> Verdict:
    steps = 0
    for _ in range(probes):
        accepted, count = _accepts(solver, other, error, rng, told)
        steps += count
        if not accepted:
            return Verdict(False, 0.0, steps)
    return Verdict(True, (2.0 * _SMALL / math.sqrt(math.pi)) ** probes, steps)


def _accepts(
    solver: Solver, other: SparseGraph, error: float, rng: np.random.Generator, told: Told
) -> tuple[bool, int]:
    """One probe: whether ‖T_k((L_G⁺L_H − 1)/r)·x₀‖ stays below t·T_k(1 + η) for some k, and the number of solves."""
    n = solver.graph.n
    r = error / (1.0 + _BEYOND)
    growth = math.acosh(1.0 + _BEYOND)
    bound_degrees = solver.degree_bound()
    if not np.isfinite(bound_degrees).all():
        return False, 0
    tolerance = _SMALL * growth * growth / (40.0 * math.sqrt(n))
    start = np.sqrt(bound_degrees) * rng.standard_normal(n)
    start -= start.mean()
    before = np.zeros(n)
    here, here_error, _ = solver.energy(start, np.abs(start) * 4 * _UNIT, tolerance)
    errors = [here_error]
    smallest = math.inf
    width = int(np.diff(other.matrix.indptr).max(initial=0))
    degrees = other.degrees()
    for k in range(1, _MOST):
        sizes = np.abs(here)
        product = degrees * here - other.matrix @ here
        doubt = float(gamma(2 * width + 8, _UNIT)) * (degrees * sizes + other.matrix @ sizes)
        solved, solve_error, _ = solver.energy(product, doubt, tolerance, start=here)
        first = 1.0 if k == 1 else 2.0
        following = (first / r) * (solved - here) - (before if k > 1 else 0.0)
        terms = (first / r) * (np.abs(solved) + sizes) + np.abs(before)
        rounding = math.sqrt(2.0 * float((bound_degrees * (8 * _UNIT * terms) ** 2).sum())) * (1 + 2.0**-20)
        errors.append((first / r) * solve_error + rounding)
        before, here = here, following
        norm = solver.norm(here)
        allowed = _SMALL * math.cosh(k * growth) * (1 - 2.0**-30)
        # |ξ| ≤ (‖x_k‖ + Σ_j U_{k−j}·ρ_j)/T_k, and ρ_0 enters through T_k itself
        late = sum(math.sinh((k - j + 1) * growth) / math.sinh(growth) * errors[j] for j in range(1, k + 1))
        whole = (norm + late) * (1 + 2.0**-30) + errors[0] * math.cosh(k * growth)
        told(min(k, 99), 100)
        if whole <= allowed:
            return True, k + 1
        share = norm / math.cosh(k * growth)
        smallest = min(smallest, share)
        if share > 4.0 * smallest or not math.isfinite(whole) or (errors[0] >= _SMALL):
            return False, k + 1  # it grows faster than any eigenvalue inside the claim makes it
    return False, _MOST
