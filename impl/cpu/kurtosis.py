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
from assay.impl.cpu.features import SINGLE, diagonal, unfolded
from assay.spec.enclosure.float64 import U
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["kurtosis"]

_ATTEMPTS = 12  # to prove one a little larger: from 1 % to 21 times


def kurtosis(fourths: Iterable[Array], second: Array, n: int, lost: float) -> float:
    """At least n Σ_j ⟨z, x_j⟩⁴/(Σ_j ⟨z, x_j⟩²)² for every z; +inf where nothing is certain.

    fourths: those of :func:`assay.impl.cpu.features.fourth_moments` over n points y_j, for parts of their coordinates
    that are all of them, and taken only where these are even.  second: Σ_j y_j y_jᵀ, near n times the identity.
    lost: at least ‖y_j − A x_j‖, A any square matrix.
    """
    r = len(second)
    rounded = 8.0 * float(gamma(n + 4 * r * r + 32, U))
    apart = _size(second / n - np.eye(r)) + rounded * float(np.trace(second)) / n
    if not (apart < 0.5 and lost < 0.25):
        return math.inf
    root = sum(math.sqrt(_fourth(sums, n)) for sums in fourths)
    found = ((math.sqrt(root) + lost) / (math.sqrt(1.0 - apart) - lost)) ** 4 * (1.0 + 2.0**-40)
    return found if found >= 1.0 else math.inf


def _fourth(sums: Array, n: int) -> float:
    """At least Σ_j ⟨w, y_j⟩⁴/n over unit vectors w; +inf where nothing is certain."""
    fourth = unfolded(sums, n)  # of φ(y): ⟨w, y⟩² = ⟨φ(w), φ(y)⟩ and ‖φ(w)‖ = ‖w‖²
    count, trace = len(fourth), float(np.trace(fourth))
    squares = diagonal(count)
    r = len(squares)
    # as ATT-10 counts it: products and sums in float32, then all else
    rounded = 1.01 * float(gamma(SINGLE + 3, 2.0**-24)) + 8.0 * float(gamma(n + 4 * count + 32, U))
    part, centre = 1.0 / math.sqrt(r), np.zeros(count)
    centre[squares] = part  # φ(w) is ‖w‖²/√r times it, and a rest across
    image = fourth[:, squares].sum(axis=1) * part
    along = float((centre * image).sum())
    across = _size(image - along * centre)
    half = part * (image - along / 2.0 * centre)
    fourth[squares] -= half  # what is left acts across the centre only
    fourth[:, squares] -= half[:, None]
    largest = (
        along / r + 2.0 * math.sqrt(r - 1.0) / r * across + (1.0 - 1.0 / r) * _largest_eigenvalue(fourth)
        + rounded * trace + 2.0**-40
    )  # fmt: skip
    return largest if largest >= 0.0 else math.inf


def _size(x: Array) -> float:
    """Euclid's norm, or Frobenius'."""
    return math.sqrt(float(np.square(x).sum()))


def _largest_eigenvalue(matrix: Array) -> float:
    """At least that of a symmetric matrix; +inf where it was not found."""
    guess: float = _compiled("_guessed")(matrix)
    if not guess < math.inf:
        return math.inf
    for attempt in range(_ATTEMPTS):
        bound = guess * (1.0 + 0.01 * 2.0**attempt) + 2.0 ** (attempt - 300)
        if _compiled("_definite")(matrix, bound):
            return bound
    return math.inf


@functools.cache
def _compiled(name: str) -> Callable[..., Any]:
    import numba

    from assay.impl.cpu.kurtosis_kernels import FUSED, KERNELS

    types: Any = numba.types  # its annotations do not fit its own calls
    square, number = types.Array(types.float64, 2, "C"), types.float64
    signature = {
        "_guessed": number(square),
        "_definite": types.boolean(square, number),
    }[name]
    return compiled(KERNELS[name], signature, FUSED)
