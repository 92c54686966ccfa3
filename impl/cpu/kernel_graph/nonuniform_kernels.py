"""The compiled kernels of the route with a window (KG-9): offsets, spreading to the nodes, and reading off them.

The factors of a point's nodes in one axis are polynomials of one number, its offset u: column l of ``table`` holds the
coefficients of node l, the highest power first, and zeros up to a multiple of eight nodes.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import vectors
from assay.impl.cpu.compiled import compiled, written
from assay.impl.cpu.kernel_graph.grid_kernels import array_types, spreading
from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["gather", "offsets", "spread"]

_FUSED = {"contract", "nsz"}


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


@functools.cache
def row_of_eights() -> Any:
    """row(u, _, table, out): out[l] = Σ_q table[q, l]·u^(count − 1 − q), by eights.

    The second number is for others: ``_spread`` of :mod:`grid_kernels` hands over two of a point.
    """
    ir: Any = required("llvmlite.ir", "cpu")
    cgutils: Any = required("numba.core.cgutils", "cpu")

    def code(context: Any, builder: Any, signature: Any, values: Any) -> None:
        arrays = [context.make_array(signature.args[k])(context, builder, values[k]) for k in (2, 3)]
        given, made = (array.data for array in arrays)
        rows, width = cgutils.unpack_tuple(builder, arrays[0].shape, 2)
        factor = vectors.alike(builder, values[0], 8)
        kept = cgutils.alloca_once(builder, ir.VectorType(ir.DoubleType(), 8))
        one, eight = ir.Constant(width.type, 1), ir.Constant(width.type, 8)
        with cgutils.for_range(builder, builder.sdiv(width, eight)) as block:
            first = builder.mul(block.index, eight)
            builder.store(builder.load(vectors.at(builder, given, first, 8), align=8), kept)
            with cgutils.for_range(builder, builder.sub(rows, one)) as step:
                at = builder.add(first, builder.mul(builder.add(step.index, one), width))
                next_one = builder.load(vectors.at(builder, given, at, 8), align=8)
                builder.store(vectors.times_plus(builder, builder.load(kept), factor, next_one), kept)
            builder.store(builder.load(kept), vectors.at(builder, made, first, 8), align=8)

    return written(code, "u _ table out")


@functools.cache
def sum_of_eights() -> Any:
    """read(grid, here, near, far, x, slices, y, rows, out): out[:8] = Σ_jk x_j·y_k·grid[here + j·far + k·near :]."""
    ir: Any = required("llvmlite.ir", "cpu")
    cgutils: Any = required("numba.core.cgutils", "cpu")

    def code(context: Any, builder: Any, signature: Any, values: Any) -> None:
        _, start, step, leap, _, most, _, count, _ = values
        nodes, left, right, made = (
            context.make_array(signature.args[k])(context, builder, values[k]).data for k in (0, 4, 6, 8)
        )
        eight = ir.VectorType(ir.DoubleType(), 8)
        total, inner = cgutils.alloca_once(builder, eight), cgutils.alloca_once(builder, eight)
        zeros = ir.Constant(eight, [0.0] * 8)
        builder.store(zeros, total)
        with cgutils.for_range(builder, most) as slice_:
            first = builder.add(start, builder.mul(slice_.index, leap))
            builder.store(zeros, inner)
            with cgutils.for_range(builder, count) as line:
                at = builder.add(first, builder.mul(line.index, step))
                factor = vectors.alike(builder, builder.load(builder.gep(right, [line.index])), 8)
                nearby = builder.load(vectors.at(builder, nodes, at, 8), align=8)
                builder.store(vectors.times_plus(builder, factor, nearby, builder.load(inner)), inner)
            factor = vectors.alike(builder, builder.load(builder.gep(left, [slice_.index])), 8)
            builder.store(vectors.times_plus(builder, factor, builder.load(inner), builder.load(total)), total)
        builder.store(builder.load(total), builder.bitcast(made, eight.as_pointer()), align=8)

    return written(code, "grid here near far x slices y rows out")


def _gather(
    place: Any, offset: Any, order: Any, table: Any, width: Any, strides: Any, begin: Any, end: Any, grid: Any, out: Any
) -> None:
    """out[order[p]] = Σ factors·grid."""
    d = place.shape[0]
    padded = table.shape[1]
    x, y, z, eight = np.ones(padded), np.ones(padded), np.empty(padded), np.empty(8)
    rows = width if d > 1 else 1
    slices = width if d > 2 else 1
    near = strides[d - 2] if d > 1 else np.int64(0)
    far = strides[0] if d > 2 else np.int64(0)
    for p in range(begin, end):
        row(offset[d - 1, p], 0.0, table, z)  # type: ignore[name-defined]  # noqa: F821
        at = place[d - 1, p]
        if d > 1:
            row(offset[d - 2, p], 0.0, table, y)  # type: ignore[name-defined]  # noqa: F821
            at += place[d - 2, p] * strides[d - 2]
        if d > 2:
            row(offset[0, p], 0.0, table, x)  # type: ignore[name-defined]  # noqa: F821
            at += place[0, p] * strides[0]
        total = 0.0
        for k8 in range(0, padded, 8):
            read(grid, at + k8, near, far, x, slices, y, rows, eight)  # type: ignore[name-defined]  # noqa: F821
            total += eight[0] * z[k8] + eight[1] * z[k8 + 1] + eight[2] * z[k8 + 2] + eight[3] * z[k8 + 3]
            total += eight[4] * z[k8 + 4] + eight[5] * z[k8 + 5] + eight[6] * z[k8 + 6] + eight[7] * z[k8 + 7]
        out[order[p]] = total


@functools.cache
def offsets() -> Callable[..., None]:
    """The compiled :func:`_offsets`."""
    kinds, whole, real, _, table, row, wholes = array_types()
    signature = kinds.void(table, row, wholes, row, real, real, whole, whole, wholes, table)
    return compiled(_offsets, signature, _FUSED)


@functools.cache
def spread() -> Callable[..., None]:
    """``_spread`` of :mod:`grid_kernels`, with the factors of a window; it is called with the offsets twice."""
    return spreading(array_types()[4], row_of_eights())


@functools.cache
def gather() -> Callable[..., None]:
    """The compiled :func:`_gather`."""
    kinds, whole, _, line, table, row, wholes = array_types()
    signature = kinds.void(wholes, table, row, table, whole, row, whole, whole, line, line)
    return compiled(_gather, signature, _FUSED, row=row_of_eights(), read=sum_of_eights())
