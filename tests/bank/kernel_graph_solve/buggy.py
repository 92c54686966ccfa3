"""Wrong solvers: each re-creates the behaviour of a defect that shipped, or a planted one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.entry import Entry
from bank.kernel_graph.engine import Array, differences, value
from bank.kernel_graph_solve.correct import Asked, grounded, grounded_first, kernel, laplacian, nearly, weights

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BUGGY"]

F64 = ("float64",)
NEW = "assay's bank"


def _after(change: Callable[[Asked, Array], Array]) -> Callable[..., Any]:
    """A function of the right solution."""
    return kernel(lambda asked: change(asked, grounded_first(asked)))


def _of(change: Callable[[Asked], Asked]) -> Callable[..., Any]:
    """The right solution of other weights or another right side."""
    return kernel(lambda asked: grounded_first(change(asked)))


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
    x = grounded(asked)
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


def _at_half(points: Array, function: str, parameter: float) -> Array:
    return weights(points, function, parameter / 2 if function in ("gaussian", "laplacian") else parameter)


def _loops_in_weights(asked: Asked) -> Array:
    return np.asarray(np.linalg.lstsq(laplacian(asked.w) - np.eye(len(asked.b)), asked.b, rcond=1e-13)[0])


def _less_degrees(asked: Asked, x: Array) -> Array:
    """What is orthogonal to the degrees, as of a normalised Laplacian that was not scaled back."""
    degrees = asked.w.sum(axis=1)
    return np.asarray(x - degrees * (float(x @ degrees) / float(degrees @ degrees)))


def _upper(asked: Asked) -> Array:
    return np.asarray(np.linalg.lstsq(laplacian(np.triu(asked.w)), asked.b, rcond=1e-13)[0])


def _halves(asked: Asked) -> Asked:
    half = np.arange(len(asked.b)) < (len(asked.b) + 1) // 2
    inside = half[:, None] == half
    return Asked(np.where(inside, asked.w, 1e-3 * asked.w), asked.b, asked.tolerance, asked.points)


def _in_one_place() -> Callable[..., Any]:
    """Weights of every call of a size are written to the same place."""
    places: dict[int, Array] = {}

    def solve(asked: Asked) -> Array:
        place = places.setdefault(len(asked.w), np.empty_like(asked.w))
        place[...] = asked.w
        time.sleep(5e-3)
        return grounded_first(Asked(place.copy(), asked.b, asked.tolerance, asked.points))

    return kernel(solve)


def _kernel_matrix(asked: Asked) -> Array:
    """A Gaussian process for a Laplacian: A + 1."""
    return np.asarray(np.linalg.lstsq(asked.w + np.eye(len(asked.b)), asked.b, rcond=None)[0])


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
    ("ridge", kernel(_ridge(1e-3)), "a multiple of the identity is added", NEW, None),
    ("loops", kernel(_loops), "loops in the degrees", "networkx/networkx#741", None),
    ("normalised", kernel(_normalised_only), "the normalised Laplacian", "scipy/scipy#10505", "normalised"),
    ("random-walk", kernel(_random_walk), "the Laplacian of the random walk", "scipy/scipy#3838, #14490", "normalised"),
    ("adjacency", kernel(_adjacency), "the adjacency matrix is solved", NEW, "adjacency"),
    ("signless", kernel(_signless), "D + A is solved", "scipy/scipy#7953", "D + A"),
    ("truncated", kernel(_truncated(3)), "the smallest eigenvalues are taken for 0", NEW, None),
    ("few-steps", kernel(_steps(4)), "four steps of Jacobi's iteration", NEW, None),
    ("residual", kernel(_loose(0.05)), "the residual is small, and the energy of the error is not", NEW, None),
    ("pinned", kernel(_pinned), "the grounded vertex is changed afterwards", NEW, None),
    ("last-entry", _sided(lambda a: np.where(np.arange(len(a.b)) < len(a.b) - 1, a.b, 0)), "the last entry of the right side is left out", NEW, "last number of the right side"),
    ("backwards", _sided(lambda a: a.b[::-1]), "the right side backwards", NEW, "backwards"),
    ("one-tolerance-more", kernel(nearly(4.0)), "an error of four times the tolerance", NEW, None),
    ("expansion", kernel(grounded_first, _expanded), "distances by norms and products in float32", "scikit-learn/scikit-learn#9354", None),
    ("unsquared", kernel(grounded_first, _unsquared), "distances are not squared", NEW, "distances are not squared"),
    ("parameter-one", kernel(grounded_first, _at_one), "the parameter is ignored", NEW, "parameter is ignored"),
    ("weak-bridges", _of(_halves), "edges between two halves are too weak", NEW, None),
    ("turned", _after(lambda a, x: x[::-1]), "the solution backwards", NEW, "the solution is read backwards"),
    ("last-zero", _after(lambda a, x: np.append((x - x.mean())[:-1], 0.0)), "the last potential is left at 0", NEW, "is set to 0"),
    ("unit-side", _sided(lambda a: a.b / np.linalg.norm(a.b)), "the right side is divided by its norm", NEW, "divided by its norm"),
    ("kernel-matrix", kernel(_kernel_matrix), "A + 1 is solved", NEW, "f(0) on the diagonal"),
    ("half-parameter", kernel(grounded_first, _at_half), "half the parameter", NEW, "half the parameter"),
    ("loops-in-weights", kernel(_loops_in_weights), "loops in A, and not in the degrees", NEW, "loops of weight 1 count in a"),
    ("upper", kernel(_upper), "only the upper triangle of A is filled", NEW, "first point of a pair alone"),
    ("along-degrees", _after(_less_degrees), "the mean by degrees is taken away along the degrees", NEW, None),
    ("root-of-tolerance", kernel(lambda a: _loose(np.sqrt(a.tolerance))(a)), "the root of the tolerance", NEW, None),
    ("residual-rule", kernel(lambda a: _loose(a.tolerance)(a)), "the tolerance of the energy for that of the residual", NEW, "the residual is within the tolerance"),
    ("scratch", _in_one_place(), "threads write weights to one place", NEW, None),
    ("nan", _after(lambda a, x: np.where(np.arange(len(x)) == 0, np.nan, x)), "a NaN", NEW, None),
)  # fmt: skip

BUGGY: tuple[Entry, ...] = tuple(
    Entry(name, function, F64, why, source, diagnosis=told) for name, function, why, source, told in _ROWS
)
