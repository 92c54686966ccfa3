"""Well-separated pairs of sets of points, and edges that are drawn through them without looking at all pairs (KG-2).

A tree halves the box of its points across the longest side, down to single points.  Two nodes are a pair where the
distance of their boxes is at least ``separation`` times the longer half diagonal; every two points that differ belong
to exactly one pair.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.compiled import compiled
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.graphs import PointGraph

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["Pairs", "Projection", "Tree", "chances", "drawn_through", "pairs", "projected", "projection", "tree"]

#: The most pairs that are kept, 1.6 GB.
MOST = 100_000_000


@dataclass(frozen=True, eq=False)
class Tree:
    """Nodes of a tree over points: node k holds ``order[first[k]:last[k]]``; its children are −1 for a leaf.

    low, high (nodes, d): the boxes of the nodes' points.  A leaf holds one point, or points that coincide.
    """

    order: Ids
    first: Ids
    last: Ids
    left: Ids
    right: Ids
    low: Array
    high: Array

    @property
    def sizes(self) -> Ids:
        """How many points each node holds."""
        return self.last - self.first


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of nodes (``a``, ``b``) of a tree."""

    tree: Tree
    a: Ids
    b: Ids

    def squared(self) -> tuple[Array, Array]:
        """Bounds of the squared distances between points of the two nodes, one for each pair."""
        near, far = np.zeros(len(self.a)), np.zeros(len(self.a))
        for low, high in zip(self.tree.low.T, self.tree.high.T, strict=True):
            gap = np.maximum(0.0, np.maximum(low[self.a] - high[self.b], low[self.b] - high[self.a]))
            reach = np.maximum(high[self.a] - low[self.b], high[self.b] - low[self.a])
            near += gap * gap
            far += reach * reach
        return near, far


def _grow(points: Any, order: Any, first: Any, last: Any, left: Any, right: Any, low: Any, high: Any) -> int:
    """Fill the arrays of a tree; the number of its nodes."""
    n, d = points.shape
    first[0], last[0] = 0, n
    count, k = 1, 0
    while k < count:
        begin, end = first[k], last[k]
        for c in range(d):
            low[k, c] = points[order[begin], c]
            high[k, c] = low[k, c]
        for i in range(begin + 1, end):
            for c in range(d):
                value = points[order[i], c]
                low[k, c] = min(low[k, c], value)
                high[k, c] = max(high[k, c], value)
        side, longest = 0, -1.0
        for c in range(d):
            if high[k, c] - low[k, c] > longest:
                side, longest = c, high[k, c] - low[k, c]
        left[k] = right[k] = -1
        if longest > 0.0:
            middle = low[k, side] + longest / 2
            if middle >= high[k, side]:
                middle = low[k, side]  # the middle was rounded to the upper end
            i, j = begin, end - 1
            while i <= j:
                if points[order[i], side] <= middle:
                    i += 1
                else:
                    order[i], order[j] = order[j], order[i]
                    j -= 1
            left[k], right[k] = count, count + 1
            first[count], last[count] = begin, i
            first[count + 1], last[count + 1] = i, end
            count += 2
        k += 1
    return count


def _separate(left: Any, right: Any, low: Any, high: Any, separation: Any, a: Any, b: Any) -> int:
    """The number of pairs; the first of them are written to a and b as far as there is room."""
    count, d = len(left), low.shape[1]
    found = 0
    stack = np.empty((4 * count + 64, 2), np.int64)
    for node in range(count):
        if left[node] < 0:
            continue
        stack[0, 0], stack[0, 1] = left[node], right[node]
        top = 1
        while top > 0:
            top -= 1
            x, y = stack[top, 0], stack[top, 1]
            across_x = across_y = gap = 0.0
            for c in range(d):
                across_x += (high[x, c] - low[x, c]) ** 2
                across_y += (high[y, c] - low[y, c]) ** 2
                between = max(low[x, c] - high[y, c], low[y, c] - high[x, c])
                if between > 0.0:
                    gap += between * between
            wider = max(across_x, across_y)
            if 4.0 * gap >= separation * separation * wider and gap > 0.0:
                if found < len(a):
                    a[found], b[found] = x, y
                found += 1
            elif across_x >= across_y:
                stack[top, 0], stack[top, 1] = left[x], y
                stack[top + 1, 0], stack[top + 1, 1] = right[x], y
                top += 2
            else:
                stack[top, 0], stack[top, 1] = x, left[y]
                stack[top + 1, 0], stack[top + 1, 1] = x, right[y]
                top += 2
    return found


