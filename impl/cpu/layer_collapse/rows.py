"""Distances between rows, and spectral norms of products, both rounded upwards."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["UP", "diameter", "product_norm", "running_diameter"]

#: What a positive number that a few thousand roundings went into is multiplied by, so that it is not too small.
UP = 1.0 + 2.0**-32

_ROWS = 512  # of a tile of distances


def diameter(x: Array) -> float:
    """At least the largest distance between two rows, and hardly more.

    >>> round(diameter(np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]])), 6)
    5.0
    """
    return float(running_diameter(x)[-1])


def running_diameter(x: Array) -> Array:
    """(n,): the diameters of the first 1, 2, … rows."""
    rounding = 4.0 * 2.0**-53 * math.sqrt(x.shape[1]) * float(np.abs(x).max(initial=0.0))  # of what is subtracted
    x = x - x.mean(axis=0)
    size = float(np.abs(x).max(initial=0.0))
    if size == 0.0 or not np.isfinite(size):
        return np.full(len(x), size + rounding)
    power = (
        2.0 ** -np.frexp(size)[1] if -1000 < np.frexp(size)[1] < 1000 else 1.0
    )  # squares neither overflow nor vanish
    x = x * power
    squares = np.einsum("ij,ij->i", x, x)
    best = np.zeros(len(x))
    for start in range(0, len(x), _ROWS):
        part = slice(start, start + _ROWS)
        pairs = squares[part, None] + squares[None] - 2.0 * (x[part] @ x.T)
        best[part] = np.where(np.arange(len(x))[None] <= np.arange(len(x))[part, None], pairs, 0.0).max(axis=1)
    # squares of distances err by at most some units in the last place of the largest square
    best = np.where(np.arange(len(x)) > 0, best + (4 * x.shape[1] + 32) * 2.0**-52 * squares.max(), 0.0)
    found: Array = np.sqrt(np.maximum.accumulate(best)) * UP / power + rounding
    return found


def product_norm(a: Array, b: Array | None = None) -> float:
    """At least the spectral norm of a·b, or of a alone; a (d, k), b (k, e), fast where k is small.

    >>> round(product_norm(np.eye(3)[:, :1], 2 * np.eye(3)[:1]), 6)
    2.0
    """
    lost = 0.0
    if b is not None:
        # what the rounding of a product may take away where its terms cancel
        lost = (8 * a.shape[1] + 16) * 2.0**-53 * float(np.linalg.norm(a)) * float(np.linalg.norm(b))
        if a.shape[1] < min(a.shape[0], b.shape[1]):
            left, right = (np.asarray(np.linalg.qr(x, mode="r")) for x in (a, b.T))
            a = left @ right.T
        else:
            a = a @ b
    gram = a @ a.T if a.shape[0] < a.shape[1] else a.T @ a
    size = float(np.abs(gram).max(initial=0.0))
    if not 2.0**-900 < size < 2.0**900:  # the squares are no numbers to rely on
        return float(np.linalg.norm(a, 2)) * UP + lost
    # LAPACK's eigenvalues err by a modest multiple of the unit roundoff times the largest of them
    return math.sqrt(float(np.linalg.eigvalsh(gram)[-1])) * UP + lost
