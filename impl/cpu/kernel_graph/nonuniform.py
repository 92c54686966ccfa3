"""Gaussian sums by a window of compact support and the products of one small matrix an axis (KG-9).

On an extent D, e^(−λr²) is a cosine series of a period P > D up to a small error, and a window's sums over the nodes of
a grid are the waves of that series up to another.  So e^(−λ(x−y)²) is φ(x)ᵀCφ(y), with φ the few window values of a
point and C a Toeplitz matrix, and products over the axes give the Gaussian.  Weights err absolutely.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.impl.cpu.kernel_graph import nonuniform_kernels
from assay.impl.cpu.kernel_graph.nodes import nodes, number, require_reach, short
from assay.impl.cpu.kernel_graph.sums import SLACK, U, gamma
from assay.impl.cpu.kernel_graph.window import window
from assay.impl.cpu.threads import Borrowed
from assay.spec.approximation import Infeasible

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.nodes import Nodes
    from assay.impl.cpu.kernel_graph.window import Window

    Array = NDArray[np.float64]
    Numbers = NDArray[np.int64]

__all__ = ["Design", "Nonuniform", "cost", "designed", "gaussian"]

_MOST_EXTENT = 4096  # nodes an axis
_MOST_MODES = 8192
_MOST_WIDTH = 24
_OVERSAMPLING = (1.05, 1.1, 1.15, 1.25, 1.4, 1.6, 1.8, 2.1, 2.5, 3.0, 4.0)
_STEPS = 16  # an octave, to which extents are rounded up


@dataclass(frozen=True, eq=False)
class Design:
    """The grid for one λ, extent, dimension and accuracy.

    Weights are within ``error`` of the exact ones, with factors of points as they are rounded and C as it is.
    row: the first row of C.  amplified: at least Σ_ts φ_t(x)|C_ts|φ_s(y).
    """

    window: Window
    dimension: int
    step: float
    extent: int
    row: Array
    error: float
    amplified: float


def cost(design: Design, points: int) -> float:
    """Nanoseconds of one core for the sums of one column, points and targets counted together."""
    return _cost(design.window.width, design.extent, design.dimension, points)


def _cost(width: int, extent: int, dimension: int, points: int) -> float:
    eights = -(-width // 8)
    each = 30.0 + dimension * (5.0 + 0.5 * width * eights) + eights * width ** (dimension - 1)
    return float(each * points + 0.05 * dimension * float(extent) ** (dimension + 1) + 10.0 * float(extent) ** 2)


def designed(decay: float, span: float, dimension: int, allowed: float, points: int) -> Design:
    """A cheap grid for distances up to ``span`` in every axis, whose weights err by at most ``allowed``.

    points: how many there are, targets counted too, in powers of four.  Raises
    :class:`~assay.spec.approximation.Infeasible`.
    """
    up = 2.0 ** (math.ceil(math.log2(max(span, 1e-300)) * _STEPS) / _STEPS) * (1.0 + 1e-12)
    low = 2.0 ** (math.floor(math.log2(min(allowed, 0.5)) * 4.0) / 4.0)
    return _designed(decay, up, dimension, low, 4 ** round(math.log(max(points, 1), 4)))


@functools.lru_cache(maxsize=256)
def _designed(decay: float, span: float, dimension: int, allowed: float, points: int) -> Design:
    each = math.expm1(math.log1p(allowed) / dimension) * (1.0 - 1e-9)
    rest = math.log(64.0 / each)
    period = span + math.sqrt(rest / decay)
    waves = period * math.sqrt(decay * rest) / math.pi
    if not 0.0 < waves <= _MOST_MODES:
        raise Infeasible(f"{waves:.3g} waves, more than {_MOST_MODES}")
    modes = math.ceil(waves)
    wanted = math.log(1.0 / each) + 6.3  # about the β that is needed
    least = max(4, math.ceil(wanted / (0.98 * math.pi)))
    offers = []
    for width in range(least, least + 5):
        part = min(49, math.ceil(50.0 * wanted / (math.pi * width)))
        for over in _OVERSAMPLING:
            step = short(period / (2.0 * modes * over))
            extent = math.ceil(span / step) + width + 9
            offers.append((_cost(width, extent, dimension, points), width, part, step, extent))
    for _, width, part, step, extent in sorted(offers):
        if width > _MOST_WIDTH or not extent <= _MOST_EXTENT or not step > 0.0:
            continue
        made = _made(decay, span, dimension, period, modes, window(width, part), step, extent)
        if made is not None and made.error <= allowed:
            return made
    raise Infeasible(f"no window is within {allowed:.2g}, with at most {_MOST_EXTENT} nodes an axis")


def _made(
    decay: float, span: float, dimension: int, period: float, modes: int, of: Window, step: float, extent: int
) -> Design | None:
    """The design with these numbers and its error, or None where the window's band is too small."""
    k = np.arange(0.0, modes + 3.0)
    share = np.exp(-((math.pi * k / period) ** 2) / decay) * (math.sqrt(math.pi / decay) / period)
    beyond, after = float(share[modes + 1]), float(share[modes + 2])
    if not after < 0.9 * beyond and beyond > 0.0:
        return None
    k, share = k[: modes + 1], share[: modes + 1].copy()
    share[1:] *= 2.0  # waves k and −k
    turn = k * (step / period)
    if not turn[-1] < min(0.5, 0.999 * of.beta / (math.pi * of.width)):
        return None
    away = period - span
    images = 2.0 * math.exp(-decay * away * away) / -math.expm1(-2.0 * decay * period * away)
    cut = 2.0 * beyond / (1.0 - after / beyond) if beyond > 0.0 else 2.0**-1000
    main = of.transform(turn)
    rough = of.aliased(turn) / main
    if not images + cut + float((share * rough * (2.0 + rough)).sum()) < 0.5:
        return None
    lost = of.replaced[1]
    off = (rough + lost / (of.width * main)) * SLACK
    weight = share / (of.width * main) ** 2
    reach = of.width * float(main[0]) * (1.0 + float(off[0])) * SLACK
    amplified = reach * reach * float(weight.sum()) * SLACK
    # of a number of C: exponentials, sinh, the cosine's argument and the sum
    turns = 2.0 * math.pi * modes * (extent + 16.0) * step / period
    table_error = (8.0 * turns + 32.0 * of.beta + 4.0 * modes + 1024.0) * U * amplified
    error = (images + cut + float((share * off * (2.0 + off)).sum()) + table_error) * SLACK
    row = np.zeros(extent + 16)
    nodes = np.arange(extent + 16.0) * (2.0 * math.pi * step / period)
    for first in range(0, len(k), 512):
        part = slice(first, first + 512)
        row += np.cos(np.multiply.outer(nodes, k[part])) @ weight[part]
    total = math.expm1(dimension * math.log1p(error)) * SLACK
    return Design(of, dimension, step, extent, row, total, amplified)


