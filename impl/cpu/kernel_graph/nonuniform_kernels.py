"""The compiled kernels of the route with a window (KG-9): offsets, spreading to the nodes, and reading off them.

The factors of a point's nodes in one axis are polynomials of one number, its offset u: column l of ``table`` holds the
coefficients of node l, the highest power first, and zeros up to a multiple of eight nodes.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph.grid_kernels import FUSED, add_eight, array_types
from assay.impl.cpu.kernel_graph.weights import injected

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["gather", "offsets", "spread"]


def _offsets(
    points: Any, order: Any, first: Any, low: Any, step: Any, width: Any, begin: Any, end: Any, place: Any, offset: Any
) -> None:
    """place (d, n): first − low; offset (d, n): u, of the points in their order."""
    d = points.shape[1]
    for c in range(d):
        for p in range(begin, end):
            i = order[p]
            k = first[c, i]
            place[c, p] = k - low[c]
            apart = points[i, c] - np.float64(k) * step
            offset[c, p] = 2.0 * (apart / step) - (width - 1.0)


def _row(u: Any, table: Any, out: Any) -> None:
    """out[l] = Σ_q table[q, l]·u^(degree − q), by eights."""
    count, padded = table.shape
    for l8 in range(0, padded, 8):
        a0, a1, a2, a3 = table[0, l8], table[0, l8 + 1], table[0, l8 + 2], table[0, l8 + 3]
        a4, a5, a6, a7 = table[0, l8 + 4], table[0, l8 + 5], table[0, l8 + 6], table[0, l8 + 7]
        for q in range(1, count):
            a0 = a0 * u + table[q, l8]
            a1 = a1 * u + table[q, l8 + 1]
            a2 = a2 * u + table[q, l8 + 2]
            a3 = a3 * u + table[q, l8 + 3]
            a4 = a4 * u + table[q, l8 + 4]
            a5 = a5 * u + table[q, l8 + 5]
            a6 = a6 * u + table[q, l8 + 6]
            a7 = a7 * u + table[q, l8 + 7]
        out[l8], out[l8 + 1], out[l8 + 2], out[l8 + 3] = a0, a1, a2, a3
        out[l8 + 4], out[l8 + 5], out[l8 + 6], out[l8 + 7] = a4, a5, a6, a7


def _spread(
    place: Any, offset: Any, order: Any, values: Any, table: Any, width: Any, strides: Any, low: Any, begin: Any,
    end: Any, grid: Any,
) -> None:  # fmt: skip
    """Add values[order[p]] times the factors to the nodes of ``grid``, for points begin ≤ p < end in their order.

    The grid begins at node ``low`` of the first axis.
    """
    d = place.shape[0]
    padded = table.shape[1]
    x, y, z = np.ones(padded), np.ones(padded), np.empty(padded)
    rows = width if d > 1 else 1
    slices = width if d > 2 else 1
    near = np.uint64(strides[d - 2] if d > 1 else 0)
    far = np.uint64(strides[0] if d > 2 else 0)
    for p in range(begin, end):
        row(offset[d - 1, p], table, z)  # type: ignore[name-defined]  # noqa: F821
        at = np.uint64(place[d - 1, p] - low * strides[0])
        if d > 1:
            row(offset[d - 2, p], table, y)  # type: ignore[name-defined]  # noqa: F821
            at += np.uint64(place[d - 2, p] * strides[d - 2])
        if d > 2:
            row(offset[0, p], table, x)  # type: ignore[name-defined]  # noqa: F821
            at += np.uint64(place[0, p] * strides[0])
        v = values[order[p]]
        for j in range(slices):
            here = at
            t = v * x[j]
            for k in range(rows):
                w = t * y[k]
                for k8 in range(0, padded, 8):
                    add(grid, here + np.uint64(k8), w, z, k8)  # type: ignore[name-defined]  # noqa: F821
                here += near
            at += far


def _gather(
    place: Any, offset: Any, order: Any, table: Any, width: Any, strides: Any, begin: Any, end: Any, grid: Any, out: Any
) -> None:
    """out[order[p]] = Σ factors·grid."""
    d = place.shape[0]
    padded = table.shape[1]
    x, y, z = np.ones(padded), np.ones(padded), np.empty(padded)
    rows = width if d > 1 else 1
    slices = width if d > 2 else 1
    near = np.uint64(strides[d - 2] if d > 1 else 0)
    far = np.uint64(strides[0] if d > 2 else 0)
    for p in range(begin, end):
        row(offset[d - 1, p], table, z)  # type: ignore[name-defined]  # noqa: F821
        at = np.uint64(place[d - 1, p])
        if d > 1:
            row(offset[d - 2, p], table, y)  # type: ignore[name-defined]  # noqa: F821
            at += np.uint64(place[d - 2, p] * strides[d - 2])
        if d > 2:
            row(offset[0, p], table, x)  # type: ignore[name-defined]  # noqa: F821
            at += np.uint64(place[0, p] * strides[0])
        total = 0.0
        for k8 in range(0, padded, 8):
            first = at + np.uint64(k8)
            s0, s1, s2, s3, s4, s5, s6, s7 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for j in range(slices):
                here = first
                a0, a1, a2, a3, a4, a5, a6, a7 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
                for k in range(rows):
                    s = y[k]
                    a0 += s * grid[here + np.uint64(0)]
                    a1 += s * grid[here + np.uint64(1)]
                    a2 += s * grid[here + np.uint64(2)]
                    a3 += s * grid[here + np.uint64(3)]
                    a4 += s * grid[here + np.uint64(4)]
                    a5 += s * grid[here + np.uint64(5)]
                    a6 += s * grid[here + np.uint64(6)]
                    a7 += s * grid[here + np.uint64(7)]
                    here += near
                t = x[j]
                s0 += t * a0
                s1 += t * a1
                s2 += t * a2
                s3 += t * a3
                s4 += t * a4
                s5 += t * a5
                s6 += t * a6
                s7 += t * a7
                first += far
            total += s0 * z[k8] + s1 * z[k8 + 1] + s2 * z[k8 + 2] + s3 * z[k8 + 3]
            total += s4 * z[k8 + 4] + s5 * z[k8 + 5] + s6 * z[k8 + 6] + s7 * z[k8 + 7]
        out[order[p]] = total


@functools.cache
def offsets() -> Callable[..., None]:
    """The compiled :func:`_offsets`."""
    kinds, whole, real, _, table, row, wholes = array_types()
    signature = kinds.void(table, row, wholes, row, real, real, whole, whole, wholes, table)
    made: Callable[..., None] = injected(_offsets, signature, FUSED)
    return made


@functools.cache
def spread() -> Callable[..., None]:
    """The compiled :func:`_spread`."""
    kinds, whole, _, line, table, row, wholes = array_types()
    signature = kinds.void(wholes, table, row, line, table, whole, row, whole, whole, whole, line)
    made: Callable[..., None] = injected(_spread, signature, FUSED, row=_row, add=add_eight())
    return made


@functools.cache
def gather() -> Callable[..., None]:
    """The compiled :func:`_gather`."""
    kinds, whole, _, line, table, row, wholes = array_types()
    signature = kinds.void(wholes, table, row, table, whole, row, whole, whole, line, line)
    made: Callable[..., None] = injected(_gather, signature, FUSED, row=_row)
    return made
