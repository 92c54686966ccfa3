"""Solvers of Laplacians of kernel graphs, right and wrong; nothing here uses assay.

A solver gets the points, so that it makes the weights itself: :func:`weights` is shared by all, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.entry import Entry
from bank.kernel_graph.engine import Array, differences, value

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BUGGY", "CORRECT"]

F64, BOTH = ("float64",), ("float64", "float32")
NEW = "assay's bank"


def weights(points: Array, function: str, parameter: float) -> Array:
    x = points.astype(np.float64)
    with np.errstate(divide="ignore"):
        w = value(differences(x, x), function, parameter)
    np.fill_diagonal(w, 0)
    return w


def laplacian(w: Array) -> Array:
    return np.asarray(np.diag(w.sum(axis=1)) - w)


@dataclass(frozen=True)
class Asked:
    """What a solver is asked for: weights, the right side, the tolerance, the points and the parameter."""

    w: Array
    b: Array
    tolerance: float
    points: Array


def _kernel(solve: Callable[[Asked], Array], of: Callable[..., Array] = weights) -> Callable[..., Any]:
    def solver(points: Array, right_side: Array, *, function: str, parameter: float, tolerance: float) -> Array:
        with np.errstate(all="ignore"):
            w = of(points, function, parameter)
            x = solve(Asked(w, right_side.astype(np.float64), tolerance, points.astype(np.float64)))
        return np.asarray(x).astype(right_side.dtype)

    return solver


# --- right ------------------------------------------------------------------------------------------------------------


def _grounded(asked: Asked) -> Array:
    """The last vertex is grounded."""
    x = np.zeros(len(asked.b))
    if len(x) > 1:
        x[:-1] = np.linalg.solve(laplacian(asked.w)[:-1, :-1], asked.b[:-1])
    return x


def _grounded_first(asked: Asked) -> Array:
    x = np.zeros(len(asked.b))
    if len(x) > 1:
        x[1:] = np.linalg.solve(laplacian(asked.w)[1:, 1:], asked.b[1:])
    return x - x.mean()


def _with_ones(asked: Asked) -> Array:
    """L + a·11ᵀ is positive definite."""
    matrix = laplacian(asked.w)
    return np.linalg.solve(matrix + max(np.trace(matrix), 1e-300) / len(matrix) ** 2, asked.b)


def _pseudoinverse(asked: Asked) -> Array:
    return np.asarray(np.linalg.pinv(laplacian(asked.w), rcond=1e-14, hermitian=True) @ asked.b)


def _least_squares(asked: Asked) -> Array:
    return np.asarray(np.linalg.lstsq(laplacian(asked.w), asked.b, rcond=1e-14)[0])


def _normalised(asked: Asked) -> Array:
    """D^½ (D^−½ L D^−½)⁺ …, with the null vector that belongs to it added before the solve."""
    degrees = asked.w.sum(axis=1)
    root = np.sqrt(np.where(degrees > 0, degrees, 1))
    matrix = laplacian(asked.w) / root[:, None] / root
    null = root / np.linalg.norm(root)
    return np.asarray(np.linalg.solve(matrix + np.outer(null, null), asked.b / root) / root)


def _gradients(preconditioned: bool) -> Callable[[Asked], Array]:
    """Conjugate gradients, a few more than are needed."""

    def solve(asked: Asked) -> Array:
        matrix = laplacian(asked.w)
        scale = np.maximum(asked.w.sum(axis=1), 1e-300) if preconditioned else np.ones(len(asked.b))
        x, r = np.zeros_like(asked.b), asked.b.copy()
        z = r / scale
        p, rz = z.copy(), float(r @ z)
        for _ in range(30 * len(x) + 30):
            if rz <= 1e-32 * float(asked.b @ (asked.b / scale)):
                break
            q = matrix @ p
            step = rz / float(p @ q)
            x, r = x + step * p, r - step * q
            r -= r.mean()
            z = r / scale
            new = float(r @ z)
            p, rz = z + (new / rz) * p, new
        return x

    return solve


def _eliminated(asked: Asked) -> Array:
    """Star and mesh: weights are only added, multiplied and divided."""
    w, n = asked.w.copy(), len(asked.b)
    b = asked.b.copy()
    sums = np.zeros(n)
    for k in range(n - 1, 0, -1):
        sums[k] = w[k, :k].sum()
        b[:k] += w[k, :k] * (b[k] / sums[k])
        w[:k, :k] += np.outer(w[k, :k], w[k, :k]) / sums[k]
        np.fill_diagonal(w[:k, :k], 0)
    x = np.zeros(n)
    for k in range(1, n):
        x[k] = (b[k] + w[k, :k] @ x[:k]) / sums[k]
    return x


def _shifted(asked: Asked) -> Array:
    """A constant is added, which changes nothing of what a solution is."""
    x = _grounded(asked)
    return x - x.mean() + float(np.abs(x).max(initial=0.0))


def _nearly(share: float) -> Callable[[Asked], Array]:
    """An error of a share of the tolerance in energy, along the vector of one vertex."""

    def solve(asked: Asked) -> Array:
        x, matrix = _grounded(asked), laplacian(asked.w)
        e = np.zeros_like(x)
        e[0] = 1
        size, energy = float(x @ matrix @ x), float(e @ matrix @ e)
        return x + e * (share * asked.tolerance * np.sqrt(size / energy) if energy else 0)

    return solve


CORRECT: tuple[Entry, ...] = (
    Entry("grounded", _kernel(_grounded), BOTH, "the last vertex is grounded"),
    Entry("grounded-first", _kernel(_grounded_first), BOTH, "the first vertex is grounded, and the mean taken away"),
    Entry("with-ones", _kernel(_with_ones), BOTH, "a multiple of 11ᵀ is added"),
    Entry("pseudoinverse", _kernel(_pseudoinverse), BOTH, "the pseudoinverse"),
    Entry("least-squares", _kernel(_least_squares), BOTH, "least squares"),
    Entry("normalised", _kernel(_normalised), BOTH, "the normalised Laplacian is solved, and scaled back"),
    Entry("gradients", _kernel(_gradients(False)), BOTH, "conjugate gradients"),
    Entry("jacobi", _kernel(_gradients(True)), BOTH, "conjugate gradients with the degrees"),
    Entry("eliminated", _kernel(_eliminated), BOTH, "star and mesh"),
    Entry("shifted", _kernel(_shifted), F64, "a constant added"),
    Entry("nearly", _kernel(_nearly(0.9)), F64, "an error of nine tenths of the tolerance"),
)


# --- wrong ------------------------------------------------------------------------------------------------------------


def _after(change: Callable[[Asked, Array], Array]) -> Callable[..., Any]:
    """A function of the right solution."""
    return _kernel(lambda asked: change(asked, _grounded_first(asked)))


def _of(change: Callable[[Asked], Asked]) -> Callable[..., Any]:
    """The right solution of other weights or another right side."""
    return _kernel(lambda asked: _grounded_first(change(asked)))


def _weighed(function: Callable[[Array], Array]) -> Callable[..., Any]:
    def change(asked: Asked) -> Asked:
        w = np.where(asked.w > 0, function(np.where(asked.w > 0, asked.w, 1)), 0)
        return Asked(w, asked.b, asked.tolerance, asked.points)

    return _of(change)


def _sided(function: Callable[[Asked], Array]) -> Callable[..., Any]:
    return _of(lambda asked: Asked(asked.w, function(asked), asked.tolerance, asked.points))


def _ridge(share: float) -> Callable[[Asked], Array]:
    def solve(asked: Asked) -> Array:
        matrix = laplacian(asked.w)
        return np.linalg.solve(matrix + share * np.trace(matrix) / len(matrix) * np.eye(len(matrix)), asked.b)

    return solve


def _normalised_only(asked: Asked) -> Array:
    """The normalised Laplacian for the Laplacian."""
    degrees = asked.w.sum(axis=1)
    root = np.sqrt(np.where(degrees > 0, degrees, 1))
    return np.asarray(np.linalg.pinv(laplacian(asked.w) / root[:, None] / root, hermitian=True) @ asked.b)


def _random_walk(asked: Asked) -> Array:
    degrees = np.maximum(asked.w.sum(axis=1), 1e-300)
    return np.asarray(np.linalg.pinv(laplacian(asked.w) / degrees[:, None]) @ asked.b)


def _adjacency(asked: Asked) -> Array:
    return np.asarray(np.linalg.lstsq(asked.w, asked.b, rcond=None)[0])


def _loops(asked: Asked) -> Array:
    """Self-loops in the degrees: L + f(0)."""
    return np.linalg.solve(
        laplacian(asked.w) + np.eye(len(asked.b)) * max(float(asked.w.max(initial=0)), 1e-300), asked.b
    )


def _signless(asked: Asked) -> Array:
    return np.asarray(np.linalg.lstsq(np.diag(asked.w.sum(axis=1)) + asked.w, asked.b, rcond=None)[0])


def _truncated(number: int) -> Callable[[Asked], Array]:
    """The pseudoinverse on so many eigenvectors of the largest eigenvalues."""

    def solve(asked: Asked) -> Array:
        values, vectors = np.linalg.eigh(laplacian(asked.w))
        kept = vectors[:, max(1, len(values) - number) :]
        return np.asarray(kept @ ((kept.T @ asked.b) / values[max(1, len(values) - number) :]))

    return solve


def _steps(number: int) -> Callable[[Asked], Array]:
    """Jacobi's iteration, so many steps."""

    def solve(asked: Asked) -> Array:
        degrees = np.maximum(asked.w.sum(axis=1), 1e-300)
        x = np.zeros_like(asked.b)
        for _ in range(number):
            x = 0.5 * x + 0.5 * (asked.b + asked.w @ x) / degrees
        return x

    return solve


