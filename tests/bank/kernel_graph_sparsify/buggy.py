"""Wrong sparsifiers: each re-creates the behaviour of a defect that shipped, or a planted one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.entry import Entry
from bank.kernel_graph.engine import differences, value
from bank.kernel_graph_solve.correct import weights
from bank.kernel_graph_sparsify.correct import edges_of, kernel, matrix_of, scaled

if TYPE_CHECKING:
    from collections.abc import Callable

    from bank.kernel_graph.engine import Array

    Edges = tuple[Array, Array, Array]

__all__ = ["BUGGY"]

F64 = ("float64",)
NEW = "assay's bank"


def _weighed(function: Callable[[Array], Array]) -> Callable[..., Edges]:
    def make(w: Array, error: float, rng: np.random.Generator) -> Edges:
        left, right, weight = edges_of(w)
        return left, right, function(weight)

    return make


def _kept(choose: Callable[[Array, Edges, np.random.Generator], Array]) -> Callable[..., Edges]:
    """Only some of the edges; choose(weights, edges, rng): which."""

    def make(w: Array, error: float, rng: np.random.Generator) -> Edges:
        edges = edges_of(w)
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
        left, right, weight = edges_of(w)
        kept = rng.random(len(left)) < share
        return left[kept], right[kept], weight[kept] / (share if reweighted else 1)

    return make


def _changed(change: Callable[[Array, Array, Array, int], tuple[Any, Any, Any]]) -> Callable[..., Edges]:
    """A function of all edges and of the number of points."""
    return lambda w, error, rng: change(*edges_of(w), len(w))


def _bridge(w: Array, edges: Edges, rng: np.random.Generator) -> Array:
    half = np.arange(len(w)) < (len(w) + 1) // 2
    return np.asarray(half[edges[0]] == half[edges[1]])


def _in_cuts(w: Array, error: float, rng: np.random.Generator) -> Edges:
    """Degrees are kept, which are the cuts of single vertices, and edges between halves are left out."""
    left, right, weight = _kept(_bridge)(w, error, rng)
    degrees, now = w.sum(axis=1), matrix_of(len(w), (left, right, weight)).sum(axis=1)
    factor = np.sqrt(degrees / np.where(now > 0, now, 1))
    return left, right, weight * factor[left] * factor[right]


def _last_alone(w: Array, edges: Edges, rng: np.random.Generator) -> Array:
    return np.asarray(edges[1] != len(w) - 1)


def _root_of_error(w: Array, error: float, rng: np.random.Generator) -> Edges:
    left, right, weight = edges_of(w)
    return left, right, weight * (1 + np.sqrt(error))


def _in_one_place() -> Callable[..., Any]:
    """Weights of every call of a size are written to the same place."""
    places: dict[int, Array] = {}

    def make(w: Array, error: float, rng: np.random.Generator) -> Edges:
        place = places.setdefault(len(w), np.empty_like(w))
        place[...] = w
        time.sleep(5e-3)
        return edges_of(place)

    return kernel(make)


def _of_points(made: Callable[[Array, str, float], Array]) -> Callable[..., Any]:
    """Every edge, with other weights."""

    def sparsify(points: Array, *, function: str, parameter: float, error: float, seed: int) -> Any:
        with np.errstate(all="ignore"):
            left, right, weight = edges_of(made(points, function, parameter))
        return left.astype(np.int64), right.astype(np.int64), weight.astype(points.dtype)

    return sparsify


def _unsquared(points: Array, function: str, parameter: float) -> Array:
    x = points.astype(np.float64)
    w = value(np.sqrt(differences(x, x)), function, parameter)
    np.fill_diagonal(w, 0)
    return w


def _merged(w: Array, error: float, rng: np.random.Generator) -> Edges:
    """Edges are drawn with replacement by their weights, each of the same weight, and one that comes again is lost."""
    left, right, weight = edges_of(w)
    drawn = np.unique(rng.choice(len(weight), 4 * len(weight), p=weight / weight.sum()))
    return left[drawn], right[drawn], np.full(len(drawn), weight.sum() / (4 * len(weight)))


_ROWS: tuple[tuple[str, Callable[..., Any], str, str, str | None], ...] = (
    ("unweighted", kernel(_weighed(np.ones_like)), "every edge weighs 1", NEW, "weighs 1"),
    ("resistances", kernel(_weighed(lambda w: 1 / w)), "resistances for weights", "VeinsOfTheEarth/RivGraph#103", "for resistances"),
    ("rooted", kernel(_weighed(np.sqrt)), "roots of weights", "networkx/networkx#6925", "roots of weights"),
    ("doubled", kernel(_weighed(lambda w: 2 * w)), "both directions are added", NEW, "twice as heavy"),
    ("halved", kernel(_weighed(lambda w: w / 2)), "weights are halved", NEW, "half as heavy"),
    ("heavier", kernel(scaled(1.5)), "half as much again as the error allows", NEW, None),
    ("lighter", kernel(scaled(-1.5)), "half as much again as the error allows", NEW, None),
    ("root-of-error", kernel(_root_of_error), "the root of the error for the error", NEW, None),
    ("to-one", kernel(_weighed(lambda w: w / w.sum())), "weights add up to 1", NEW, "add up to 1"),
    ("strong", kernel(_kept(_strong)), "only the heaviest edges of every vertex", NEW, None),
    ("tree", kernel(_tree), "a spanning tree", NEW, "a spanning tree"),
    ("coin", kernel(_sampling(True)), "edges by a coin, without regard to leverage", NEW, None),
    ("not-reweighted", kernel(_sampling(False)), "edges by a coin that keep their weights", NEW, None),
    ("cut-in-two", kernel(_kept(_bridge)), "no edge between two halves", NEW, "falls apart"),
    ("degrees-only", kernel(_in_cuts), "degrees are right, and the graph falls apart", NEW, "falls apart"),
    ("last-alone", kernel(_kept(_last_alone)), "the last vertex has no edge", NEW, "falls apart"),
    ("first-edge", kernel(_kept(lambda w, e, rng: np.arange(len(e[0])) > 0)), "the first edge is left out", NEW, None),
    ("none", kernel(_kept(lambda w, e, rng: np.zeros(len(e[0]), bool))), "no edge at all", NEW, "falls apart"),
    ("loops", kernel(_changed(lambda i, j, w, n: (np.append(i, 0), np.append(j, 0), np.append(w, 1.0)))), "a loop", "networkx/networkx#741", None),
    ("negative", kernel(_changed(lambda i, j, w, n: (i, j, np.where(np.arange(len(w)) == 0, -w, w)))), "a negative weight", "scipy/scipy#7953", "a weight is negative"),
    ("all-negative", kernel(_weighed(np.negative)), "entries of the Laplacian for weights", "scipy/scipy#7953", None),
    ("nan", kernel(_changed(lambda i, j, w, n: (i, j, np.where(np.arange(len(w)) == 0, np.nan, w)))), "a NaN", NEW, "no number"),
    ("beyond", kernel(_changed(lambda i, j, w, n: (i, j + 1, w))), "vertices are counted from 1 on one side", "nmslib/hnswlib#34", None),
    ("both-ways", kernel(_changed(lambda i, j, w, n: (np.append(i, j), np.append(j, i), np.append(w, w)))), "every edge in both directions", "scipy/scipy#3838", "both directions"),
    ("given-twice", kernel(_changed(lambda i, j, w, n: (np.append(i, i), np.append(j, j), np.append(w, w) / 2))), "every edge twice, half as heavy", NEW, "given twice"),
    ("from-one", kernel(_changed(lambda i, j, w, n: (i + 1, j + 1, w))), "vertices are counted from 1", NEW, "numbered from 1"),
    ("from-the-end", kernel(_changed(lambda i, j, w, n: (i, np.where(j == n - 1, -1, j), w))), "the last vertex is -1", NEW, "an index is negative"),
    ("a-tenth-more", kernel(scaled(1.1)), "a tenth more than the error allows", NEW, "no known wrong semantics"),
    ("half-parameter", _of_points(lambda x, f, p: weights(x, f, p / 2 if f in ("gaussian", "laplacian") else p)), "half the parameter", NEW, "half the parameter"),
    ("unsquared", _of_points(_unsquared), "distances are not squared", NEW, "distances are not squared"),
    ("decimals", kernel(_weighed(lambda w: np.round(w, 2))), "weights with two decimals", NEW, "rounded to some decimals"),
    ("merged", kernel(_merged), "edges that are drawn twice count once", NEW, "every edge weighs the same"),
    ("squared-factor", kernel(lambda w, error, rng: (*edges_of(w)[:2], edges_of(w)[2] * (1 + error) ** 2)), "1 + ε of norms, and not of their squares", NEW, "ε of norms"),
    ("scratch", _in_one_place(), "threads write weights to one place", NEW, None),
    ("shifted", kernel(_changed(lambda i, j, w, n: (i, j, np.roll(w, 1)))), "weights of other edges", NEW, "weights are those of other edges"),
    ("lengths", kernel(_changed(lambda i, j, w, n: (i, j, w[:-1] if len(w) > 1 else w))), "a weight too few", NEW, None),
)  # fmt: skip

BUGGY: tuple[Entry, ...] = tuple(
    Entry(name, function, F64, why, source, diagnosis=told) for name, function, why, source, told in _ROWS
)
