"""The nodes of a grid that points touch: where they lie, and how vectors are spread to them and sums read off them.

The nodes are k·step for whole k in every axis.  A point touches ``width`` of them an axis, which begin with the first
next to it.  What its factors there are is the subject of :mod:`~assay.impl.cpu.kernel_graph.grid` (KG-8) and of
:mod:`~assay.impl.cpu.kernel_graph.nonuniform` (KG-9).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.impl.cpu.kernel_graph import grid_kernels
from assay.impl.cpu.threads import share
from assay.spec.approximation import Infeasible

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.threads import Borrowed

    Array = NDArray[np.float64]
    Numbers = NDArray[np.int64]
    Box = tuple[Array, Array]
    Part = Callable[[int, int], None]

__all__ = ["Nodes", "Placed", "nodes", "number", "require_reach", "short"]

_REACH = 2.0**33  # nodes are numbered below this, so that their coordinates are exact
_LEAST_SLICE = 8192  # points of a slice, which one thread spreads
_SLICES = 16
_FLAT = 2048  # terms that are added up in one go, at least
_BITS = 20  # of the step


def short(x: float) -> float:
    """x rounded down to 20 bits, so that its products with whole numbers below 2^33 are exact."""
    mantissa, exponent = math.frexp(x)
    return math.ldexp(math.floor(math.ldexp(mantissa, _BITS)), exponent - _BITS)


def number(box: Box, step: float, width: int) -> float:
    """About the number of nodes that points in a box touch, no less."""
    return float(np.prod((box[1] - box[0]) / step + width + 9.0))


def require_reach(box: Box, step: float, width: int) -> None:
    """Raise :class:`~assay.spec.approximation.Infeasible` where nodes have numbers that are too large."""
    largest = float(max(np.abs(box[0]).max(), np.abs(box[1]).max()))
    if not largest / step + width + 1.0 < _REACH:
        raise Infeasible(f"points are {largest:.2g} away from the origin, {largest / step:.2g} steps of the grid")


@dataclass(frozen=True, eq=False)
class Placed:
    """Points on a grid, in their ``order`` by blocks of nodes.

    place (d, n): the first node of each, less the least of all.  factors: arrays (d, n) from which kernels make the
    factors of its nodes.
    """

    order: Numbers
    place: Numbers
    factors: tuple[Array, ...]


@dataclass(frozen=True, eq=False)
class Nodes:
    """The nodes that sources and targets touch.

    extents, strides (d,): of the array of nodes.  slices: (first and last source, first and last node of the first
    axis, terms added up in one go), of the sources in their order.
    """

    extents: Numbers
    strides: Numbers
    sources: Placed
    targets: Placed
    slices: tuple[tuple[int, int, int, int, int], ...]

    @property
    def words(self) -> str:
        return " x ".join(map(str, self.extents))

    @property
    def roundings(self) -> int:
        """Those of the sum of a node over the sources that touch it, at most."""
        flat = max(min(terms, end - begin) for begin, end, _, _, terms in self.slices)
        rounds = max(-(-(end - begin) // terms) for begin, end, _, _, terms in self.slices)
        return flat + rounds + len(self.slices)

    def spread(self, add: Callable[[int, int, int, Array], None], pool: Borrowed) -> Array:
        """The sums of all nodes, as one row.

        add(low, begin, end, here): adds what a range of sources sends to nodes ``here``, which begin at node ``low`` of
        the first axis.
        """
        stride = int(self.strides[0])
        found = np.zeros(int(self.extents[0]) * stride)

        def summed(piece: tuple[int, int, int, int, int]) -> Array:
            begin, end, low, high, flat = piece
            here = np.zeros((high - low) * stride)
            total = here if end - begin <= flat else np.zeros_like(here)
            for first in range(begin, end, flat):
                add(low, first, min(first + flat, end), here)
                if total is not here:
                    total += here
                    here[:] = 0.0
            return total

        for piece, here in zip(self.slices, pool.map(summed, self.slices), strict=True):
            found[piece[2] * stride : piece[3] * stride] += here
        return found

    def gather(self, read: Callable[[int, int], None], workers: int) -> None:
        """``read(begin, end)`` for ranges of all targets."""
        count = len(self.targets.order)
        _in_parts(read, count, max(1024, -(-count // (4 * workers))), workers)


def nodes(
    every: tuple[Array, ...], step: float, width: int, padded: int,
    factored: Callable[[Array, Numbers, Numbers, Numbers, Numbers], tuple[tuple[Array, ...], Part]], workers: int,
) -> Nodes:  # fmt: skip
    """The nodes of points (n, d), and of targets (m, d) where there are any.

    padded: the nodes of the last axis, ``width`` up to a multiple of eight.  factored(points, order, first, low,
    place): the factors of :class:`Placed`, and what fills them and ``place`` for a range of points.
    """
    firsts = [_first_nodes(each, step, width, workers) for each in every]
    low = np.min([first.min(axis=1) for first in firsts], axis=0)
    high = np.max([first.max(axis=1) for first in firsts], axis=0)
    d = len(low)
    extents = high - low + width
    extents[-1] += padded - width
    strides = np.ones(d, np.int64)
    for c in range(d - 2, -1, -1):
        strides[c] = strides[c + 1] * extents[c + 1]
    placed = []
    for points, first in zip(every, firsts, strict=True):
        n, order, place = len(points), _ordered(first, low, high), np.empty(first.shape, np.int64)
        factors, fill = factored(np.ascontiguousarray(points), order, first, low, place)
        _in_parts(fill, n, max(4096, -(-n // (2 * workers))), workers)
        placed.append(Placed(order, place, factors))
    slices = _slices(placed[0].place[0], d, width, padded, int(strides[0]))
    return Nodes(extents, strides, placed[0], placed[-1], slices)


def _in_parts(part: Part, count: int, size: int, workers: int) -> None:
    share(lambda begin: part(begin, min(begin + size, count)), range(0, count, size), workers)


def _first_nodes(points: Array, step: float, width: int, workers: int) -> Numbers:
    """(d, n): the number of the first of ``width`` nodes next to a point, in every axis, within 2^-19 steps."""
    n, d = points.shape
    first = np.empty((d, n), np.int64)
    kernel, points = grid_kernels.place(), np.ascontiguousarray(points)
    size = max(16384, -(-n // workers))
    _in_parts(lambda begin, end: kernel(points, step, width, begin, end, first), n, size, workers)
    return first


def _ordered(first: Numbers, low: Numbers, high: Numbers) -> Numbers:
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


def _slices(
    first: Numbers, dimension: int, width: int, padded: int, stride: int
) -> tuple[tuple[int, int, int, int, int], ...]:
    """The slices of :class:`Nodes`.  first: of the points in their order, the first node of the first axis."""
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
