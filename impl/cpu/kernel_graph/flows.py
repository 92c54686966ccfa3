"""Proved bounds of the energy √(r'L⁺r) of a residual r, by flows through the graph (KG-16).

By Thomson's principle every flow φ whose divergence is r has r'L⁺r ≤ Σφ_e²/w_e.  The flows here run through cells of
points: inside, every point shares its part out over whole cells, in proportion to their weights; between cells, the
totals follow the electrical flow of the graph of the cells, spread evenly over all pairs of points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph import cholesky
from assay.impl.cpu.kernel_graph.extra import linear_algebra, sparse, traversal
from assay.impl.cpu.kernel_graph.graphs import CACHED, row_blocks
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.cells import Cells
    from assay.impl.cpu.kernel_graph.graphs import PointGraph

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["Flows", "flows", "least_weights"]

_UNIT = 2.0**-53
_LOST = 2.0**-1070  # more than a product loses to underflow
_ROOM = 1.0 + 2.0**-24  # for the roundings of a bound's own sums of at most 2^26 numbers


@dataclass(frozen=True, eq=False)
class Flows:
    """What bounds need of the flows through cells.

    capacity (K,): Σ_F |F|·w_CF, the least weights w_CF between points of two cells.  weights (K, K): |C||F|·w_CF, 0 on
    the diagonal.  factor: of their Laplacian, or None.  parent, order, strength: a tree on the cells, each cell with
    its parent, from the leaves to the root, and the weight between the two.  gap: a proved λ ≥ 0 such that the cells'
    Laplacian A has x'Ax ≥ λ·Σ_C |C|x_C² wherever Σ_C |C|x_C = 0.
    """

    cells: Cells
    capacity: Array
    weights: Array
    degrees: Array
    factor: Any
    parent: Ids
    order: Ids
    strength: Array
    gap: float

    def bound(self, residual: Array, doubt: Array) -> float:
        """A bound of √(r'L⁺r) for every r with sum 0 and |r_i − residual_i| ≤ doubt_i; infinite where there is none.

        residual, doubt (n,) float64, doubt not negative.
        """
        cells = self.cells
        doubt = doubt + 4 * _UNIT * np.abs(residual)
        totals, doubts = cells.sums(residual), cells.sums(doubt)
        totals_doubt = doubts + cells.sizes * _UNIT * cells.sums(np.abs(residual)) * _ROOM
        mean, mean_doubt = totals / cells.sizes, totals_doubt / cells.sizes
        rest = np.abs(residual - mean[cells.labels]) + doubt + 2 * mean_doubt[cells.labels]
        alone = cells.sizes == 1
        squares = np.where(alone, 0.0, cells.sums(rest * rest) + cells.sizes * _LOST)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = math.sqrt(float(np.where(squares > 0, squares / self.capacity, 0.0).sum()))
        between = self._rest(np.abs(totals) + totals_doubt)
        if self.factor is not None:
            potential = linear_algebra().cho_solve(self.factor, totals - totals.mean(), check_finite=False)
            flowing = self.degrees * potential - self.weights @ potential
            rounded = len(totals) * 4 * _UNIT * (self.degrees * np.abs(potential) + self.weights @ np.abs(potential))
            energy = float(potential @ flowing) + float(np.abs(potential) @ rounded) * _ROOM + len(totals) * _LOST
            left = np.abs(totals - flowing) + rounded + totals_doubt
            if energy >= 0 and math.isfinite(energy):
                between = min(between, math.sqrt(energy * _ROOM) + self._rest(left))
        found = (inside + between) * _ROOM * _ROOM
        return found if math.isfinite(found) else math.inf

    def _rest(self, most: Array) -> float:
        """A bound of the energy of totals with sum 0 that are at most ``most``: by the tree or by the gap."""
        tree = self._tree(most)
        if not self.gap > 0:
            return tree
        return min(tree, math.sqrt(float((most * most / self.cells.sizes + _LOST).sum()) / self.gap) * _ROOM)

    def _tree(self, most: Array) -> float:
        """√Σ_e(Σ_below most)²/w_e over the tree: a bound for totals with sum 0 that are at most ``most``."""
        below = most.copy()
        energy = 0.0
        for cell in self.order[:-1].tolist():
            energy += (below[cell] ** 2 + _LOST) / self.strength[cell] if self.strength[cell] > 0 else math.inf
            below[self.parent[cell]] += below[cell]
        return math.sqrt(energy) * _ROOM


def least_weights(graph: PointGraph, cells: Cells) -> Array:
    """(K, K): lower bounds of the weights between the points of two cells, and of two points of one on the diagonal."""
    count = len(cells.sizes)
    falling = graph.function.monotone == "decreasing"
    far = np.zeros((count, count))
    near = far if falling else np.zeros_like(far)
    for rows in row_blocks(count, max(1, CACHED // count)):
        for low, high in zip(cells.low.T, cells.high.T, strict=True):
            reach = np.maximum(high[rows, None] - low, high - low[rows, None])
            reach *= reach
            far[rows] += reach
            if not falling:
                gap = np.maximum(0.0, np.maximum(low[rows, None] - high, low - high[rows, None]))
                near[rows] += gap * gap
    off = 2.0**-50 * graph.function.shift  # of the argument, more than values of f may be off by
    if falling:  # not asked at 0, where f may be infinite
        weights = np.array(graph.function(np.maximum(far * (1 + 2.0**-40) + off, 2.0**-900)))
    else:
        near = np.maximum(near * (1 - 2.0**-40) - off, 0.0)
        weights = np.array(graph.function.between(near, far * (1 + 2.0**-40) + off)[0])
    weights *= 1.0 - 2.0**-40
    weights[~(weights > 2.0**-900)] = 0.0
    return weights


def flows(graph: PointGraph, cells: Cells) -> Flows:
    """The flows through these cells."""
    count = len(cells.sizes)
    weights = least_weights(graph, cells)
    capacity = weights @ cells.sizes * (1.0 - 2.0**-30)
    weights *= cells.sizes[:, None]
    weights *= cells.sizes
    np.fill_diagonal(weights, 0.0)
    weights *= 1.0 - 2.0**-40
    degrees = weights.sum(axis=1)
    factor = None
    if count > 1 and (degrees > 0).all():
        mean = degrees.sum() / count**2
        try:
            factor = linear_algebra().cho_factor(
                np.diag(degrees) - weights + mean, lower=True, overwrite_a=True, check_finite=False
            )
        except linear_algebra().LinAlgError:
            factor = None
    parent, order, strength = _spanning(weights)
    gap = 0.0 if factor is None else _gap(weights, degrees, cells.sizes, factor)
    return Flows(cells, capacity, weights, degrees, factor, parent, order, strength, gap)


def _gap(weights: Array, degrees: Array, sizes: Array, factor: Any) -> float:
    """A proved lower bound of the second eigenvalue of (A, diag(sizes)), estimated first by inverse iteration."""
    count = len(sizes)
    x = np.random.default_rng(0).standard_normal(count)
    for _ in range(12):
        x = linear_algebra().cho_solve(factor, sizes * (x - float(sizes @ x) / sizes.sum()), check_finite=False)
        x = x - float(sizes @ x) / sizes.sum()
        norm = math.sqrt(float(sizes @ (x * x)))
        if not (norm > 0 and math.isfinite(norm)):
            return 0.0
        x /= norm
    estimated = float(x @ (degrees * x - weights @ x))
    for share in (0.8, 0.3, 0.03):
        if estimated > 0 and _has_gap(weights, degrees, sizes, share * estimated):
            return share * estimated
    return 0.0


def _has_gap(weights: Array, degrees: Array, sizes: Array, gap: float) -> bool:
    """Whether a factorisation of A − gap·diag(sizes) + β·sizes·sizes' proves the gap (KG-14, KG-16)."""
    count = len(sizes)
    scale = np.ldexp(1.0, -(np.frexp(sizes)[1] // 2))
    v = scale * (sizes * math.sqrt(float(degrees.sum()) / float(sizes.sum()) ** 2))
    main = scale * scale * (degrees - gap * sizes) + v * v
    most = float((scale * scale * (degrees + gap * sizes)).max())
    error = 1.01 * ((float(gamma(count + 12, _UNIT)) + 8 * _UNIT) * most + 8 * _UNIT * float(v @ v))
    trace = 1.01 * float(np.abs(main).sum())
    shift = error + cholesky.rounding(count, trace) + 2 * _UNIT * float(np.abs(main).max())
    if not math.isfinite(shift):
        return False
    places = cholesky.bounds_of_tiles(count)

    def tile(i: int, j: int) -> Array:
        rows, columns = slice(*places[i]), slice(*places[j])
        here: Array = weights[rows, columns] * -scale[rows, None]
        here *= scale[columns]
        here += np.multiply.outer(v[rows], v[columns])
        if i == j:
            np.fill_diagonal(here, main[rows] - shift)
        return here

    return cholesky.factored(count, tile) is not None


def _spanning(weights: Array) -> tuple[Ids, Ids, Array]:
    """A tree of large weights on the nodes of a dense graph: (parent, order from the leaves to the root, weight)."""
    count = len(weights)
    if count == 1:
        return np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1)
    with np.errstate(divide="ignore"):
        length = 1.0 / weights  # a minimum spanning tree of these is a maximum spanning tree of the weights
    length[~np.isfinite(length)] = 0.0  # no edge
    tree = traversal().minimum_spanning_tree(sparse().csr_array(length))
    order, parent = traversal().breadth_first_order(tree + tree.T, 0, directed=False)
    strength = np.zeros(count)
    parent = np.where(parent < 0, 0, parent).astype(np.int64)
    strength = weights[np.arange(count), parent]
    if len(order) < count:  # a graph whose parts are not joined: their strength is 0, and no bound is finite
        order = np.concatenate([order, np.setdiff1d(np.arange(count), order)])
    return parent, order[::-1].astype(np.int64), strength