def _loose(by: float) -> Callable[[Asked], Array]:
    """Conjugate gradients that stop where the residual in the Euclidean norm is small enough."""

    def solve(asked: Asked) -> Array:
        matrix, x, r = laplacian(asked.w), np.zeros_like(asked.b), asked.b.copy()
        p = r.copy()
        for _ in range(10 * len(x)):
            if np.linalg.norm(r) <= by * np.linalg.norm(asked.b):
                break
            q = matrix @ p
            step = float(r @ r) / float(p @ q)
            x, new = x + step * p, r - step * q
            p = new + (float(new @ new) / float(r @ r)) * p
            r = new
        return x

    return solve


def _pinned(asked: Asked) -> Array:
    """The grounded vertex gets the mean of the others in place of its 0."""
    x = _grounded(asked)
    if len(x) > 2:
        x[-1] = x[:-1].mean()
    return x


def _expanded(points: Array, function: str, parameter: float) -> Array:
    """Distances by norms and products in float32."""
    x = points.astype(np.float32)
    z = np.square(x).sum(axis=1)[:, None] + np.square(x).sum(axis=1) - 2 * (x @ x.T)
    w = value(np.maximum(z, 0).astype(np.float64), function, parameter)
    np.fill_diagonal(w, 0)
    return np.where(np.isfinite(w), w, 0)


