"""A partition of points into boxes, and the graph between the boxes: for bounds by flows, and for preconditioners."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph.extra import linear_algebra
from assay.impl.cpu.kernel_graph.graphs import CACHED, row_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.graphs import PointGraph

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["Cells", "Coarse", "coarse", "divided", "number"]

_FEW, _MANY = 2000, 6000
_DROP = 0.14  # e^-2: the share of a weight across a cell's box that asks for smaller cells


@dataclass(frozen=True, eq=False)
class Cells:
    """K disjoint sets of points: ``labels`` (n,), their ``sizes`` (K,), and their boxes ``low``, ``high`` (K, d)."""

    labels: Ids
    sizes: Array
    low: Array
    high: Array

    def sums(self, values: Array) -> Array:
        """(K,): the sum of the values of each cell."""
        found: Array = np.bincount(self.labels, values, len(self.sizes)).astype(np.float64)
        return found


def divided(points: Array, count: int) -> Cells:
    """At most ``count`` cells: the box with the longest diagonal is halved across its longest side, again and again.

    Boxes hold exactly their points.  Points that coincide stay together.
    """
    boxes: dict[int, tuple[Ids, Array, Array]] = {}
    queue: list[tuple[float, int]] = []

    def add(name: int, members: Ids) -> None:
        here = points[members]
        low, high = here.min(axis=0), here.max(axis=0)
        boxes[name] = members, low, high
        heapq.heappush(queue, (-float(((high - low) ** 2).sum()), name))

    add(0, np.arange(len(points)))
    while len(boxes) < count and queue[0][0] < 0.0:
        _, name = heapq.heappop(queue)
        members, low, high = boxes[name]
        side = int(np.argmax(high - low))
        left = points[members, side] <= low[side] + (high[side] - low[side]) / 2
        if left.all():  # the middle was rounded to the upper end
            left = points[members, side] < high[side]
        add(name, members[left])
        add(len(boxes), members[~left])
    labels = np.empty(len(points), dtype=np.int64)
    for name, (members, _, _) in boxes.items():
        labels[members] = name
    order = range(len(boxes))
    return Cells(
        labels, np.array([float(len(boxes[k][0])) for k in order]), np.array([boxes[k][1] for k in order]),
        np.array([boxes[k][2] for k in order]),
    )  # fmt: skip


def number(graph: PointGraph) -> int:
    """How many cells serve a graph: 2,000, and up to 6,000 where its weights fall much across a cell of those."""
    n, d = graph.n, graph.points.shape[1]
    few = min(n, _FEW)
    if few == n:
        return n
    z = graph.far / few ** (2.0 / d)
    across, near = graph.function(np.array([z, z / 16.0]))
    return min(n, _MANY) if across < _DROP * near else few


@dataclass(frozen=True, eq=False)
class Coarse:
    """A Laplacian on cells that imitates the graph's on functions that are constant on cells, factorised."""

    cells: Cells
    factor: Any

    def solve(self, totals: Array) -> Array:
        """Potentials of the cells for these totals, up to a constant."""
        found: Array = linear_algebra().cho_solve(self.factor, totals, check_finite=False)
        return found


def coarse(graph: PointGraph, cells: Cells) -> Coarse | None:
    """The Laplacian with the weights |C||C'|·f(mean squared distance); None where it cannot be factorised."""
    sizes, d = cells.sizes, graph.points.shape[1]
    centres = np.stack([cells.sums(graph.points[:, k]) / sizes for k in range(d)], axis=1)
    apart = graph.points - centres[cells.labels]
    spread = cells.sums((apart * apart).sum(axis=1)) / sizes
    z = spread[:, None] + spread
    for rows in row_blocks(len(sizes), max(1, CACHED // len(sizes))):
        for x in centres.T:
            z[rows] += (x[rows, None] - x) ** 2
    weights = graph.function(np.maximum(z, graph.far * 2.0**-40))
    weights *= sizes[:, None]
    weights *= sizes
    np.fill_diagonal(weights, 0.0)
    degrees = weights.sum(axis=1)
    if not (np.isfinite(degrees).all() and (degrees > 0).all()):
        return None
    matrix = np.diag(degrees) - weights + np.multiply.outer(sizes, sizes) * (degrees.sum() / sizes.sum() ** 2)
    try:
        return Coarse(cells, linear_algebra().cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False))
    except linear_algebra().LinAlgError:
        return None