@functools.cache
def _kernel(which: str) -> Any:
    """The compiled function of this name."""
    kernels: dict[str, Callable[..., Any]] = {"grow": _grow, "separate": _separate}
    return compiled(kernels[which], None, set())


def tree(points: Array) -> Tree:
    """The tree of points (n, d) float64."""
    n, d = points.shape
    points = np.ascontiguousarray(points)
    order = np.arange(n)
    first, last, left, right = (np.empty(2 * n - 1, np.int64) for _ in range(4))
    low, high = np.empty((2 * n - 1, d)), np.empty((2 * n - 1, d))
    count = _kernel("grow")(points, order, first, last, left, right, low, high)
    return Tree(order, *(each[:count] for each in (first, last, left, right, low, high)))


def pairs(points: Array, separation: float = 1.0) -> Pairs:
    """The well-separated pairs of points (n, d) float64: O(separation^d·n) for points of a moderate aspect ratio.

    Raises InvalidInstance for more than ``MOST`` pairs.
    """
    made = tree(points)
    shape = made.left, made.right, made.low, made.high
    room = np.empty(32 * len(points), np.int64), np.empty(32 * len(points), np.int64)
    count = _kernel("separate")(*shape, float(separation), *room)
    if count > MOST:
        raise InvalidInstance(f"points: {count} well-separated pairs, expected {MOST} at most: too many dimensions")
    if count > len(room[0]):
        room = np.empty(count, np.int64), np.empty(count, np.int64)
        _kernel("separate")(*shape, float(separation), *room)
    return Pairs(made, room[0][:count], room[1][:count])


def projected(points: Array, dimension: int, seed: int) -> Array:
    """Points (n, ``dimension``) with the squared distances of points (n, d) on the average, by a Gaussian matrix."""
    rng = np.random.default_rng([seed, 2])
    return points @ (rng.standard_normal((points.shape[1], dimension)) / math.sqrt(dimension))


@dataclass(frozen=True)
class Projection:
    """What a Gaussian projection of n points to ``dimension`` dimensions does to their graph (KG-2).

    With probability at least 1 − failure every squared distance is multiplied by a number of [nearer, farther], and no
    weight is more than ``misjudged`` times that of the projected points, or less than 1/misjudged times it.
    """

    dimension: int
    nearer: float
    farther: float
    misjudged: float


def projection(graph: PointGraph, failure: float, dimension: int | None = None) -> Projection:
    """The bounds for a graph; without ``dimension`` it is ⌈√(Λ ln n)⌉, Λ the multiplicative Lipschitz constant.

    Raises InvalidInstance for a function without such a constant, as one that jumps.
    """
    n, lipschitz = max(graph.n, 2), graph.function.lipschitz
    if lipschitz is None:
        raise InvalidInstance(
            f"function: {graph.function.name!r} has no multiplicative Lipschitz constant, which projections need"
        )

    def slope(z: float) -> float:
        return float(np.max(lipschitz(np.zeros(1), np.full(1, z)))) * (1.0 + 2.0**-40)

    k = dimension or max(1, math.ceil(math.sqrt(slope(graph.far) * math.log(n))))
    tail = 2.0 / k * math.log(n * (n - 1) / failure)
    farther = 1.0 + math.sqrt(2.0 * tail) + tail
    exponent = slope(graph.far * farther) * (1.0 + tail)
    return Projection(k, math.exp(-1.0 - tail), farther, math.exp(exponent) if exponent < 700.0 else math.inf)


