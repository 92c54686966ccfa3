"""The kurtosis of points in any direction: a fourth moment of scores from their second moment (ATT-10).

The largest Σ_j ⟨w, y_j⟩⁴ over unit vectors w is hard to find; the quadratic form in w ⊗ w that agrees with it is
bounded by the norm of one matrix, and hardly larger for points that are anything like normal.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.attention.tolerance import gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["kurtosis"]

_U = 2.0**-53
_SQUARINGS = 7
_PANEL = 1 << 18  # products in one call: more wake OpenBLAS's threads, which then take cores while they wait for more
_SMALL = 256  # rows: the products of larger matrices take so long that this is no matter


def kurtosis(gram: Array, lost: float) -> float:
    """At least n Σ_j ⟨z, x_j⟩⁴/(Σ_j ⟨z, x_j⟩²)² for every z; +inf where nothing is certain.

    gram: that of :func:`assay.impl.cpu.features.quadratic_gram` over n points y_j whose second moments are near the
    identity.  lost: at least ‖y_j − A x_j‖, A any square matrix.
    """
    n, count = float(gram[-1, -1]), len(gram) - 1
    r = (math.isqrt(8 * count + 1) - 1) // 2
    upper = np.triu_indices(r)
    second = np.zeros((r, r))
    second[upper] = gram[-1, :-1] / n
    second += np.triu(second, 1).T
    rounded = 8.0 * float(gamma(n + 4 * count + 32, _U))
    apart = _size(second - np.eye(r)) + rounded * float(np.trace(second))
    if not (apart < 0.5 and lost < 0.25):
        return math.inf
    twice = np.where(upper[0] == upper[1], 1.0, math.sqrt(2.0))  # ⟨w, y⟩² = ⟨φ(w), φ(y)⟩ and ‖φ(w)‖ = ‖w‖²
    fourth = gram[:-1, :-1] / n * np.outer(twice, twice)
    centre = np.where(upper[0] == upper[1], 1.0 / math.sqrt(r), 0.0)  # φ(w) is ‖w‖²/√r times it, and a rest across
    image = (fourth * centre).sum(axis=1)
    along = float((centre * image).sum())
    across = _size(image - along * centre)
    rest = fourth - np.outer(centre, image) - np.outer(image, centre) + along * np.outer(centre, centre)
    largest = (
        along / r + 2.0 * math.sqrt(r - 1.0) / r * across + (1.0 - 1.0 / r) * _norm(rest, _SQUARINGS)
        + rounded * float(np.trace(fourth))
    )  # fmt: skip
    found = ((largest**0.25 + lost) / (math.sqrt(1.0 - apart) - lost)) ** 4 * (1.0 + 2.0**-40)
    return found if found >= 1.0 else math.inf


def _size(x: Array) -> float:
    """Euclid's norm, or Frobenius'."""
    return math.sqrt(float(np.square(x).sum()))


def _norm(matrix: Array, squarings: int) -> float:
    """At least ‖M‖₂ of a matrix: that of Frobenius, but for ‖M‖₂² = ‖MᵀM‖₂."""
    count = len(matrix)
    size = _size(matrix) * (1.0 + float(gamma(count * count + 8, _U)))
    if squarings == 0 or not 0.0 < size < math.inf:
        return size
    shrunk = matrix / size
    rows = _PANEL // count**2 if count <= _SMALL else count
    panels = [shrunk.T[first : first + rows] @ shrunk for first in range(0, count, rows)]
    square = _norm(np.concatenate(panels), squarings - 1) + 2.0 * float(gamma(count + 4, _U))
    return size * (math.sqrt(square) + 4.0 * _U)