@dataclass(frozen=True, eq=False)
class Nonuniform:
    """Sums Σ_j e^(−λ|x_i−y_j|²)v_j for fixed points, as often as wanted; weights are within ``floor``."""

    design: Design
    nodes: Nodes
    graph: bool
    floor: float
    grain: float
    workers: int
    relative: float = 0.0
    rounding: float = 0.0

    @property
    def words(self) -> str:
        return f"window of {self.design.window.width} nodes an axis, on {self.nodes.words} nodes"

    def doubt(self, sizes: Array) -> Array | float:
        """What subtracting a point's own vector rounds."""
        return (2.0 * self.grain + 4.0 * U) * sizes if self.graph else 0.0

    def apply(self, vectors: Array) -> Array:
        """(n, columns) → (m, columns); for the graph, without j = i."""
        out = np.empty((len(self.nodes.targets.order), vectors.shape[1]))
        matrices = [_toeplitz(self.design.row[: int(extent)]) for extent in self.nodes.extents]
        with Borrowed(self.workers) as pool:
            for c in range(vectors.shape[1]):
                out[:, c] = self._column(np.array(vectors[:, c]), matrices, pool)
        if self.graph:
            out -= vectors
        return out

    def _column(self, vector: Array, matrices: list[Array], pool: Borrowed) -> Array:
        table, width, strides = self.design.window.replaced[0], self.design.window.width, self.nodes.strides
        source, target = self.nodes.sources, self.nodes.targets
        (offset,), (at,) = source.factors, target.factors
        spread, gather = nonuniform_kernels.spread(), nonuniform_kernels.gather()
        grid = self.nodes.spread(
            lambda low, begin, end, here: spread(
                source.place, offset, offset, source.order, vector, table, width, strides, low, begin, end, here
            ),
            pool,
        )
        grid = _carried(grid, matrices)
        out = np.empty(len(target.order))
        self.nodes.gather(
            lambda begin, end: gather(target.place, at, target.order, table, width, strides, begin, end, grid, out),
            self.workers,
        )
        return out


def _carried(nodes: Array, matrices: list[Array]) -> Array:
    """C along every axis."""
    extents = [len(matrix) for matrix in matrices]
    for axis, matrix in enumerate(matrices):
        shape = (math.prod(extents[:axis]), extents[axis], math.prod(extents[axis + 1 :]))
        nodes = nodes.reshape(shape[0], shape[1]) @ matrix if shape[2] == 1 else matrix @ nodes.reshape(shape)
    return np.ascontiguousarray(nodes).reshape(-1)


def _toeplitz(row: Array) -> Array:
    """The symmetric matrix with this first row."""
    both = np.concatenate([row[:0:-1], row])
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(both, len(row))[::-1])


def gaussian(
    points: Array, targets: Array | None, box: tuple[Array, Array], decay: float, allowed: float, memory: int,
    workers: int,
) -> Nonuniform:  # fmt: skip
    """The plan for points (n, d) and targets (m, d) in a box, or for the graph of the points; d ≤ 3.

    Raises :class:`~assay.spec.approximation.Infeasible` where the grid needs more than ``memory`` bytes, or points are
    too far from the origin.
    """
    d = points.shape[1]
    every = (points,) if targets is None else (points, targets)
    design = designed(decay, float((box[1] - box[0]).max()), d, 0.98 * allowed, sum(map(len, every)) * 2 // len(every))
    width, step = design.window.width, design.step
    padded = width + -width % 8
    require_reach(box, step, width)
    count = number(box, step, width)
    if 8.0 * (count * 3.5 + 2.0 * design.extent**2) > memory:
        raise Infeasible(f"the grid has {count:.2g} nodes, and {memory / 2**20:.0f} MiB are allowed")
    kernel = nonuniform_kernels.offsets()

    def factored(
        x: Array, order: Numbers, first: Numbers, low: Numbers, place: Numbers
    ) -> tuple[tuple[Array, ...], Callable[[int, int], None]]:
        offset = np.empty(first.shape)

        def fill(begin: int, end: int) -> None:
            kernel(x, order, first, low, step, float(width), begin, end, place, offset)

        return (offset,), fill

    found = nodes(every, step, width, padded, factored, workers)
    roundings = found.roundings + int(found.extents.sum()) + 2 * (d - 1) * width + 2 * padded + 8 * d + 32
    grain = gamma(roundings) * design.amplified**d * SLACK
    return Nonuniform(design, found, targets is None, design.error + grain, grain, workers)
