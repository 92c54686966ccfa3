"""The compiled passes of training: sums over the pairs of a neuron and a point on which it fires, and no others."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from assay.impl.cpu.compiled import CONTRACT, compiled

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["backward", "collect", "forward"]


def _types(dtype: str) -> tuple[Any, Any, Any]:
    import numba

    types: Any = numba.types
    return types, {"float32": types.float32, "float64": types.float64}[dtype], types.Array(types.int64, 1, "C")


@functools.cache
def forward(dtype: str) -> Callable[..., None]:
    """The compiled :func:`_forward`."""
    types, real, whole = _types(dtype)
    signature = types.void(
        whole, whole, types.Array(real, 1, "C"), real, types.Array(real, 2, "C"), types.Array(real, 2, "C")
    )
    return compiled(_forward, signature, CONTRACT)


def _forward(starts: Any, ids: Any, values: Any, threshold: Any, outer: Any, output: Any) -> None:
    """output[k] = Σ_r outer_r·(ĉ_r − b) over the neurons of list k, ascending.  Compiled by :func:`forward`."""
    for k in range(len(starts) - 1):
        row = output[k]
        row[:] = 0.0
        for j in range(starts[k], starts[k + 1]):
            value = values[j] - threshold
            by = outer[ids[j]]
            for c in range(len(row)):
                row[c] += by[c] * value


@functools.cache
def collect(dtype: str) -> Callable[..., int]:
    """The compiled :func:`_collect`; it is the same for every type."""
    types, _, whole = _types(dtype)
    return compiled(_collect, types.int64(whole, whole, whole), CONTRACT)


def _collect(ids: Any, place: Any, found: Any) -> int:
    """Each of ``ids`` once, in ``found``; returns how many.  place: −1 everywhere; then the place in ``found`` of each.

    Compiled by :func:`collect`.
    """
    count = 0
    for j in range(len(ids)):
        r = ids[j]
        if place[r] < 0:
            place[r] = count
            found[count] = r
            count += 1
    return count


@functools.cache
def backward(dtype: str) -> Callable[..., None]:
    """The compiled :func:`_backward`."""
    types, real, whole = _types(dtype)
    matrix = types.Array(real, 2, "C")
    signature = types.void(whole, whole, whole, matrix, matrix, matrix, whole, matrix, types.boolean)
    return compiled(_backward, signature, CONTRACT)


def _backward(
    starts: Any, ids: Any, place: Any, outer: Any, residual: Any, data: Any, points: Any, sums: Any, alone: Any
) -> None:
    """Add α_kr = ⟨outer_r, residual_k⟩, over all pairs, to the sums of neuron r: α itself, or α·x.

    sums: (T, number of lists) with ``alone``, to whose column k α is added; else (T, d), to which α times the point of
    list k is added.  place: the row of each neuron.  Compiled by :func:`backward`.
    """
    for k in range(len(starts) - 1):
        of, x = residual[k], data[points[k]]
        for j in range(starts[k], starts[k + 1]):
            by = outer[ids[j]]
            alpha = by[0] * of[0]
            for c in range(1, len(of)):
                alpha += by[c] * of[c]
            row = sums[place[ids[j]]]
            if alone:
                row[k] += alpha
            else:
                for c in range(len(x)):
                    row[c] += alpha * x[c]
