"""Cholesky's factorisation of a symmetric matrix kept as tiles, which proves that it is positive semidefinite (KG-14).

Only tiles on and below the diagonal are kept, n²/2 numbers.  Between two tiles the work reports its progress and may
be interrupted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.impl.cpu.kernel_graph.extra import linear_algebra
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Told = Callable[[int, int], None]

__all__ = ["TILE", "Factor", "bounds_of_tiles", "factored", "rounding", "steps"]

#: Rows of a tile: large enough that products of tiles dominate, small enough that a step takes less than a second.
TILE = 1024

_UNIT = 2.0**-53


def bounds_of_tiles(n: int) -> list[tuple[int, int]]:
    """The first row of every tile of n rows, and the first row after it."""
    return [(first, min(first + TILE, n)) for first in range(0, n, TILE)]


def steps(n: int) -> int:
    """How many steps :func:`factored` reports for n rows: one a tile and column of tiles to its left."""
    blocks = -(-n // TILE)
    return blocks * (blocks + 1) * (blocks + 2) // 6


def rounding(n: int, trace: float) -> float:
    """How far below 0 the least eigenvalue of a matrix of n rows may lie although its factorisation ran through.

    trace: the trace of the matrix, not negative; what its own sum rounded is covered.

    γ = γ_{n+4}(2^-53) allows two roundings for each quotient, as libraries multiply with a rounded reciprocal, and the
    bound is γ/(1 − γ)·trace (KG-14).  The last term covers products that underflow.
    """
    g = float(gamma(n + 4, _UNIT))
    if not g < 0.5:
        return math.inf
    return 1.01 * g / (1.0 - g) * trace + n * n * 2.0**-1000


@dataclass(frozen=True, eq=False)
class Factor:
    """The lower triangular factor R of a matrix R·Rᵀ of n rows, as tiles: ``tiles[i][j]`` for j ≤ i."""

    n: int
    tiles: list[list[Array]]

    def forward(self, vector: Array) -> Array:
        """R⁻¹·vector, (n,)."""
        solve = linear_algebra().solve_triangular
        found = np.array(vector, dtype=np.float64)
        for i, (first, last) in enumerate(bounds_of_tiles(self.n)):
            for j, (left, right) in enumerate(bounds_of_tiles(self.n)[:i]):
                found[first:last] -= self.tiles[i][j] @ found[left:right]
            found[first:last] = solve(self.tiles[i][i], found[first:last], lower=True, check_finite=False)
        return found

    def backward(self, vector: Array) -> Array:
        """R⁻ᵀ·vector, (n,)."""
        solve = linear_algebra().solve_triangular
        found = np.array(vector, dtype=np.float64)
        places = bounds_of_tiles(self.n)
        for i in reversed(range(len(places))):
            first, last = places[i]
            found[first:last] = solve(self.tiles[i][i], found[first:last], lower=True, trans="T", check_finite=False)
            for j, (left, right) in enumerate(places[:i]):
                found[left:right] -= self.tiles[i][j].T @ found[first:last]
        return found


def factored(n: int, tile: Callable[[int, int], Array], told: Told | None = None) -> Factor | None:
    """The factor of a symmetric matrix of n rows; None where the factorisation breaks down.

    tile: the tile of block row i and block column j ≤ i, a new float64 array, which is overwritten.  Of a tile on the
    diagonal only the lower triangle is read.

    Every number of the factor is an ordinary sum of products in some order; no fast multiplication of matrices is used,
    so that :func:`rounding` holds for it.  The matrix is built row of tiles by row of tiles, so a matrix that is not
    positive definite in its first rows is found before the others are built.
    """
    blas, lapack = linear_algebra().blas, linear_algebra().lapack
    blocks = len(bounds_of_tiles(n))
    tiles: list[list[Array]] = []
    done, total = 0, steps(n)
    for i in range(blocks):
        row: list[Array] = []
        tiles.append(row)
        for j in range(i + 1):
            here = np.asfortranarray(tile(i, j))
            for k in range(j):
                here = blas.dgemm(-1.0, row[k], tiles[j][k], beta=1.0, c=here, trans_b=1, overwrite_c=1)
                done += 1
                if told is not None:
                    told(done, total)
            if j < i:
                here = blas.dtrsm(1.0, tiles[j][j], here, side=1, lower=1, trans_a=1, overwrite_b=1)
            else:
                here, failed = lapack.dpotrf(here, lower=1, clean=1, overwrite_a=1)
                if failed or not np.isfinite(np.diagonal(here)).all():
                    return None
            row.append(here)
            done += 1
            if told is not None:
                told(done, total)
    return Factor(n, tiles)
