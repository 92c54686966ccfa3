"""Effective resistances of a kernel graph, each between two proved bounds: by potentials and by flows (KG-16)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph.graphs import of_points
from assay.impl.cpu.kernel_graph.overflow import unwarned
from assay.impl.cpu.kernel_graph.solve import Solver
from assay.impl.cpu.progress import told as shown
from assay.spec.kernel_graph.connected import require_connected
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Told = Callable[[int, int], None]

__all__ = ["Resistances", "effective_resistance"]


@dataclass(frozen=True, eq=False)
class Resistances:
    """lower ≤ R ≤ upper for every pair, (pairs,) float64 each, proved."""

    lower: Array
    upper: Array

    @property
    def value(self) -> Array:
        """The middle of the two bounds."""
        middle: Array = (self.lower + self.upper) / 2
        return middle


@unwarned
def effective_resistance(
    points: Any, pairs: Any, *, function: Any = "gaussian", parameter: float = 1.0, tolerance: float = 1e-8,
    progress: bool | Told = False,
) -> Resistances:  # fmt: skip
    """Bounds of the effective resistances (e_i − e_j)'L⁺(e_i − e_j) between the two points of each pair.

    points (n, d), function and parameter as of every kernel graph; pairs (m, 2) integers.  tolerance: of the energy
    error of the solves, one for each pair; the bounds are about that share apart where the precision allows it.  A
    point has the resistance 0 to itself.

    Raises InvalidInstance for wrong arguments and for a graph that falls apart in float64.
    """
    graph = of_points(points, function, parameter)
    ends = np.asarray(pairs)
    if ends.ndim != 2 or ends.shape[1] != 2 or ends.dtype.kind not in "iu":
        raise InvalidInstance(f"pairs: {ends.dtype} of shape {ends.shape}, expected integers of shape (m, 2)")
    if ends.size and not (ends.min() >= 0 and ends.max() < graph.n):
        raise InvalidInstance(f"pairs: a number outside 0 to {graph.n - 1}")
    if not 0 < tolerance < 1:
        raise InvalidInstance(f"tolerance: {tolerance!r}, expected a number between 0 and 1")
    require_connected(graph.function, graph.points)
    lower, upper = np.zeros(len(ends)), np.zeros(len(ends))
    solver = Solver.of(graph)
    with shown(progress, "resistances") as told:
        for k, (i, j) in enumerate(ends.tolist()):
            if i != j:
                b = np.zeros(graph.n)
                b[i], b[j] = 1.0, -1.0
                _, error, (least, most) = solver.energy(b, np.zeros(graph.n), tolerance)
                # |L⁺b|_L² = R, and |x|_L lies within the error of |L⁺b|_L
                lower[k] = max(least - error, 0.0) ** 2 * (1 - 2.0**-50)
                upper[k] = (most + error) ** 2 * (1 + 2.0**-50)
            told(k + 1, len(ends))
    return Resistances(lower, upper)
