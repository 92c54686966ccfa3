"""The compiled kernels of the grid: where a point lies, spreading vectors to the nodes, and reading sums off them.

A point touches ``width`` nodes an axis, of which the first has the number ``first``.  The factor of node first + l is
start·ratio^l·table[l], which are e^(−2λ(x − t)²) (KG-8): ``start`` and ``ratio`` are kept of every point and axis,
``table`` is shared.  The last axis is padded to a multiple of eight nodes with factors of 0.  Node numbers are
unsigned, so that the compiler need not look for negative ones.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import vectors
from assay.impl.cpu.compiled import compiled, written
from assay.impl.cpu.kernel_graph.weights import exponential

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["array_types", "factors", "gather", "place", "sort", "spread", "spreading"]

_FUSED = {"contract", "nsz"}


def _place(points: Any, step: Any, width: Any, begin: Any, end: Any, first: Any) -> None:
    """first[c, i]: the number of the first node that point i touches in axis c, of nodes k·step for all integers k."""
    d = points.shape[1]
    half = width / 2.0
    for i in range(begin, end):
        for c in range(d):
            first[c, i] = np.int64(np.floor(points[i, c] / step - half)) + 1


def _sort(first: Any, low: Any, shift: Any, sizes: Any, counts: Any, keys: Any, order: Any) -> None:
    """The order of points by blocks of 2^shift nodes an axis, row by row; a counting sort.  counts: zeros."""
    d, n = first.shape
    for i in range(n):
        key = np.int64(0)
        for c in range(d):
            key = key * sizes[c] + ((first[c, i] - low[c]) >> shift)
        keys[i] = key
        counts[key + 1] += 1
    for k in range(1, len(counts)):
        counts[k] += counts[k - 1]
    for i in range(n):
        order[counts[keys[i]]] = i
        counts[keys[i]] += 1


def _factors(
    points: Any, order: Any, first: Any, low: Any, step: Any, decay: Any, centre: Any, begin: Any, end: Any,
    place: Any, starts: Any, ratios: Any,
) -> None:  # fmt: skip
    """place (d, n): first − low; starts, ratios (d, n), of the points in their order.  decay: 2λ."""
    d = points.shape[1]
    cross = 2.0 * decay * step
    for c in range(d):
        for p in range(begin, end):
            i = order[p]
            k = first[c, i]
            place[c, p] = k - low[c]
            apart = points[i, c] - np.float64(k + centre) * step
            starts[c, p] = -apart * (decay * apart + cross * centre)
            ratios[c, p] = cross * apart
        for p in range(begin, end):
            starts[c, p] = exp(starts[c, p])  # type: ignore[name-defined]  # noqa: F821
            ratios[c, p] = exp(ratios[c, p])  # type: ignore[name-defined]  # noqa: F821


def _row(start: Any, ratio: Any, table: Any, out: Any) -> None:
    """out[l] = start·ratio^l·table[l], by eights."""
    r2 = ratio * ratio
    r3 = r2 * ratio
    r4 = r2 * r2
    r8 = r4 * r4
    base = start
    for l8 in range(0, len(table), 8):
        out[l8] = base * table[l8]
        out[l8 + 1] = base * ratio * table[l8 + 1]
        out[l8 + 2] = base * r2 * table[l8 + 2]
        out[l8 + 3] = base * r3 * table[l8 + 3]
        high = base * r4
        out[l8 + 4] = high * table[l8 + 4]
        out[l8 + 5] = high * ratio * table[l8 + 5]
        out[l8 + 6] = high * r2 * table[l8 + 6]
        out[l8 + 7] = high * r3 * table[l8 + 7]
        base = base * r8


@functools.cache
def _add_eight() -> Any:
    """grid[here : here + 8] += s·z[at : at + 8] as one vector: no compiler sees that the arrays are apart."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> None:
        nodes, row = (context.make_array(signature.args[k])(context, builder, values[k]).data for k in (0, 3))
        here, factors = vectors.at(builder, nodes, values[1], 8), vectors.at(builder, row, values[4], 8)
        node, factor = (builder.load(place, align=8) for place in (here, factors))
        made = vectors.times_plus(builder, vectors.alike(builder, values[2], 8), factor, node)
        builder.store(made, here, align=8)

    return written(code, "grid here s z at")


