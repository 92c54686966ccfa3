"""Exact attention of any order where queries see different keys: the keys of one mode that a query sees, side by side.

The tiles of :mod:`assay.impl.cpu.tensor_attention.tiles` take what any of their queries sees, which short windows make
several times what one query sees.  Here the lanes are the keys of one mode that one query sees, times the query, and
the rows are the combinations of all other modes.  Where these keys are few, up to sixteen neighbouring queries have
their lanes side by side, and a row that only some of them see is hidden from the others.  Each lane has an online
softmax of its own, and lanes are merged after at most 960 rows: sums are in blocks as in the tiles.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.attention.tiles import KEY_TILE, QUERY_TILE
from assay.impl.cpu.products import LANES, multiply, room, shrink_and_add
from assay.impl.cpu.softmax import exponential, exponentiate, soften
from assay.impl.cpu.tensor_attention.combinations import COMBINED, arranged, of_tiles, tile_of
from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.tensor_attention.instance import HigherOrder

    Share = Callable[[Callable[..., None], tuple[Any, ...], int], None]

__all__ = ["attended", "better"]

_ROWS = 960  # with the merge of at most 256 lanes, 16 at a time, no term meets more than 1,024 additions in a block
_QUERIES = 32  # of one task
_MERGED = 4.0  # what merging a lane costs, in scores of one query: only speed depends on it


def better(instance: HigherOrder) -> bool:
    """Whether this kernel is predicted to be faster than tiles of queries."""
    n_q, size = int(instance.query.shape[2]), tile_of(instance)
    seen = _seen(instance)
    tiled = 1.0
    for length, keys in zip(instance.mode_lengths, seen, strict=True):
        tiled *= min(length, size + 2.0 * keys if instance.window is not None else keys + min(size, n_q))
    return _cost(seen, _chosen(seen)) < tiled * (size + COMBINED) / min(size, n_q)


def _cost(seen: list[float], mode: int) -> float:
    """The predicted cost of a query with the keys of a mode, from 0, as lanes, in scores of one query."""
    lanes = -(-seen[mode] // LANES) * LANES
    together = max(1.0, min(float(LANES), QUERY_TILE // lanes))
    rows = math.prod(keys + together - 1.0 for other, keys in enumerate(seen) if other != mode)
    return rows * (lanes + COMBINED * -(-lanes * together // QUERY_TILE) / together) + _MERGED * lanes


def _chosen(seen: list[float]) -> int:
    """The mode, from 0, whose keys are the lanes."""
    return min(range(len(seen)), key=lambda mode: _cost(seen, mode))


def _seen(instance: HigherOrder) -> list[float]:
    """About how many keys of every mode a query sees."""
    sides = 1 if instance.is_causal else 2
    n_q = float(instance.query.shape[2])
    seen = []
    for length, width in zip(instance.mode_lengths, instance.window or (None,) * instance.order, strict=False):
        keys = float(length)
        if instance.is_causal:
            keys = min(keys, max(n_q / 2.0, 1.0))
        seen.append(keys if width is None else min(keys, float(sides * width)))
    return seen


def attended(instance: HigherOrder, work: np.dtype[Any], share: Share) -> tuple[NDArray[Any], NDArray[Any]]:
    """The output (b, h_q, n_q, d_v) and the log-sum-exp (b, h_q, n_q), in the type ``work`` of the arithmetic.

    share: runs a compiled kernel with its arguments for so many tasks.
    """
    mode = _chosen(_seen(instance))
    whole, others = arranged(instance, work), arranged(instance, work, but=mode)
    beside = slice(whole.firsts[mode], whole.firsts[mode] + whole.lengths[mode])
    keys, values = (
        np.ascontiguousarray(np.pad(np.swapaxes(x[:, :, beside], 2, 3), ((0, 0), (0, 0), (0, 0), (0, QUERY_TILE))))
        for x in (whole.keys, whole.values)
    )  # with room for lanes without a key
    b, h, n_q, _ = instance.query.shape
    out, lse = np.empty((b, h, n_q, values.shape[2]), work), np.empty((b, h, n_q), work)
    arguments = (
        instance.query.astype(work, copy=False), keys, values, int(whole.widths[mode]), others.keys, others.values,
        others.firsts, others.lengths, others.widths, instance.is_causal, work.type(instance.scale),
        *exponential(work), out, lse,
    )  # fmt: skip
    share(_kernel(work.name), arguments, b * h * -(-n_q // _QUERIES))
    return out, lse


@functools.cache
def _kernel(dtype: str) -> Callable[..., None]:
    """The compiled kernel of one dtype: one signature, whatever the order, the strides of the queries and options."""
    numba = required("numba", "cpu")

    types: Any = numba.types  # its annotations do not fit its own calls
    real = {"float32": types.float32, "float64": types.float64}[dtype]
    constants, coefficients = exponential(np.dtype(dtype))
    column, four = types.Array(types.int64, 1, "C"), types.Array(real, 4, "C")
    signature = types.void(
        types.Array(real, 4, "A", readonly=True), four, four, types.int64, four, four, column, column, column,
        types.boolean, real, types.UniTuple(real, len(constants)), types.UniTuple(real, len(coefficients)),
        four, types.Array(real, 3, "C"), types.int64, types.int64,
    )  # fmt: skip
    return of_tiles(_lanes, signature, merge=merge)


def _lanes(
    query: Any, keys: Any, values: Any, width: Any, other_keys: Any, other_values: Any, firsts: Any, lengths: Any,
    widths: Any, causal: Any, scale: Any, reduction: Any, coefficients: Any, out: Any, lse: Any, first: Any, last: Any,
) -> None:  # fmt: skip
    """Tasks first … last−1, numbered over (batch, heads, 32 queries).  Compiled by :func:`_kernel`.

    keys (b, h_k, d, n + 256), values (b, h_k, d_v, n + 256), width: of the mode whose keys lie side by side.
    """
    _, h_q, n_q, d = query.shape
    d_v, n = values.shape[2], values.shape[3] - QUERY_TILE
    group = h_q // keys.shape[1]
    modes = firsts.shape[0]
    parts = (n_q + _QUERIES - 1) // _QUERIES
    zero, one = scale - scale, coefficients[-1]
    lowest = -one / zero
    floor = np.finfo(query.dtype).min  # finite, so that no difference of scores is NaN
    queries = room(d, query)
    scores = room(KEY_TILE + 1, query)
    sums = room((d_v + 7) // 8 * 8, query)
    total, top = np.empty(QUERY_TILE, query.dtype), np.empty(QUERY_TILE, query.dtype)
    added = np.empty(LANES, query.dtype)
    whole, whole_top, whole_total = (
        np.empty((LANES, d_v), query.dtype), np.empty(LANES, query.dtype), np.empty(LANES, query.dtype),
    )  # fmt: skip
    made, made_values = np.empty((KEY_TILE, d), query.dtype), np.empty((KEY_TILE, d_v), query.dtype)
    of_keys, of_values = np.ones((modes, d), query.dtype), np.ones((modes, d_v), query.dtype)
    places, rows_of = np.empty((KEY_TILE, modes), np.int64), np.empty((KEY_TILE, 2), np.int64)
    begin, end, low, high, at = (
        np.empty(modes, np.int64), np.empty(modes, np.int64), np.empty(modes, np.int64), np.empty(modes, np.int64),
        np.empty(modes + 1, np.int64),
    )  # fmt: skip
    start, seen = np.empty(LANES, np.int64), np.empty(LANES, np.int64)
    for item in range(first, last):
        batch = item // (h_q * parts)
        head = item // parts % h_q
        source = head // group
        i, stop = item % parts * _QUERIES, min(item % parts * _QUERIES + _QUERIES, n_q)
        while i < stop:  # as many queries as there is room for
            together, most_seen = 0, 0
            while together < LANES and i + together < stop:
                row = i + together
                keys_seen = max(min(n, row + (1 if causal else width)) - max(0, row - width + 1), 0)
                widest = (max(most_seen, keys_seen, 1) + LANES - 1) // LANES * LANES
                if together > 0 and (together + 1) * widest > QUERY_TILE:
                    break
                most_seen = max(most_seen, keys_seen)
                together += 1
            each = min((max(most_seen, 1) + LANES - 1) // LANES * LANES, QUERY_TILE)  # lanes of a query
            size = together * each
            for m in range(modes):
                begin[m] = max(0, i - widths[m] + 1)
                end[m] = min(lengths[m], i + together - 1 + (1 if causal else widths[m]))
            low[0], high[0] = i, i + together
            for q in range(together):
                whole_top[q], whole_total[q] = floor, zero
            whole[:] = zero
            for chunk in range(0, most_seen, QUERY_TILE):
                for q in range(together):
                    row = i + q
                    start[q] = max(0, row - width + 1) + chunk
                    seen[q] = min(max(min(n, row + (1 if causal else width)) - start[q], 0), each)
                    for c in range(d):
                        by = scale * query[batch, head, row, c]
                        to = queries[c, q * each : q * each + each]
                        source_keys = keys[batch, source, c, start[q] : start[q] + seen[q]]
                        for r in range(seen[q]):
                            to[r] = by * source_keys[r]
                        for r in range(seen[q], each):
                            to[r] = zero
                for r in range(size):
                    top[r] = floor
                    total[r] = zero
                sums[:, :size] = zero
                at[0], at[1] = 0, begin[0]
                block = 0
                while True:
                    count = combine(  # type: ignore[name-defined]  # noqa: F821
                        other_keys[batch, source], other_values[batch, source], firsts, begin, end, widths, causal, at,
                        low, high, of_keys, of_values, made, made_values, places, rows_of,
                    )  # fmt: skip
                    if block > 0 and (block > _ROWS - KEY_TILE or count == 0):  # lanes are merged into their queries
                        row_of_tops = scores[:1]
                        for q in range(together):
                            most = whole_top[q]
                            for r in range(q * each, q * each + seen[q]):
                                most = max(most, top[r])
                            for r in range(q * each, q * each + each):
                                row_of_tops[0, r] = top[r] if r < q * each + seen[q] else lowest
                                top[r] = most
                        exponentiate(row_of_tops, 1, size, top, reduction, coefficients)
                        for q in range(together):
                            lanes = slice(q * each, q * each + each)
                            shrink = np.exp(whole_top[q] - top[q * each])
                            whole_top[q] = top[q * each]
                            whole_total[q] *= shrink
                            for c in range(d_v):
                                whole[q, c] *= shrink
                            merge(
                                row_of_tops[0, lanes], total[lanes], sums[:, lanes],
                                values[batch, source, :, start[q] : start[q] + each], added, whole_total, whole, q,
                            )  # fmt: skip
                        for r in range(size):
                            top[r] = floor
                            total[r] = zero
                        sums[:, :size] = zero
                        block = 0
                    if count == 0:
                        break
                    wide = (count + 7) // 8 * 8
                    multiply(made[:count], queries, scores[:wide], size)
                    if together > 1:
                        for j in range(count):
                            s = scores[j]
                            for r in range((rows_of[j, 0] - i) * each):
                                s[r] = lowest
                            for r in range((rows_of[j, 1] - i) * each, size):
                                s[r] = lowest
                    scores[count:wide, :size] = lowest
                    soften(scores, wide, size, top, total)
                    shrink_and_add(made_values[:count].T, scores[:wide], sums, size, scores[wide])
                    block += count
            for q in range(together):
                if whole_total[q] == zero:  # every combination masked
                    for c in range(d_v):
                        out[batch, head, i + q, c] = zero
                    lse[batch, head, i + q] = lowest
                    continue
                for c in range(d_v):
                    out[batch, head, i + q, c] = whole[q, c] / whole_total[q]
                lse[batch, head, i + q] = whole_top[q] + np.log(whole_total[q])
            i += together


def merge(weight: Any, total: Any, sums: Any, values: Any, added: Any, whole_total: Any, whole: Any, q: Any) -> None:
    """Add the lanes of one query, times their weights, to the whole of query q.  Compiled by :func:`_kernel`.

    weight, total (lanes,), sums (≥ d_v, lanes), values (d_v, lanes): of every lane; the sums lack its values.
    """
    size = weight.shape[0]
    zero = weight[0] - weight[0]
    for t in range(LANES):
        added[t] = zero
    for r in range(0, size, LANES):
        for t in range(LANES):
            added[t] += total[r + t] * weight[r + t]
    for t in range(LANES):
        whole_total[q] += added[t]
    for c in range(values.shape[0]):
        value, lane = values[c], sums[c]
        for t in range(LANES):
            added[t] = zero
        for r in range(0, size, LANES):
            for t in range(LANES):
                added[t] += lane[r + t] * weight[r + t] * value[r + t]
        for t in range(LANES):
            whole[q, c] += added[t]
