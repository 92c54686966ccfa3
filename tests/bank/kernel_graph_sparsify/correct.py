"""Correct sparsifiers of unusual structure: the judge must pass every one, in every class that it names.

Each proves what it returns by all eigenvalues, which is possible for few points; float64 is far more
precise than what is allowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bank.entry import Entry
from bank.kernel_graph_solve.correct import laplacian, weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from bank.kernel_graph.engine import Array

    Edges = tuple[Array, Array, Array]

__all__ = ["CORRECT", "edges_of", "kernel", "matrix_of", "scaled"]

BOTH = ("float64", "float32")


def edges_of(w: Array) -> Edges:
    left, right = np.nonzero(np.triu(w, 1))
    return left, right, w[left, right]


def matrix_of(n: int, edges: Edges) -> Array:
    w = np.zeros((n, n))
    np.add.at(w, (edges[0], edges[1]), edges[2])
    return np.asarray(w + w.T)


def _range(w: Array, edges: Edges) -> tuple[float, float]:
    """The least and the largest generalised eigenvalue of a sparsifier."""
    degrees = w.sum(axis=1)
    root = np.sqrt(np.where(degrees > 0, degrees, 1))
    basis = np.linalg.qr(np.hstack([root[:, None], np.eye(len(w))[:, : len(w) - 1]]))[0][:, 1:]
    g, h = (basis.T @ (laplacian(m) / root[:, None] / root) @ basis for m in (w, matrix_of(len(w), edges)))
    lower = np.linalg.inv(np.linalg.cholesky(g))
    values = np.linalg.eigvalsh(lower @ h @ lower.T)
    return float(values[0]), float(values[-1])


def kernel(make: Callable[[Array, float, np.random.Generator], Edges]) -> Callable[..., Any]:
    """make(weights, error, rng): the edges."""

    def sparsify(points: Array, *, function: str, parameter: float, error: float, seed: int) -> Any:
        with np.errstate(all="ignore"):
            w = weights(points, function, parameter)
            left, right, weight = make(w, error, np.random.default_rng(seed))
        return np.asarray(left, np.int64), np.asarray(right, np.int64), np.asarray(weight).astype(points.dtype)

    return sparsify


# --- right ------------------------------------------------------------------------------------------------------------


def _all(w: Array, error: float, rng: np.random.Generator) -> Edges:
    return edges_of(w)


def scaled(share: float) -> Callable[..., Edges]:
    """Every edge, heavier by a share of the error."""

    def make(w: Array, error: float, rng: np.random.Generator) -> Edges:
        left, right, weight = edges_of(w)
        return left, right, weight * (1 + share * error)

    return make


def _shuffled(w: Array, error: float, rng: np.random.Generator) -> Edges:
    left, right, weight = edges_of(w)
    order = rng.permutation(len(left))
    return left[order], right[order], weight[order]


def _turned(w: Array, error: float, rng: np.random.Generator) -> Edges:
    """Either end may come first: an edge has no direction."""
    left, right, weight = edges_of(w)
    turned = rng.random(len(left)) < 0.5
    return np.where(turned, right, left), np.where(turned, left, right), weight


def _sampled(w: Array, error: float, rng: np.random.Generator) -> Edges:
    """Edges by leverage, weighted by 1/p; drawn until all eigenvalues prove it, and all edges where nothing does."""
    left, right, weight = edges_of(w)
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
    left, right, weight = edges_of(w)
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
    Entry("all", kernel(_all), BOTH, "every edge"),
    Entry("heavier", kernel(scaled(0.9)), BOTH, "every edge, nine tenths of the error heavier"),
    Entry("lighter", kernel(scaled(-0.9)), BOTH, "every edge, nine tenths of the error lighter"),
    Entry("shuffled", kernel(_shuffled), BOTH, "every edge, in any order"),
    Entry("turned", kernel(_turned), BOTH, "either end of an edge first"),
    Entry("sampled", kernel(_sampled), BOTH, "edges by leverage, proved by all eigenvalues"),
    Entry("without-light", kernel(_without_light), BOTH, "without the lightest edges"),
    Entry("zeros", kernel(_zeros_too), BOTH, "edges of weight 0 are edges"),
)