def _spread(
    place: Any, starts: Any, ratios: Any, order: Any, values: Any, table: Any, width: Any, strides: Any, low: Any,
    begin: Any, end: Any, grid: Any,
) -> None:  # fmt: skip
    """Add values[order[p]] times the factors to the nodes of ``grid``, for points begin ≤ p < end in their order.

    The grid begins at node ``low`` of the first axis.  The factors are what ``row`` makes of ``starts`` and ``ratios``
    and of the table, whose last axis is one node or more up to a multiple of eight.
    """
    d = place.shape[0]
    padded = table.shape[-1]
    x, y, z = np.ones(padded), np.ones(padded), np.empty(padded)
    rows = width if d > 1 else 1
    slices = width if d > 2 else 1
    near = np.uint64(strides[d - 2] if d > 1 else 0)
    far = np.uint64(strides[0] if d > 2 else 0)
    for p in range(begin, end):
        row(starts[d - 1, p], ratios[d - 1, p], table, z)  # type: ignore[name-defined]  # noqa: F821
        at = np.uint64(place[d - 1, p] - low * strides[0])
        if d > 1:
            row(starts[d - 2, p], ratios[d - 2, p], table, y)  # type: ignore[name-defined]  # noqa: F821
            at += np.uint64(place[d - 2, p] * strides[d - 2])
        if d > 2:
            row(starts[0, p], ratios[0, p], table, x)  # type: ignore[name-defined]  # noqa: F821
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
    place: Any, starts: Any, ratios: Any, order: Any, table: Any, width: Any, strides: Any, begin: Any, end: Any,
    grid: Any, out: Any, own: Any,
) -> None:  # fmt: skip
    """out[order[p]] = Σ factors·grid; own[order[p]] = Σ factors², what the point itself adds of its own vector."""
    d = place.shape[0]
    padded = len(table)
    x, y, z = np.ones(padded), np.ones(padded), np.empty(padded)
    rows = width if d > 1 else 1
    slices = width if d > 2 else 1
    near = np.uint64(strides[d - 2] if d > 1 else 0)
    far = np.uint64(strides[0] if d > 2 else 0)
    for p in range(begin, end):
        row(starts[d - 1, p], ratios[d - 1, p], table, z)  # type: ignore[name-defined]  # noqa: F821
        at = np.uint64(place[d - 1, p])
        square = squares(z, padded)  # type: ignore[name-defined]  # noqa: F821
        if d > 1:
            row(starts[d - 2, p], ratios[d - 2, p], table, y)  # type: ignore[name-defined]  # noqa: F821
            at += np.uint64(place[d - 2, p] * strides[d - 2])
            square *= squares(y, width)  # type: ignore[name-defined]  # noqa: F821
        if d > 2:
            row(starts[0, p], ratios[0, p], table, x)  # type: ignore[name-defined]  # noqa: F821
            at += np.uint64(place[0, p] * strides[0])
            square *= squares(x, width)  # type: ignore[name-defined]  # noqa: F821
        total = 0.0
        for k8 in range(0, padded, 8):
            first = at + np.uint64(k8)
            s0, s1, s2, s3, s4, s5, s6, s7 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for j in range(slices):
                here = first
                t = x[j]
                for k in range(rows):
                    s = t * y[k]
                    s0 += s * grid[here + np.uint64(0)]
                    s1 += s * grid[here + np.uint64(1)]
                    s2 += s * grid[here + np.uint64(2)]
                    s3 += s * grid[here + np.uint64(3)]
                    s4 += s * grid[here + np.uint64(4)]
                    s5 += s * grid[here + np.uint64(5)]
                    s6 += s * grid[here + np.uint64(6)]
                    s7 += s * grid[here + np.uint64(7)]
                    here += near
                first += far
            total += s0 * z[k8] + s1 * z[k8 + 1] + s2 * z[k8 + 2] + s3 * z[k8 + 3]
            total += s4 * z[k8 + 4] + s5 * z[k8 + 5] + s6 * z[k8 + 6] + s7 * z[k8 + 7]
        out[order[p]] = total
        own[order[p]] = square


def _squares(row: Any, count: Any) -> Any:
    """Σ of the squares of the first numbers."""
    total = 0.0
    for k in range(count):
        total += row[k] * row[k]
    return total


def array_types() -> tuple[Any, ...]:
    """numba.types, and the types of whole and real numbers and of their rows and tables."""
    import numba

    types: Any = numba.types
    return (
        types, types.int64, types.float64, types.Array(types.float64, 1, "C"), types.Array(types.float64, 2, "C"),
        types.Array(types.int64, 1, "C"), types.Array(types.int64, 2, "C"),
    )  # fmt: skip


@functools.cache
def place() -> Callable[..., None]:
    """The compiled :func:`_place`."""
    types, whole, real, _, table, _, wholes = array_types()
    return compiled(_place, types.void(table, real, whole, whole, whole, wholes), _FUSED)


@functools.cache
def sort() -> Callable[..., None]:
    """The compiled :func:`_sort`."""
    types, whole, _, _, _, row, wholes = array_types()
    return compiled(_sort, types.void(wholes, row, whole, row, row, row, row), _FUSED)


@functools.cache
def factors() -> Callable[..., None]:
    """The compiled :func:`_factors`."""
    types, whole, real, _, table, row, wholes = array_types()
    signature = types.void(table, row, wholes, row, real, real, whole, whole, whole, wholes, table, table)
    return compiled(_factors, signature, _FUSED, exp=exponential("float64"))


@functools.cache
def spread() -> Callable[..., None]:
    """The compiled :func:`_spread`, with the factors of Gaussians."""
    return spreading(array_types()[3], _row)


def spreading(shared: Any, row_of: Any) -> Callable[..., None]:
    """The compiled :func:`_spread` for a table of type ``shared``, with what makes the factors of a point."""
    types, whole, _, line, table, row, wholes = array_types()
    signature = types.void(wholes, table, table, row, line, shared, whole, row, whole, whole, whole, line)
    return compiled(_spread, signature, _FUSED, row=row_of, add=_add_eight())


@functools.cache
def gather() -> Callable[..., None]:
    """The compiled :func:`_gather`."""
    types, whole, _, line, table, row, wholes = array_types()
    signature = types.void(wholes, table, table, row, line, whole, row, whole, whole, line, line, line)
    return compiled(_gather, signature, _FUSED, row=_row, squares=_squares)
