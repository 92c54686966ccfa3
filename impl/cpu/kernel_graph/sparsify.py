"""Sparsifiers of kernel graphs that carry their proof: few edges that keep x'Lx within 1 ± error for all x.

Edges are drawn with probabilities in proportion to an overestimate of their leverage, weights are scaled until all
degrees are those of the graph, and what came out is proved (:mod:`assay.impl.cpu.kernel_graph.certify`), or drawn
again with more edges (KG-13).  No sparsifier is returned without a proof.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph.certify import estimate, prove_near, reference
from assay.impl.cpu.kernel_graph.graphs import SparseGraph, from_edges, of_points, row_blocks
from assay.impl.cpu.kernel_graph.overflow import unwarned
from assay.impl.cpu.progress import told as shown
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.graphs import PointGraph

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Told = Callable[[int, int], None]

__all__ = ["COMPUTED", "Sparsifier", "matched", "sparsify"]

#: The most points whose sparsifier is proved by factorisation: 1.6 GB, and one to three minutes on two cores.
COMPUTED = 20_000

_SWEEPS = 30
_SHARE = 0.9  # of the edges that a node should have, the least that it is given
_ROWS = 64  # rows of weights from which the number of edges is foreseen


@dataclass(frozen=True, eq=False)
class Sparsifier:
    """A graph H with lower·x'L_Gx ≤ x'L_Hx ≤ upper·x'L_Gx for every x.

    graph: the symmetric weights of H, a ``scipy.sparse.csr_array`` (n, n).
    proof: ``computed`` where a computation has proved the inequality, ``probable`` where it holds but for an event
    whose probability, over the coins of the check, is at most ``probability``.
    attempts: how many graphs were drawn.  route: one line that says how H was made.
    """

    graph: Any
    lower: float
    upper: float
    proof: str
    probability: float
    attempts: int
    route: str

    @property
    def edges(self) -> tuple[Ids, Ids, Array]:
        """(left, right, weight) of the edges, each once, left < right."""
        ends = self.graph.tocoo()
        once = ends.coords[0] < ends.coords[1]
        left, right = (each[once].astype(np.int64) for each in ends.coords)
        return left, right, ends.data[once]

    @property
    def error(self) -> float:
        """The least ε such that x'L_Hx is within (1 ± ε)·x'L_Gx by the proof."""
        return max(1.0 - self.lower, self.upper - 1.0)


@unwarned
def sparsify(
    points: Any, *, function: Any = "gaussian", parameter: float = 1.0, error: float, seed: int = 0,
    progress: bool | Told = False,
) -> Sparsifier:  # fmt: skip
    """A sparsifier of the kernel graph of points (n, d) whose error is proved to be at most ``error``.

    function, parameter: as of every kernel graph.  error: between 0 and 1.  seed: of the draws; the same seed gives the
    same graph.  progress: True shows bars of the factorisations.

    Where ``error`` allows fewer edges than all, about 2·n/error² are kept.  The time is that of n² weights and of
    three factorisations of n³/3 multiplications, the memory n² float64 numbers.  Above ``COMPUTED``
    points edges are drawn through well-separated pairs, and the proof is ``probable`` (KG-2, KG-15).

    Raises InvalidInstance for wrong arguments, and for a graph that falls apart in float64: one whose parts are joined
    by weights so small that no float64 computation sees them.
    """
    if not 0 < error < 1:
        raise InvalidInstance(f"error: {error!r}, expected a number between 0 and 1")
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise InvalidInstance(f"seed: {seed!r}, expected an integer that is not negative")
    graph = of_points(points, function, parameter)
    if graph.n < 2:
        raise InvalidInstance(f"points: {graph.n}, expected two at least")
    if graph.n > COMPUTED:
        from assay.impl.cpu.kernel_graph.probe import probable

        return probable(graph, error, int(seed), progress)
    return _computed(graph, error, int(seed), progress)


def _computed(graph: PointGraph, error: float, seed: int, progress: bool | Told) -> Sparsifier:
    with shown(progress, "factorising the graph") as told:
        known = reference(graph, told)
    if known is None:
        raise InvalidInstance(
            "points: the graph falls apart in float64 (weights between its parts are lost), expected one that is joined"
        )
    rng = np.random.default_rng(seed)
    n = graph.n
    degree = 4.0 / error / error
    attempts = 0
    while True:
        attempts += 1
        everything = degree >= 0.7 * (n - 1)
        left, right, weight = _all(graph) if everything else drawn(graph, degree, rng)
        if not everything:
            weight = matched(n, left, right, weight, known.degrees)
        other = SparseGraph(from_edges(n, left, right, weight), n)
        low, high, _least, _most = (1.0, 1.0, None, None) if everything else estimate(known, other, 1e-3)
        if not 0.0 < high + low < math.inf:  # the drawn graph is lost in float64
            degree *= 4.0
            continue
        spread = (high - low) / (high + low)
        if spread > 0.998 * error and not everything:
            degree *= 1.03 * max(1.0, min(4.0, (spread / error) ** 2))
            continue
        if not everything:
            scale = 2.0 / (high + low)
            other = SparseGraph(other.matrix * scale, n)
            low, high = low * scale, high * scale
        room = min(0.2, 0.45 * (error / spread - 1.0)) if spread > 0 else 1.0
        found = prove_near(graph, other, low, high, (low, high), max(room, 1e-4), progress)
        if found.error <= error:
            mean = 2.0 * len(weight) / n
            return Sparsifier(
                other.matrix, found.lower, found.upper, "computed", 0.0, attempts,
                f"{len(weight)} of {n * (n - 1) // 2} edges, mean degree {mean:.4g}, {attempts} drawn; {found.route}",
            )  # fmt: skip
        if everything:
            raise InvalidInstance(
                f"error: {error!r} cannot be proved for this graph in float64: all edges together are proved to"
                f" {found.error:.3g}"
            )
        degree *= 1.1


def drawn(graph: PointGraph, degree: float, rng: np.random.Generator) -> tuple[Ids, Ids, Array]:
    """Edges of about this mean degree, each kept with probability p = min(1, c·w(1/d_i + 1/d_j)), with weights w/p.

    w(1/d_i + 1/d_j) is in proportion to an overestimate of leverage (KG-13); its sum over all edges is n.
    """
    n = graph.n
    inverse = 1.0 / graph.degrees()
    c = _multiple(graph, inverse, degree, np.random.default_rng(0))
    lefts, rights, weights = [], [], []
    for rows in row_blocks(n):
        columns = slice(rows.start, n)
        weight = graph.tile(rows, columns)
        chance = weight * (c * inverse[rows, None] + c * inverse[columns])
        kept = rng.random(chance.shape) < chance
        kept &= np.arange(columns.start, n) > np.arange(rows.start, rows.stop)[:, None]
        i, j = np.nonzero(kept)
        lefts.append(i + rows.start)
        rights.append(j + rows.start)
        weights.append(weight[i, j] / np.minimum(chance[i, j], 1.0))
    found = np.concatenate(lefts), np.concatenate(rights), np.concatenate(weights)
    return _topped_up(graph, *found, c, inverse, rng)


def _topped_up(
    graph: PointGraph, left: Ids, right: Ids, weight: Array, c: float, inverse: Array, rng: np.random.Generator
) -> tuple[Ids, Ids, Array]:
    """The edges, and more at the nodes that chance gave fewer than ``_SHARE`` of the edges that they should have.

    Such nodes decide the error: with k edges a node alone contributes about 1/√k.
    """
    n = graph.n
    rows, columns, more = [left], [right], [weight]
    count = np.bincount(left, minlength=n) + np.bincount(right, minlength=n)
    neighbours = from_edges(n, left, right, np.ones(len(left)))
    added: dict[int, list[int]] = {}
    for i in np.argsort(count, kind="stable").tolist():
        row = graph.tile(slice(i, i + 1), slice(0, n))[0]
        chance = np.minimum(row * (c * inverse[i] + c * inverse), 1.0)
        wanted = _SHARE * float(chance.sum())
        missing = math.ceil(wanted - count[i])
        if missing <= 0:
            if count[i] > wanted + 0.5 * (1.0 - _SHARE) * wanted:
                break  # nodes after this one have more edges
            continue
        with np.errstate(divide="ignore"):
            key = np.log(chance) + rng.gumbel(size=n)  # the largest keys are a draw without replacement
        key[neighbours.indices[neighbours.indptr[i] : neighbours.indptr[i + 1]]] = -np.inf
        key[added.get(i, [])] = -np.inf
        chosen = np.argsort(-key)[:missing]
        chosen = chosen[np.isfinite(key[chosen])]
        for j in chosen.tolist():
            added.setdefault(j, []).append(i)
        count[i] += len(chosen)
        count[chosen] += 1
        rows.append(np.minimum(i, chosen))
        columns.append(np.maximum(i, chosen))
        more.append(row[chosen] / chance[chosen])
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(more)


def _multiple(graph: PointGraph, inverse: Array, degree: float, rng: np.random.Generator) -> float:
    """c such that the expected mean degree is about ``degree``, foreseen from some rows."""
    n = graph.n
    rows = np.sort(rng.choice(n, min(n, _ROWS), replace=False))
    share = np.concatenate([graph.tile(slice(r, r + 1), slice(0, n)) * (inverse[r] + inverse) for r in rows.tolist()])
    low, high = degree / 2.0, degree / 2.0
    while np.minimum(high * share, 1.0).sum() < degree * len(rows) and high < 2.0**60:
        high *= 2.0
    for _ in range(40):
        middle = (low + high) / 2
        enough = np.minimum(middle * share, 1.0).sum() >= degree * len(rows)
        low, high = (low, middle) if enough else (middle, high)
    return high


def _all(graph: PointGraph) -> tuple[Ids, Ids, Array]:
    """Every edge of the graph."""
    lefts, rights, weights = [], [], []
    for rows in row_blocks(graph.n):
        weight = graph.tile(rows, slice(rows.start, graph.n))
        i, j = np.nonzero(np.triu(weight, 1))
        lefts.append(i + rows.start)
        rights.append(j + rows.start)
        weights.append(weight[i, j])
    return np.concatenate(lefts), np.concatenate(rights), np.concatenate(weights)


def matched(n: int, left: Ids, right: Ids, weight: Array, degrees: Array, sweeps: int = _SWEEPS) -> Array:
    """The weights scaled to h_ij·s_i·s_j so that the degrees come near the given ones (KG-13): a quarter of the edges.

    A node without edges stays without.
    """
    scale = np.ones(n)
    for _ in range(sweeps):
        here = weight * scale[left] * scale[right]
        sums = np.bincount(left, here, n) + np.bincount(right, here, n)
        scale *= np.sqrt(np.divide(degrees, sums, out=np.ones(n), where=sums > 0))
    found: Array = weight * scale[left] * scale[right]
    return found