def _unsquared(points: Array, function: str, parameter: float) -> Array:
    x = points.astype(np.float64)
    w = value(np.sqrt(differences(x, x)), function, parameter)
    np.fill_diagonal(w, 0)
    return w


def _at_one(points: Array, function: str, _parameter: float) -> Array:
    return weights(points, function, 1.0)


def _halves(asked: Asked) -> Asked:
    half = np.arange(len(asked.b)) < (len(asked.b) + 1) // 2
    inside = half[:, None] == half
    return Asked(np.where(inside, asked.w, 1e-3 * asked.w), asked.b, asked.tolerance, asked.points)


_ROWS: tuple[tuple[str, Callable[..., Any], str, str, str | None], ...] = (
    ("resistances", _weighed(lambda w: 1 / w), "resistances are read as conductances", "VeinsOfTheEarth/RivGraph#103; networkx/networkx#6925", "for resistances"),
    ("rooted-weights", _weighed(np.sqrt), "roots of weights", "networkx/networkx#6925", "roots of weights"),
    ("squared-weights", _weighed(np.square), "squares of weights", NEW, "squares of weights"),
    ("unweighted", _weighed(np.ones_like), "every edge weighs 1", NEW, "weighs 1"),
    ("doubled-weights", _weighed(lambda w: 2 * w), "every edge is counted twice", NEW, "half as large"),
    ("twice", _after(lambda a, x: 2 * x), "the solution is twice as large", NEW, "twice as large"),
    ("negative", _after(lambda a, x: -x), "the sign of the solution", NEW, "sign"),
    ("unscaled", _after(lambda a, x: x / max(float(np.linalg.norm(x)), 1e-300)), "the solution is of norm 1", NEW, "norm 1"),
    ("right-side", _after(lambda a, x: a.b), "the right side is returned", NEW, "right side"),
    ("zero", _after(lambda a, x: 0 * x), "0 is returned", NEW, "0 is returned"),
    ("multiplied", _after(lambda a, x: laplacian(a.w) @ a.b), "the Laplacian is multiplied", NEW, "is multiplied"),
    ("degrees", _after(lambda a, x: a.b / np.maximum(a.w.sum(axis=1), 1e-300)), "the right side is divided by degrees", NEW, "divided by the degrees"),
    ("ridge", _kernel(_ridge(1e-3)), "a multiple of the identity is added", NEW, None),
    ("loops", _kernel(_loops), "loops in the degrees", "networkx/networkx#741", None),
    ("normalised", _kernel(_normalised_only), "the normalised Laplacian", "scipy/scipy#10505", "normalised"),
    ("random-walk", _kernel(_random_walk), "the Laplacian of the random walk", "scipy/scipy#3838, #14490", "normalised"),
    ("adjacency", _kernel(_adjacency), "the adjacency matrix is solved", NEW, "adjacency"),
    ("signless", _kernel(_signless), "D + A is solved", "scipy/scipy#7953", "D + A"),
    ("truncated", _kernel(_truncated(3)), "the smallest eigenvalues are taken for 0", NEW, None),
    ("few-steps", _kernel(_steps(4)), "four steps of Jacobi's iteration", NEW, None),
    ("residual", _kernel(_loose(0.05)), "the residual is small, and the energy of the error is not", NEW, None),
    ("pinned", _kernel(_pinned), "the grounded vertex is changed afterwards", NEW, None),
    ("last-entry", _sided(lambda a: np.where(np.arange(len(a.b)) < len(a.b) - 1, a.b, 0)), "the last entry of the right side is left out", NEW, None),
    ("backwards", _sided(lambda a: a.b[::-1]), "the right side backwards", NEW, "backwards"),
    ("one-tolerance-more", _kernel(_nearly(4.0)), "an error of four times the tolerance", NEW, None),
    ("expansion", _kernel(_grounded_first, _expanded), "distances by norms and products in float32", "scikit-learn/scikit-learn#9354", "norms and products"),
    ("unsquared", _kernel(_grounded_first, _unsquared), "distances are not squared", NEW, "distances are not squared"),
    ("parameter-one", _kernel(_grounded_first, _at_one), "the parameter is ignored", NEW, "parameter is ignored"),
    ("weak-bridges", _of(_halves), "edges between two halves are too weak", NEW, None),
    ("nan", _after(lambda a, x: np.where(np.arange(len(x)) == 0, np.nan, x)), "a NaN", NEW, None),
)  # fmt: skip

BUGGY: tuple[Entry, ...] = tuple(
    Entry(name, function, F64, why, source, diagnosis=told) for name, function, why, source, told in _ROWS
)
