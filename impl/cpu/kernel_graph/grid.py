"""Gaussian sums by one grid, without a Fourier transform, and with a proof of two lines (KG-8).

    h^d (4λ/π)^(d/2) Σ_t e^(−2λ|x−t|²) e^(−2λ|t−y|²) = e^(−λ|x−y|²) Π_c (1 + 2Σ_m q^(m²) cos(πm(x_c + y_c)/h))

over all nodes t of hℤ^d, with q = e^(−π²/(4λh²)).  Vectors are spread to the nodes near their points, and sums are read
off the nodes near the targets.  All terms are positive.  So the weights that are computed are those of Gaussians up to
a small relative error above, and below up to a small relative and a small absolute one.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import flint
import numpy as np

from assay.impl.cpu.kernel_graph import grid_kernels
from assay.impl.cpu.kernel_graph.nodes import nodes, number, require_reach, short
from assay.impl.cpu.kernel_graph.sums import SLACK, gamma
from assay.impl.cpu.threads import Borrowed
from assay.spec import flint_context
from assay.spec.approximation import Infeasible

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.nodes import Nodes

    Array = NDArray[np.float64]
    Numbers = NDArray[np.int64]

__all__ = ["MOST_DIMENSION", "Design", "Gaussian", "designed", "gaussian"]

MOST_DIMENSION = 3
_MOST_WIDTH = 64


@dataclass(frozen=True, eq=False)
class Design:
    """The grid for one λ, dimension and accuracy.

    Weights w̃ in exact arithmetic are in [(1 − above)·w − below, (1 + above)·w].  rounding: of one product of factors on
    both sides, in units roundoff.
    """

    decay: float
    dimension: int
    step: float
    width: int
    above: float
    below: float
    table: Array
    scale: float
    rounding: float

    @property
    def centre(self) -> int:
        return (self.width - 1) // 2

    @property
    def padded(self) -> int:
        return len(self.table)


@functools.lru_cache(maxsize=256)
def designed(decay: float, dimension: int, above: float, below: float) -> Design:
    """The coarsest grid whose aliasing is at most ``above`` and whose truncation is at most ``below`` (KG-8).

    Raises :class:`~assay.spec.approximation.Infeasible` where no grid of feasible width is.
    """
    above, below = min(above, 0.5), min(below, 0.5)
    # (1 + 2q/(1 − q³))^d − 1 ≤ above; a hair less, for the step is rounded down
    each = math.expm1(math.log1p(above) / dimension) * (1.0 - 1e-6)
    q = each / (2.0 + each)
    step = short(math.pi / math.sqrt(-4.0 * decay * math.log(q)))
    if not 0.0 < step < math.inf:
        raise Infeasible(f"a Gaussian of decay {decay:g} has no grid in float64")
    found = _aliasing(decay, step, dimension)
    for width in range(2, _MOST_WIDTH + 1):
        lost = _truncation(decay, step, dimension, width)
        if lost <= below:
            break
    else:
        raise Infeasible(f"a grid to within {below:g} has more than {_MOST_WIDTH} nodes an axis")
    centre = (width - 1) // 2
    with flint_context.bits(128):
        exponent = -2 * flint.arb(decay) * flint.arb(step) ** 2
        near = [float((exponent * (node - centre) ** 2).exp()) for node in range(width)]
        scale = float((flint.arb(step) * (4 * flint.arb(decay) / flint.arb.pi()).sqrt()) ** dimension)
    table = np.array(near + [0.0] * (-width % 8))
    g = 2.0 * decay * step * step
    factor = 32.0 + 9.0 * g * (1.0 + width) + width * (9.0 + 6.0 * g)
    return Design(decay, dimension, step, width, found, lost, table, scale, 2.0 * dimension * factor)


def _aliasing(decay: float, step: float, dimension: int) -> float:
    q = math.exp(-math.pi * math.pi / (4.0 * decay * step * step)) * SLACK
    return math.expm1(dimension * math.log1p(2.0 * q / (1.0 - q**3))) * SLACK


def _truncation(decay: float, step: float, dimension: int, width: int) -> float:
    """d(1 + α)·2√2(1 + 2q)·e^(−2λr²), r the least distance of a node that is left out."""
    q = math.exp(-math.pi * math.pi / (4.0 * decay * step * step)) * SLACK
    reach = (width / 2.0 - 2.0**-18) * step
    others = 1.0 + _aliasing(decay, step, dimension)
    lost = 2.0 * math.sqrt(2.0) * (1.0 + 2.0 * q) * math.exp(-2.0 * decay * reach * reach)
    return dimension * others * lost * SLACK


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Sums Σ_j e^(−λ|x_i−y_j|²)v_j for fixed points, as often as wanted.

    relative, floor: weights are in [(1 − relative)w − floor, (1 + relative)w].  rounding: what arithmetic adds,
    relative to Σ_j w̃_ij|v_j|.
    """

    design: Design
    nodes: Nodes
    graph: bool
    relative: float
    floor: float
    rounding: float
    workers: int

    @property
    def words(self) -> str:
        return f"grid of {self.nodes.words} nodes, {self.design.width} an axis for a point"

    def doubt(self, sizes: Array) -> Array | float:
        """What subtracting a point's own vector rounds."""
        return 2.0 * self.rounding * (1.0 + self.relative) * sizes if self.graph else 0.0

    def apply(self, vectors: Array) -> Array:
        """(n, columns) → (m, columns); for the graph, without j = i."""
        out = np.empty((len(self.nodes.targets.order), vectors.shape[1]))
        with Borrowed(self.workers) as pool:
            for c in range(vectors.shape[1]):
                out[:, c] = self._column(np.array(vectors[:, c]), pool)
        return out

    def _column(self, vector: Array, pool: Borrowed) -> Array:
        design, table, width, strides = self.design, self.design.table, self.design.width, self.nodes.strides
        source, target = self.nodes.sources, self.nodes.targets
        spread, gather = grid_kernels.spread(), grid_kernels.gather()
        grid = self.nodes.spread(
            lambda low, begin, end, here: spread(
                source.place, *source.factors, source.order, vector, table, width, strides, low, begin, end, here
            ),
            pool,
        )
        grid *= design.scale
        out, own = np.empty(len(target.order)), np.empty(len(target.order))
        self.nodes.gather(
            lambda begin, end: gather(
                target.place, *target.factors, target.order, table, width, strides, begin, end, grid, out, own
            ),
            self.workers,
        )
        if self.graph:
            own *= design.scale
            own *= vector
            out -= own
        return out


