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
from assay.impl.cpu.kernel_graph.problem import ends
from assay.impl.cpu.kernel_graph.sums import SLACK, gamma
from assay.impl.cpu.threads import Borrowed, share
from assay.spec import flint_context
from assay.spec.approximation import Infeasible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Numbers = NDArray[np.int64]

__all__ = [
    "MOST_DIMENSION", "REACH", "Design", "Gaussian", "designed", "first_nodes", "gaussian", "ordered", "short",
    "slices_of",
]  # fmt: skip

MOST_DIMENSION = 3
REACH = 2.0**33  # nodes are numbered below this, so that their coordinates are exact
_MOST_WIDTH = 64
_LEAST_SLICE = 8192  # points of a slice, which one thread spreads
_SLICES = 16
_FLAT = 2048  # terms that are added up in one go, at least
_BITS = 20  # of the step


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


def short(x: float) -> float:
    """x rounded down to 20 bits, so that its products with whole numbers below 2^33 are exact."""
    mantissa, exponent = math.frexp(x)
    return math.ldexp(math.floor(math.ldexp(mantissa, _BITS)), exponent - _BITS)


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
class _Placed:
    """Points on a grid, in their order by blocks: the first node of each, less the least, and its factors."""

    order: Numbers
    place: Numbers
    starts: Array
    ratios: Array


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Sums Σ_j e^(−λ|x_i−y_j|²)v_j for fixed points, as often as wanted.

    relative, floor: weights are in [(1 − relative)w − floor, (1 + relative)w].  rounding: what arithmetic adds,
    relative to Σ_j w̃_ij|v_j|.
    """

    design: Design
    sources: _Placed
    targets: _Placed
    extents: Numbers
    strides: Numbers
    slices: tuple[tuple[int, int, int, int, int], ...]
    graph: bool
    relative: float
    floor: float
    rounding: float
    workers: int

    @property
    def words(self) -> str:
        design = self.design
        return f"grid of {' x '.join(map(str, self.extents))} nodes, {design.width} an axis for a point"

    def doubt(self, sizes: Array) -> Array | float:
        """What subtracting a point's own vector rounds."""
        return 2.0 * self.rounding * (1.0 + self.relative) * sizes if self.graph else 0.0

    def apply(self, vectors: Array) -> Array:
        """(n, columns) → (m, columns); for the graph, without j = i."""
        out = np.empty((self.targets.place.shape[1], vectors.shape[1]))
        with Borrowed(self.workers) as pool:
            for c in range(vectors.shape[1]):
                out[:, c] = self._column(np.array(vectors[:, c]), pool)
        return out

    def _column(self, vector: Array, pool: Borrowed) -> Array:
        design, width = self.design, self.design.width
        grid = np.zeros(int(self.extents[0]) * int(self.strides[0]))
        stride = int(self.strides[0])
        kernel, source = grid_kernels.spread(), self.sources

        def spread(piece: tuple[int, int, int, int, int]) -> Array:
            begin, end, low, high, flat = piece
            nodes = np.zeros((high - low) * stride)
            total = nodes if end - begin <= flat else np.zeros_like(nodes)
            for first in range(begin, end, flat):
                kernel(
                    source.place, source.starts, source.ratios, source.order, vector, design.table, width, self.strides,
                    low, first, min(first + flat, end), nodes,
                )  # fmt: skip
                if total is not nodes:
                    total += nodes
                    nodes[:] = 0.0
            return total

        for piece, nodes in zip(self.slices, pool.map(spread, self.slices), strict=True):
            grid[piece[2] * stride : piece[3] * stride] += nodes
        grid *= design.scale
        target = self.targets
        count = target.place.shape[1]
        out, own = np.empty(count), np.empty(count)
        read = grid_kernels.gather()
        size = max(1024, -(-count // (4 * self.workers)))

        def gather(first: int) -> None:
            read(
                target.place, target.starts, target.ratios, target.order, design.table, width, self.strides, first,
                min(first + size, count), grid, out, own,
            )  # fmt: skip

        share(gather, range(0, count, size), self.workers)
        if self.graph:
            own *= design.scale
            own *= vector
            out -= own
        return out


def gaussian(
    points: Array, targets: Array | None, decay: float, above: float, below: float, memory: int, workers: int
) -> Gaussian:
    """The plan for points (n, d) and targets (m, d), or for the graph of the points; d ≤ 3.

    Weights are in [(1 − above)w − below, (1 + above)w] in exact arithmetic.  Raises
    :class:`~assay.spec.approximation.Infeasible` where the grid needs more than ``memory`` bytes, or points are too far
    from the origin.
    """
    d = points.shape[1]
    if not 1 <= d <= MOST_DIMENSION:
        raise Infeasible(f"a grid has at most {MOST_DIMENSION} dimensions, not {d}")
    design = designed(decay, d, above, below)
    goals = points if targets is None else targets
    low, high = ends(points)
    if targets is not None and len(targets):
        others = ends(targets)
        low, high = np.minimum(low, others[0]), np.maximum(high, others[1])
    box = low, high
    largest = float(np.abs(box).max())
    if not largest / design.step + design.width + 1.0 < REACH:
        raise Infeasible(
            f"points are {largest:.2g} away from the origin, {largest / design.step:.2g} steps of the grid"
        )
    nodes = np.prod((box[1] - box[0]) / design.step + design.width + 9.0)
    if 8.0 * nodes * 2.5 > memory:
        raise Infeasible(f"the grid has {nodes:.2g} nodes, and {memory / 2**20:.0f} MiB are allowed")
    every = (points,) if targets is None else (points, goals)
    firsts = [first_nodes(each, design.step, design.width, workers) for each in every]
    low = np.min([first.min(axis=1) for first in firsts], axis=0)
    high = np.max([first.max(axis=1) for first in firsts], axis=0)
    extents = high - low + design.width
    extents[-1] += design.padded - design.width
    strides = np.ones(d, np.int64)
    for c in range(d - 2, -1, -1):
        strides[c] = strides[c + 1] * extents[c + 1]
    placed = [_placed(each, first, low, high, design, workers) for each, first in zip(every, firsts, strict=True)]
    slices = slices_of(placed[0].place[0], d, design.width, design.padded, int(strides[0]))
    flat = max(min(piece[4], piece[1] - piece[0]) for piece in slices)
    rounds = max(-(-(piece[1] - piece[0]) // piece[4]) for piece in slices)
    roundings = flat + rounds + len(slices) + design.width ** (d - 1) + design.padded + 4 * d + 16 + design.rounding
    return Gaussian(
        design, placed[0], placed[-1], extents, strides, slices, targets is None, design.above, design.below,
        gamma(roundings), workers,
    )  # fmt: skip


def first_nodes(points: Array, step: float, width: int, workers: int) -> Numbers:
    """(d, n): the number of the first of ``width`` nodes next to a point, in every axis, within 2^-19 steps."""
    n, d = points.shape
    first = np.empty((d, n), np.int64)
    kernel, points = grid_kernels.place(), np.ascontiguousarray(points)
    size = max(16384, -(-n // workers))
    share(lambda begin: kernel(points, step, width, begin, min(begin + size, n), first), range(0, n, size), workers)
    return first


def ordered(first: Numbers, low: Numbers, high: Numbers) -> Numbers:
    """The order of points by blocks of nodes, from the numbers of their first nodes."""
    n = first.shape[1]
    shift = 2
    sizes = ((high - low) >> shift) + 1
    while math.prod(map(int, sizes)) > 4 * n + 1024:
        shift += 1
        sizes = ((high - low) >> shift) + 1
    order = np.empty(n, np.int64)
    counts = np.zeros(math.prod(map(int, sizes)) + 1, np.int64)
    grid_kernels.sort()(first, low, shift, sizes, counts, np.empty(n, np.int64), order)
    return order


def _placed(points: Array, first: Numbers, low: Numbers, high: Numbers, design: Design, workers: int) -> _Placed:
    d, n = first.shape
    order = ordered(first, low, high)
    place, starts, ratios = np.empty((d, n), np.int64), np.empty((d, n)), np.empty((d, n))
    kernel, points = grid_kernels.factors(), np.ascontiguousarray(points)
    size = max(4096, -(-n // (2 * workers)))

    def task(begin: int) -> None:
        kernel(
            points, order, first, low, design.step, 2.0 * design.decay, design.centre, begin, min(begin + size, n),
            place, starts, ratios,
        )  # fmt: skip

    share(task, range(0, n, size), workers)
    return _Placed(order, place, starts, ratios)


def slices_of(
    first: Numbers, dimension: int, width: int, padded: int, stride: int
) -> tuple[tuple[int, int, int, int, int], ...]:
    """(first and last point, first and last node of the first axis, terms added up in one go) of every slice.

    first: of the points in their order, the first node of the first axis.
    """
    n = len(first)
    count = max(1, min(_SLICES, n // _LEAST_SLICE))
    wide = width if dimension > 1 else padded
    found = []
    for k in range(count):
        begin, end = k * n // count, (k + 1) * n // count
        rows = first[begin:end]
        low, high = int(rows.min()), int(rows.max()) + wide
        flat = max(_FLAT, 4 * (high - low) * stride // width**dimension)
        found.append((begin, end, low, high, flat))
    return tuple(found)
