"""Sparsifiers of kernel graphs, right and wrong; nothing here uses assay.

A right one here proves what it returns by all eigenvalues, which is possible for few points; float64 is far more
precise than what is allowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bank.entry import Entry
from bank.kernel_graph_solve import laplacian, weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from bank.kernel_graph.engine import Array

    Edges = tuple[Array, Array, Array]

__all__ = ["BUGGY", "CORRECT"]

BOTH, F64 = ("float64", "float32"), ("float64",)
NEW = "assay's bank"


def _edges(w: Array) -> Edges:
    left, right = np.nonzero(np.triu(w, 1))
    return left, right, w[left, right]


def _matrix(n: int, edges: Edges) -> Array:
    w = np.zeros((n, n))
    np.add.at(w, (edges[0], edges[1]), edges[2])
    return np.asarray(w + w.T)


def _range(w: Array, edges: Edges) -> tuple[float, float]:
    """The least and the largest generalised eigenvalue of a sparsifier."""
    degrees = w.sum(axis=1)
    root = np.sqrt(np.where(degrees > 0, degrees, 1))
    basis = np.linalg.qr(np.hstack([root[:, None], np.eye(len(w))[:, : len(w) - 1]]))[0][:, 1:]
    g, h = (basis.T @ (laplacian(m) / root[:, None] / root) @ basis for m in (w, _matrix(len(w), edges)))
    lower = np.linalg.inv(np.linalg.cholesky(g))
    values = np.linalg.eigvalsh(lower @ h @ lower.T)
    return float(values[0]), float(values[-1])


def _kernel(make: Callable[[Array, float, np.random.Generator], Edges]) -> Callable[..., Any]:
    """make(weights, error, rng): the edges."""

    def sparsify(points: Array, *, function: str, parameter: float, error: float, seed: int) -> Any:
        with np.errstate(all="ignore"):
            w = weights(points, function, parameter)
            left, right, weight = make(w, error, np.random.default_rng(seed))
        return np.asarray(left, np.int64), np.asarray(right, np.int64), np.asarray(weight).astype(points.dtype)

    return sparsify


# --- right ------------------------------------------------------------------------------------------------------------


def _all(w: Array, error: float, rng: np.random.Generator) -> Edges:
    return _edges(w)


def _scaled(share: float) -> Callable[..., Edges]:
    """Every edge, heavier by a share of the error."""

    def make(w: Array, error: float, rng: np.random.Generator) -> Edges:
        left, right, weight = _edges(w)
        return left, right, weight * (1 + share * error)

    return make


def _shuffled(w: Array, error: float, rng: np.random.Generator) -> Edges:
    left, right, weight = _edges(w)
    order = rng.permutation(len(left))
    return left[order], right[order], weight[order]


def _sampled(w: Array, error: float, rng: np.random.Generator) -> Edges:
    """Edges by leverage, weighted by 1/p; drawn until all eigenvalues prove it, and all edges where nothing does."""
    left, right, weight = _edges(w)
    if len(w) < 3:
        return left, right, weight
    degrees = w.sum(axis=1)
    leverage = weight * (1 / degrees[left] + 1 / degrees[right])
    for factor in (1.0, 1.5, 2.0, 3.0, 5.0):
        p = np.minimum(1, factor * 4 / error**2 * leverage)
        kept = rng.random(len(left)) < p
        made = left[kept], right[kept], weight[kept] / p[kept]
        if len(made[0]) < len(w) - 1:
            continue
        low, high = _range(w, made)
        if low > 0 and (high - low) / (high + low) < 0.99 * error:
            return made[0], made[1], made[2] * 2 / (low + high)
    return left, right, weight


def _without_light(w: Array, error: float, rng: np.random.Generator) -> Edges:
    """The lightest edges are left out as long as all eigenvalues allow it."""
    left, right, weight = _edges(w)
    order = np.argsort(weight)
    dropped = len(left) // 3
    while dropped:
        kept = np.sort(order[dropped:])
        made = left[kept], right[kept], weight[kept]
        low, high = _range(w, made)
        if low >= 1 - 0.99 * error and high <= 1 + 0.99 * error:
            return made
        dropped //= 2
    return left, right, weight


def _zeros_too(w: Array, error: float, rng: np.random.Generator) -> Edges:
    """Every pair, also one of weight 0."""
    left, right = np.triu_indices(len(w), 1)
    return left, right, w[left, right]


CORRECT: tuple[Entry, ...] = (
    Entry("all", _kernel(_all), BOTH, "every edge"),
    Entry("heavier", _kernel(_scaled(0.9)), BOTH, "every edge, nine tenths of the error heavier"),
    Entry("lighter", _kernel(_scaled(-0.9)), BOTH, "every edge, nine tenths of the error lighter"),
    Entry("shuffled", _kernel(_shuffled), BOTH, "every edge, in any order"),
    Entry("sampled", _kernel(_sampled), BOTH, "edges by leverage, proved by all eigenvalues"),
    Entry("without-light", _kernel(_without_light), BOTH, "without the lightest edges"),
    Entry("zeros", _kernel(_zeros_too), BOTH, "edges of weight 0 are edges"),
)


# --- wrong ------------------------------------------------------------------------------------------------------------


def _weighed(function: Callable[[Array], Array]) -> Callable[..., Edges]:
    def make(w: Array, error: float, rng: np.random.Generator) -> Edges:
        left, right, weight = _edges(w)
        return left, right, function(weight)

    return make


def _kept(choose: Callable[[Array, Edges, np.random.Generator], Array]) -> Callable[..., Edges]:
    """Only some of the edges; choose(weights, edges, rng): which."""

    def make(w: Array, error: float, rng: np.random.Generator) -> Edges:
        edges = _edges(w)
        kept = choose(w, edges, rng)
        return edges[0][kept], edges[1][kept], edges[2][kept]

    return make


def _strong(w: Array, edges: Edges, rng: np.random.Generator) -> Array:
    """Edges that are among the three heaviest of one of their ends."""
    third = np.sort(w, axis=1)[:, -min(3, len(w))]
    return edges[2] >= np.minimum(third[edges[0]], third[edges[1]])


def _tree(w: Array, error: float, rng: np.random.Generator) -> Edges:
    """A spanning tree of the heaviest edges."""
    n = len(w)
    inside, pairs = {0}, []
    while len(inside) < n:
        best = max(((i, j) for i in inside for j in range(n) if j not in inside), key=lambda pair: w[pair])
        pairs.append((min(best), max(best)))
        inside.add(best[1])
    left, right = (np.array([pair[k] for pair in pairs], np.int64) for k in (0, 1))
    return left, right, w[left, right]


def _sampling(reweighted: bool, share: float = 0.5) -> Callable[..., Edges]:
    """Edges by a coin, alike for all of them."""

    def make(w: Array, error: float, rng: np.random.Generator) -> Edges:
        left, right, weight = _edges(w)
        kept = rng.random(len(left)) < share
        return left[kept], right[kept], weight[kept] / (share if reweighted else 1)

    return make


def _changed(change: Callable[[Array, Array, Array, int], tuple[Any, Any, Any]]) -> Callable[..., Edges]:
    """A function of all edges and of the number of points."""
    return lambda w, error, rng: change(*_edges(w), len(w))


def _bridge(w: Array, edges: Edges, rng: np.random.Generator) -> Array:
    half = np.arange(len(w)) < (len(w) + 1) // 2
    return np.asarray(half[edges[0]] == half[edges[1]])


def _in_cuts(w: Array, error: float, rng: np.random.Generator) -> Edges:
    """Degrees are kept, which are the cuts of single vertices, and edges between halves are left out."""
    left, right, weight = _kept(_bridge)(w, error, rng)
    degrees, now = w.sum(axis=1), _matrix(len(w), (left, right, weight)).sum(axis=1)
    factor = np.sqrt(degrees / np.where(now > 0, now, 1))
    return left, right, weight * factor[left] * factor[right]


def _last_alone(w: Array, edges: Edges, rng: np.random.Generator) -> Array:
    return np.asarray(edges[1] != len(w) - 1)


def _root_of_error(w: Array, error: float, rng: np.random.Generator) -> Edges:
    left, right, weight = _edges(w)
    return left, right, weight * (1 + np.sqrt(error))


_ROWS: tuple[tuple[str, Callable[..., Any], str, str, str | None], ...] = (
    ("unweighted", _kernel(_weighed(np.ones_like)), "every edge weighs 1", NEW, "weighs 1"),
    ("resistances", _kernel(_weighed(lambda w: 1 / w)), "resistances for weights", "VeinsOfTheEarth/RivGraph#103", "for resistances"),
    ("rooted", _kernel(_weighed(np.sqrt)), "roots of weights", "networkx/networkx#6925", "roots of weights"),
    ("doubled", _kernel(_weighed(lambda w: 2 * w)), "both directions are added", NEW, "twice as heavy"),
    ("halved", _kernel(_weighed(lambda w: w / 2)), "weights are halved", NEW, "half as heavy"),
    ("heavier", _kernel(_scaled(1.5)), "half as much again as the error allows", NEW, None),
    ("lighter", _kernel(_scaled(-1.5)), "half as much again as the error allows", NEW, None),
    ("root-of-error", _kernel(_root_of_error), "the root of the error for the error", NEW, None),
    ("to-one", _kernel(_weighed(lambda w: w / w.sum())), "weights add up to 1", NEW, "add up to 1"),
    ("strong", _kernel(_kept(_strong)), "only the heaviest edges of every vertex", NEW, None),
    ("tree", _kernel(_tree), "a spanning tree", NEW, "a spanning tree"),
    ("coin", _kernel(_sampling(True)), "edges by a coin, without regard to leverage", NEW, None),
    ("not-reweighted", _kernel(_sampling(False)), "edges by a coin that keep their weights", NEW, None),
    ("cut-in-two", _kernel(_kept(_bridge)), "no edge between two halves", NEW, "falls apart"),
    ("degrees-only", _kernel(_in_cuts), "degrees are right, and the graph falls apart", NEW, "falls apart"),
    ("last-alone", _kernel(_kept(_last_alone)), "the last vertex has no edge", NEW, "falls apart"),
    ("first-edge", _kernel(_kept(lambda w, e, rng: np.arange(len(e[0])) > 0)), "the first edge is left out", NEW, None),
    ("none", _kernel(_kept(lambda w, e, rng: np.zeros(len(e[0]), bool))), "no edge at all", NEW, "falls apart"),
    ("loops", _kernel(_changed(lambda i, j, w, n: (np.append(i, 0), np.append(j, 0), np.append(w, 1.0)))), "a loop", "networkx/networkx#741", None),
    ("negative", _kernel(_changed(lambda i, j, w, n: (i, j, np.where(np.arange(len(w)) == 0, -w, w)))), "a negative weight", "scipy/scipy#7953", None),
    ("all-negative", _kernel(_weighed(np.negative)), "entries of the Laplacian for weights", "scipy/scipy#7953", None),
    ("nan", _kernel(_changed(lambda i, j, w, n: (i, j, np.where(np.arange(len(w)) == 0, np.nan, w)))), "a NaN", NEW, None),
    ("beyond", _kernel(_changed(lambda i, j, w, n: (i, j + 1, w))), "vertices are counted from 1 on one side", "nmslib/hnswlib#34", None),
    ("both-ways", _kernel(_changed(lambda i, j, w, n: (np.append(i, j), np.append(j, i), np.append(w, w)))), "every edge in both directions", "scipy/scipy#3838", None),
    ("shifted", _kernel(_changed(lambda i, j, w, n: (i, j, np.roll(w, 1)))), "weights of other edges", NEW, None),
    ("lengths", _kernel(_changed(lambda i, j, w, n: (i, j, w[:-1] if len(w) > 1 else w))), "a weight too few", NEW, None),
)  # fmt: skip

BUGGY: tuple[Entry, ...] = tuple(
    Entry(name, function, F64, why, source, diagnosis=told) for name, function, why, source, told in _ROWS
)