def gaussian(
    points: Array, targets: Array | None, box: tuple[Array, Array], decay: float, above: float, below: float,
    memory: int, workers: int,
) -> Gaussian:  # fmt: skip
    """The plan for points (n, d) and targets (m, d) in a box, or for the graph of the points; d ≤ 3.

    Weights are in [(1 − above)w − below, (1 + above)w] in exact arithmetic.  Raises
    :class:`~assay.spec.approximation.Infeasible` where the grid needs more than ``memory`` bytes, or points are too far
    from the origin.
    """
    d = points.shape[1]
    if not 1 <= d <= MOST_DIMENSION:
        raise Infeasible(f"a grid has at most {MOST_DIMENSION} dimensions, not {d}")
    design = designed(decay, d, above, below)
    step, width, padded = design.step, design.width, design.padded
    require_reach(box, step, width)
    count = number(box, step, width)
    if 8.0 * count * 2.5 > memory:
        raise Infeasible(f"the grid has {count:.2g} nodes, and {memory / 2**20:.0f} MiB are allowed")
    kernel = grid_kernels.factors()

    def factored(
        x: Array, order: Numbers, first: Numbers, low: Numbers, place: Numbers
    ) -> tuple[tuple[Array, ...], Callable[[int, int], None]]:
        starts, ratios = np.empty(first.shape), np.empty(first.shape)

        def fill(begin: int, end: int) -> None:
            kernel(x, order, first, low, step, 2.0 * decay, design.centre, begin, end, place, starts, ratios)

        return (starts, ratios), fill

    every = (points,) if targets is None else (points, targets)
    found = nodes(every, step, width, padded, factored, workers)
    roundings = found.roundings + width ** (d - 1) + padded + 4 * d + 16 + design.rounding
    return Gaussian(design, found, targets is None, design.above, design.below, gamma(roundings), workers)
