"""The kurtosis of points in any direction: a fourth moment of scores from their second moment (ATT-10).

The largest Σ_j ⟨w, y_j⟩⁴ over unit vectors w is hard to find.  It is a quadratic form in w ⊗ w, which the largest
eigenvalue of one matrix bounds; for points that are anything like normal this bound is hardly larger.  Where the
coordinates are divided into parts, the matrices are far smaller and the bound is larger: p² times for p equal parts.
This module does not use BLAS, because its threads would go on taking cores while they wait for more work.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.compiled import CONTRACT, compiled
from assay.impl.cpu.features import SINGLE, diagonal, unfolded
from assay.spec.enclosure.float64 import U
from assay.spec.instances.extra import required
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["kurtosis"]

_ATTEMPTS = 12  # bounds that are tried, from 1 % above the guess to 21 times the guess


def kurtosis(fourths: Iterable[Array], second: Array, n: int, lost: float) -> float:
    """κ of ATT-10: at least n Σ_j ⟨z, x_j⟩⁴/(Σ_j ⟨z, x_j⟩²)² for every z; +inf where nothing is certain.

    fourths: the sums of :func:`assay.impl.cpu.features.fourth_moments` over n points y_j, one for each part of their
    coordinates; the iterable is consumed only if ``second`` is near enough to n times the identity.  second (r, r):
    Σ_j y_j y_jᵀ.  lost: at least ‖y_j − A x_j‖ for all j, where A is any square matrix.
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
    """τ of ATT-10 for one part: at least Σ_j ⟨w, y_j⟩⁴/n for unit vectors w; +inf where nothing is certain."""
    fourth = unfolded(sums, n)  # T, the second moments of φ(y): ⟨w, y⟩² = ⟨φ(w), φ(y)⟩ and ‖φ(w)‖ = ‖w‖²
    count, trace = len(fourth), float(np.trace(fourth))
    squares = diagonal(count)
    r = len(squares)
    # as ATT-10 counts roundings: first those of products and sums in float32, then all others
    rounded = 1.01 * float(gamma(SINGLE + 3, 2.0**-24)) + 8.0 * float(gamma(n + 4 * count + 32, U))
    part, centre = 1.0 / math.sqrt(r), np.zeros(count)
    centre[squares] = part  # φ(w) is ‖w‖²/√r times the centre, plus a vector orthogonal to it
    image = fourth[:, squares].sum(axis=1) * part
    along = float((centre * image).sum())
    across = _size(image - along * centre)
    half = part * (image - along / 2.0 * centre)
    fourth[squares] -= half  # T⊥ is left, which acts across the centre only
    fourth[:, squares] -= half[:, None]
    largest = (
        along / r + 2.0 * math.sqrt(r - 1.0) / r * across + (1.0 - 1.0 / r) * _largest_eigenvalue(fourth)
        + rounded * trace + 2.0**-40
    )  # fmt: skip
    return largest if largest >= 0.0 else math.inf


def _size(x: Array) -> float:
    """The Euclidean norm of a vector, the Frobenius norm of a matrix."""
    return math.sqrt(float(np.square(x).sum()))


def _largest_eigenvalue(matrix: Array) -> float:
    """An upper bound of the largest eigenvalue of a symmetric matrix; +inf where none was proved."""
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
    numba = required("numba", "cpu")

    from assay.impl.cpu.kurtosis_kernels import KERNELS

    types: Any = numba.types  # its annotations do not fit its own calls
    square, number = types.Array(types.float64, 2, "C"), types.float64
    signature = {
        "_guessed": number(square),
        "_definite": types.boolean(square, number),
    }[name]
    return compiled(KERNELS[name], signature, CONTRACT)
