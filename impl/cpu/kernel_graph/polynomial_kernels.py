"""The compiled kernels of the polynomial route (KG-6): moments of features, and sums of weighted features at points.

Features are visited parent before child, and all that descends from a child before the next child.  So only those on
the way from the first to the one at hand are in memory, a row of 128 points each: row k is the row before it times one
coordinate, and row 0 is 1.  Products and sums may be fused, and the compiler may choose their order.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from assay.impl.cpu.compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CHUNK", "evaluate", "moments"]

CHUNK = 128  # points whose features are made together: the arrays f, x and y have so many columns
_FUSED = {"contract", "nsz", "reassoc"}


def _load(factors: Any, start: Any, many: Any, x: Any) -> None:
    """Put the factors of ``many`` points from ``start`` on into the first columns of x."""
    for c in range(x.shape[0]):
        for j in range(many):
            x[c, j] = factors[c, start + j]


def _moments(
    factors: Any, vectors: Any, depth: Any, factor: Any, feature: Any, f: Any, x: Any, y: Any, out: Any
) -> None:
    """Add Σ_j φ_i(x_j) v_j to out (rank, columns), for points of ``factors`` (·, n) and ``vectors`` (n, columns)."""
    count, columns = vectors.shape
    for start in range(0, count, 128):
        many = min(128, count - start)
        load(factors, start, many, x)  # type: ignore[name-defined]  # noqa: F821
        for c in range(columns):
            s = 0.0
            for j in range(many):
                y[c, j] = vectors[start + j, c]
                s += y[c, j]
            out[0, c] += s
            y[c, many:] = 0.0
        for a in range(1, depth.shape[0]):
            row, above, by, i = f[depth[a]], f[depth[a] - 1], x[factor[a]], feature[a]
            given = y[0]
            s = 0.0
            for j in range(128):
                row[j] = above[j] * by[j]
                s += row[j] * given[j]
            out[i, 0] += s
            for c in range(1, columns):
                given = y[c]
                s = 0.0
                for j in range(128):
                    s += row[j] * given[j]
                out[i, c] += s


def _evaluate(
    factors: Any, weights: Any, depth: Any, factor: Any, feature: Any, f: Any, x: Any, y: Any, out: Any
) -> None:
    """out[j] = Σ_i φ_i(x_j) weights_i (rank, columns), for the points of ``factors`` (·, n)."""
    count, columns = out.shape
    for start in range(0, count, 128):
        many = min(128, count - start)
        load(factors, start, many, x)  # type: ignore[name-defined]  # noqa: F821
        for c in range(columns):
            y[c] = weights[0, c]
        for a in range(1, depth.shape[0]):
            row, above, by, i = f[depth[a]], f[depth[a] - 1], x[factor[a]], feature[a]
            total, weight = y[0], weights[i, 0]
            for j in range(128):
                row[j] = above[j] * by[j]
                total[j] += row[j] * weight
            for c in range(1, columns):
                total, weight = y[c], weights[i, c]
                for j in range(128):
                    total[j] += row[j] * weight
        for c in range(columns):
            for j in range(many):
                out[start + j, c] = y[c, j]


@functools.cache
def moments() -> Callable[..., None]:
    """The compiled :func:`_moments`."""
    return _compiled(_moments)


@functools.cache
def evaluate() -> Callable[..., None]:
    """The compiled :func:`_evaluate`."""
    return _compiled(_evaluate)


def _compiled(kernel: Callable[..., None]) -> Callable[..., None]:
    import numba

    types: Any = numba.types
    table, wholes = types.Array(types.float64, 2, "C"), types.Array(types.int64, 1, "C")
    signature = types.void(table, table, wholes, wholes, wholes, *[table] * 4)
    return compiled(kernel, signature, _FUSED, load=_load)
