"""Rows of gradients from tables of moments, of queries and of keys (GRAD-6)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import features
from assay.impl.cpu.compiled import compiled
from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.attention.heads import Head
    from assay.impl.cpu.attention_gradient.plan import Plan
    from assay.impl.cpu.features import Band

    Array = NDArray[np.float64]

__all__ = ["GROUP", "keys", "queries", "roundings"]

GROUP = 8 * features.CHUNK  # rows whose tables are in memory at a time, under a mask


def roundings(plan: Plan, blocks: int, columns: int) -> int:
    """K of GRAD-7: the most roundings that a term of any degree meets on its way into a row.

    blocks: of keys, or of queries of all heads of the group, whichever are more.  columns: of V.
    """
    d, degree = plan.dimension, plan.degree + 1
    sums = blocks + 2 * features.BLOCK // features.CHUNK + 8  # blocks of a table, and the steps of a sliding one
    sweep = (d + 2) * (degree + 1) + features.rank(d, degree) + columns + 8
    beside = 2 * features.CHUNK + (d + 4) * (degree + 1) + columns + 8  # keys that are added one by one
    return features.roundings(d, degree, degree) + sums + sweep + beside


def queries(
    plan: Plan, head: Head, query: NDArray[Any], grad_output: NDArray[Any], weights: Array, tables: Array,
    touched: NDArray[np.int64], first: int, last: int, out: NDArray[Any],
) -> tuple[Array, float]:  # fmt: skip
    """Write rows first … last−1 of grad_query; return what the keys need of these rows, and the least Ẑ/touched.

    weights (n_q, 3): w_i, u_i and H_i of GRAD-7, the latter in the units of the plan, as δ is.
    tables (chunks, padded rank, d_v + 1): moments of keys and values.
    The result is (last − first, d_v + 3): g/Ẑ, δ/Ẑ, w/Ẑ and (H + |δ|)u/Ẑ, of which the last two columns bound errors.
    """
    stored = np.empty((last - first, head.value.shape[1] + 3))
    least = np.array([np.inf])
    columns, wide = plan.weighted(tables, range(tables.shape[2]), range(tables.shape[2]))
    _compiled("_queries", query.dtype)(
        query, grad_output, plan.factor, plan.table.parent, plan.table.variable, plan.inner, columns, wide, plan.lift,
        weights, plan.coefficients, head.band.offset, head.band.left, head.band.right, touched, head.key, head.value,
        head.centre, plan.shrink, head.middle, head.grow, first, last, plan.factor * plan.size, out,
        stored, least,
    )  # fmt: skip
    return stored, float(least[0])


def keys(
    plan: Plan, head: Head, query: NDArray[Any], stored: Array, tables: Array, band: Band, first: int, last: int,
    grad_key: Array, grad_value: Array,
) -> None:  # fmt: skip
    """Add rows first … last−1 of the sums for grad_key (n_k, d) and grad_value (n_k, d_v + 2), in units of the plan.

    stored: what :func:`queries` returned for all queries of one head; it is read only for queries that some keys of a
    chunk are seen by and others are not.  tables (chunks, padded rank, d_v + 3): moments of queries and ``stored``.
    band: the queries that see every key.  The last two columns are the sums that bound the errors.
    """
    w = head.value.shape[1]
    columns, wide = plan.weighted(tables, [*range(w), w + 1, w + 2], range(w + 1))
    _compiled("_keys", query.dtype)(
        head.key, head.value, head.centre, plan.shrink, head.middle, head.grow, plan.table.parent,
        plan.table.variable, plan.inner, columns, wide, plan.coefficients, band.offset, band.left, band.right,
        query, plan.factor, stored, first, last, grad_key, grad_value,
    )  # fmt: skip


@functools.cache
def _compiled(name: str, dtype: np.dtype[Any]) -> Callable[..., Any]:
    """The compiled kernel of a name for one dtype of the points and any strides."""
    numba = required("numba", "cpu")

    from assay.impl.cpu.attention_gradient.sweep_kernels import FUSED, KERNELS, steps

    types: Any = numba.types  # its annotations do not fit its own calls
    real = {"float32": types.float32, "float64": types.float64}[dtype.name]
    number, index = types.float64, types.int64
    vector, column = types.Array(number, 1, "C"), types.Array(index, 1, "C")
    points = types.Array(real, 2, "A", readonly=True)
    square, tables = types.Array(number, 2, "C"), types.Array(number, 3, "C")
    signature = {
        "_queries": types.void(
            points, points, number, column, column, index, tables, tables, vector, square, vector, index, index, index,
            column, points, points, vector, number, vector, vector, index, index, number,
            types.Array(real, 2, "A"), square, vector,
        ),
        "_keys": types.void(
            points, points, vector, number, vector, vector, column, column, index, tables, tables, vector, index, index,
            index, points, number, square, index, index, square, square,
        ),
    }[name]  # fmt: skip
    return compiled(KERNELS[name], signature, FUSED, **steps())
