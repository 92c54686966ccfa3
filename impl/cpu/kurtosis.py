"""The kurtosis of points in any direction: a fourth moment of scores from their second moment (ATT-10).

The largest Σ_j ⟨w, y_j⟩⁴ over unit vectors w is hard to find; the quadratic form in w ⊗ w that agrees with it is
bounded by the largest eigenvalue of one matrix, and hardly larger for points that are anything like normal.  Taken in
parts of the coordinates that matrix is far smaller, and the bound larger, for p equal parts p² times.  Nothing here is
BLAS, whose threads take cores while they wait for more.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.compiled import compiled
from assay.spec.attention.tolerance import gamma
from assay.spec.enclosure.float64 import U

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["kurtosis"]

_POWERS = 40  # of a matrix, for a guess of its largest eigenvalue
_GOLDEN = 0.6180339887498949
_ATTEMPTS = 12  # to prove one a little larger: from 1 % to 20 times


def kurtosis(grams: Iterable[Array], second: Array, n: int, lost: float) -> float:
    """At least n Σ_j ⟨z, x_j⟩⁴/(Σ_j ⟨z, x_j⟩²)² for every z; +inf where nothing is certain.

    grams: those of :func:`assay.impl.cpu.features.quadratic_gram` over n points y_j, for parts of their coordinates
    that are all of them.  second: Σ_j y_j y_jᵀ, near n times the identity.  lost: at least ‖y_j − A x_j‖, A any square
    matrix.
    """
    r = len(second)
    rounded = 8.0 * float(gamma(n + 4 * r * r + 32, U))
    apart = _size(second / n - np.eye(r)) + rounded * float(np.trace(second)) / n
    if not (apart < 0.5 and lost < 0.25):
        return math.inf
    root = sum(math.sqrt(_fourth(gram, n)) for gram in grams)
    found = ((math.sqrt(root) + lost) / (math.sqrt(1.0 - apart) - lost)) ** 4 * (1.0 + 2.0**-40)
    return found if found >= 1.0 else math.inf


def _fourth(gram: Array, n: int) -> float:
    """At least Σ_j ⟨w, y_j⟩⁴/n over unit vectors w; +inf where nothing is certain."""
    count = len(gram)
    r = (math.isqrt(8 * count + 1) - 1) // 2
    upper = np.triu_indices(r)
    rounded = 8.0 * float(gamma(n + 4 * count + 32, U))
    twice = np.where(upper[0] == upper[1], 1.0, math.sqrt(2.0))  # ⟨w, y⟩² = ⟨φ(w), φ(y)⟩ and ‖φ(w)‖ = ‖w‖²
    fourth = gram / n * np.outer(twice, twice)
    centre = np.where(upper[0] == upper[1], 1.0 / math.sqrt(r), 0.0)  # φ(w) is ‖w‖²/√r times it, and a rest across
    image = (fourth * centre).sum(axis=1)
    along = float((centre * image).sum())
    across = _size(image - along * centre)
    rest = fourth - np.outer(centre, image) - np.outer(image, centre) + along * np.outer(centre, centre)
    largest = (
        along / r + 2.0 * math.sqrt(r - 1.0) / r * across + (1.0 - 1.0 / r) * _largest_eigenvalue(rest)
        + rounded * float(np.trace(fourth))
    )  # fmt: skip
    return largest if largest >= 0.0 else math.inf


def _size(x: Array) -> float:
    """Euclid's norm, or Frobenius'."""
    return math.sqrt(float(np.square(x).sum()))


def _largest_eigenvalue(matrix: Array) -> float:
    """At least that of the symmetric matrix whose lower triangle is given; +inf where it was not found."""
    return float(_compiled()(matrix))


def _bounded(matrix: Any) -> Any:
    """b, where the Cholesky factorisation of b − M, less what its rounding may hide, runs to the end.  Compiled."""
    n = matrix.shape[0]
    v, image, column, rest = np.ones(n), np.zeros(n), np.zeros(n), np.zeros((n, n))
    for j in range(n):
        v[j] += j * _GOLDEN % 1.0  # across no eigenvector but by accident
    guess = 0.0
    for step in range(_POWERS):
        image[:] = 0.0
        for i in range(n):
            row, by = matrix[i], v[i]
            for j in range(n):
                image[j] += row[j] * by
        square = 0.0
        for j in range(n):
            square += image[j] * image[j]
        guess = np.sqrt(square) if step > 0 else 0.0  # v is a unit vector from the second on
        if not (square > 0.0 and square < np.inf):
            break
        for j in range(n):
            v[j] = image[j] / np.sqrt(square)
    hidden = 4.0 * (n + 8.0) * (n + 8.0) * U
    for attempt in range(_ATTEMPTS):
        bound = guess * (1.0 + 0.01 * 2.0**attempt) + 2.0 ** (attempt - 300)
        definite = True
        for i in range(n):
            definite = definite and abs(matrix[i, i]) <= bound
            for j in range(i):
                rest[i, j] = -matrix[i, j]
            rest[i, i] = bound * (1.0 - hidden) - matrix[i, i]
        for k in range(n if definite else 0):
            if not (rest[k, k] > 0.0 and rest[k, k] < np.inf):
                definite = False
                break
            root = np.sqrt(rest[k, k])
            for i in range(k + 1, n):
                column[i] = rest[i, k] / root
            for i in range(k + 1, n):
                row, others, by = rest[i, k + 1 : i + 1], column[k + 1 : i + 1], column[i]
                for j in range(i - k):  # from 0, which makes it one of vectors
                    row[j] -= by * others[j]
        if definite:
            return bound
    return np.inf


@functools.cache
def _compiled() -> Callable[[Array], float]:
    import numba

    types: Any = numba.types  # its annotations do not fit its own calls
    return compiled(_bounded, types.float64(types.Array(types.float64, 2, "C")), {"contract"})