def drawn_through(
    graph: PointGraph, degrees: Array, degree: float, rng: np.random.Generator, dimension: int | None = 3,
    failure: float | None = None,
) -> tuple[Ids, Ids, Array]:  # fmt: skip
    """Edges (left, right, weight) of about this mean degree, as ``sparsify.drawn`` has them, drawn pair by pair.

    degrees (n,): near those of the graph.  In more than ``dimension`` dimensions (None: those of :func:`projection`)
    the pairs are those of projected points, whose weights say how many candidates are drawn.  failure: how probable it
    may be, over the projection, that an edge is drawn too rarely: as many more candidates are drawn as that takes,
    which are nearly all edges unless f is nearly constant or n beyond what a machine holds.  Without it some edges may
    be drawn too rarely, which the proof of the result finds out.

    A pair of |A| and |B| points with largest weight w₊ has |A||B|·q candidates, q =
    min(1, c·w₊(1/d_A + 1/d_B)), of which each is kept in proportion to its own weight.
    """
    known = None if failure is None and dimension is not None else projection(graph, failure or 0.5, dimension)
    k = dimension if known is None else known.dimension
    flat = k is None or graph.points.shape[1] <= k
    found = pairs(graph.points if flat or k is None else projected(graph.points, k, 0))
    made, f = found.tree, graph.function
    inverse = 1.0 / degrees
    c = degree / 2.0
    misjudged = 1.0 if flat or failure is None or known is None else known.misjudged
    chance = chances(graph, found, inverse, c, misjudged)
    sizes = made.sizes
    together = (sizes[found.a] * sizes[found.b]).astype(np.float64)
    certain = chance >= 0.5
    counts = np.where(certain, 0, rng.poisson(-together * np.log1p(-np.minimum(chance, 0.5))))
    a, b = np.repeat(found.a, counts), np.repeat(found.b, counts)
    i = made.order[made.first[a] + (rng.random(len(a)) * sizes[a]).astype(np.int64)]
    j = made.order[made.first[b] + (rng.random(len(b)) * sizes[b]).astype(np.int64)]
    given = np.repeat(np.minimum(chance, 0.5), counts)
    whole_i, whole_j = _every(made, found.a[certain], found.b[certain])
    same_i, same_j = _coinciding(made)
    left = np.concatenate([np.minimum(i, j), np.minimum(whole_i, whole_j), np.minimum(same_i, same_j)])
    right = np.concatenate([np.maximum(i, j), np.maximum(whole_i, whole_j), np.maximum(same_i, same_j)])
    given = np.concatenate([given, np.ones(len(whole_i) + len(same_i))])
    _, once = np.unique(left * graph.n + right, return_index=True)
    left, right, given = left[once], right[once], given[once]
    apart = graph.points[left] - graph.points[right]
    weight = f((apart * apart).sum(axis=1))
    wanted = np.minimum(c * weight * (inverse[left] + inverse[right]), 1.0)
    kept = rng.random(len(left)) * given < wanted
    return left[kept], right[kept], weight[kept] / np.minimum(wanted, given)[kept]


def chances(graph: PointGraph, found: Pairs, inverse: Array, c: float, misjudged: float = 1.0) -> Array:
    """q = min(1, c·w₊(1/d_A + 1/d_B)) of every pair; weights may be ``misjudged`` times those of the pairs' points."""
    near, far = found.squared()
    with np.errstate(divide="ignore", invalid="ignore"):
        most = graph.function.between(near, far)[1] * misjudged
    most = np.where(np.isfinite(most), most, 0.0 if misjudged == 1.0 else 2.0**1000)
    largest = _largest(found.tree, inverse[found.tree.order])
    with np.errstate(over="ignore"):
        quotient: Array = np.minimum(c * most * (largest[found.a] + largest[found.b]), 1.0)
    return quotient


def _largest(made: Tree, values: Array) -> Array:
    """The largest of the values, in the tree's order, below every node."""
    found = np.empty(len(made.first))
    for k in range(len(found) - 1, -1, -1):
        if made.left[k] < 0:
            found[k] = values[made.first[k] : made.last[k]].max()
        else:
            found[k] = max(found[made.left[k]], found[made.right[k]])
    return found


def _every(made: Tree, a: Ids, b: Ids) -> tuple[Ids, Ids]:
    """Both ends of every edge of some pairs."""
    counts = made.sizes[a] * made.sizes[b]
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    width = np.repeat(made.sizes[b], counts)
    i = made.order[np.repeat(made.first[a], counts) + place // np.maximum(width, 1)]
    j = made.order[np.repeat(made.first[b], counts) + place % np.maximum(width, 1)]
    return i, j


def _coinciding(made: Tree) -> tuple[Ids, Ids]:
    """Both ends of a path through the points of every leaf that holds several, which coincide."""
    leaves = np.flatnonzero((made.left < 0) & (made.sizes > 1))
    i = [made.order[made.first[k] : made.last[k] - 1] for k in leaves.tolist()]
    j = [made.order[made.first[k] + 1 : made.last[k]] for k in leaves.tolist()]
    none = np.empty(0, np.int64)
    return np.concatenate([none, *i]), np.concatenate([none, *j])
