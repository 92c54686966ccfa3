"""Correct solvers of unusual structure: the judge must pass every one, in every class that it names.

A solver gets the points, so that it makes the weights itself: :func:`weights` is shared by all, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.entry import Entry
from bank.kernel_graph.engine import Array, differences, value

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CORRECT", "Asked", "grounded", "grounded_first", "kernel", "laplacian", "nearly", "weights"]

F64, BOTH = ("float64",), ("float64", "float32")


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


def kernel(solve: Callable[[Asked], Array], of: Callable[..., Array] = weights) -> Callable[..., Any]:
    def solver(points: Array, right_side: Array, *, function: str, parameter: float, tolerance: float) -> Array:
        with np.errstate(all="ignore"):
            w = of(points, function, parameter)
            x = solve(Asked(w, right_side.astype(np.float64), tolerance, points.astype(np.float64)))
        return np.asarray(x).astype(right_side.dtype)

    return solver


# --- right ------------------------------------------------------------------------------------------------------------


def grounded(asked: Asked) -> Array:
    """The last vertex is grounded."""
    x = np.zeros(len(asked.b))
    if len(x) > 1:
        x[:-1] = np.linalg.solve(laplacian(asked.w)[:-1, :-1], asked.b[:-1])
    return x


def grounded_first(asked: Asked) -> Array:
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
    x = grounded(asked)
    return x - x.mean() + float(np.abs(x).max(initial=0.0))


def nearly(share: float) -> Callable[[Asked], Array]:
    """An error of a share of the tolerance in energy, along the vector of one vertex."""

    def solve(asked: Asked) -> Array:
        x, matrix = grounded(asked), laplacian(asked.w)
        e = np.zeros_like(x)
        e[0] = 1
        size, energy = float(x @ matrix @ x), float(e @ matrix @ e)
        return x + e * (share * asked.tolerance * np.sqrt(size / energy) if energy else 0)

    return solve


#: Entries of a matrix are rounded: what is lost grows with its condition number.
OF_A_MATRIX = MappingProxyType({"ill_conditioned": "no"})

CORRECT: tuple[Entry, ...] = (
    Entry("grounded", kernel(grounded), BOTH, "the last vertex is grounded", options=OF_A_MATRIX),
    Entry(
        "grounded-first",
        kernel(grounded_first),
        BOTH,
        "the first vertex is grounded, and the mean taken away",
        options=OF_A_MATRIX,
    ),
    Entry("with-ones", kernel(_with_ones), BOTH, "a multiple of 11ᵀ is added", options=OF_A_MATRIX),
    Entry("pseudoinverse", kernel(_pseudoinverse), BOTH, "the pseudoinverse", options=OF_A_MATRIX),
    Entry("least-squares", kernel(_least_squares), BOTH, "least squares", options=OF_A_MATRIX),
    Entry(
        "normalised",
        kernel(_normalised),
        BOTH,
        "the normalised Laplacian is solved, and scaled back",
        options=OF_A_MATRIX,
    ),
    Entry("gradients", kernel(_gradients(False)), BOTH, "conjugate gradients", options=OF_A_MATRIX),
    Entry("jacobi", kernel(_gradients(True)), BOTH, "conjugate gradients with the degrees", options=OF_A_MATRIX),
    Entry("eliminated", kernel(_eliminated), BOTH, "star and mesh"),
    Entry("shifted", kernel(_shifted), F64, "a constant added", options=OF_A_MATRIX),
    Entry("nearly", kernel(nearly(0.9)), F64, "an error of nine tenths of the tolerance", options=OF_A_MATRIX),
)
