"""Exact attention of any order on the CPU: tiles of queries against products of keys, online softmax, a few threads.

Attention of order k is attention to the products of one key of every mode, and these products are made 64 at a time, so
that nothing is as large as their number.  The arithmetic is that of the class of the input: float32 or float64
throughout; bfloat16 and float16 are computed in float32 and rounded once.  A block of at most 1,024 combinations has an
online softmax of its own, and blocks are merged by their largest scores, because rows of N = n_1 ⋯ n_{k−1} combinations
are long.  Order 2 is the kernel of attention itself.  Where queries see different keys,
:mod:`assay.impl.cpu.tensor_attention.lanes` takes their place.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import attention
from assay.impl.cpu import threads as cpus
from assay.impl.cpu.attention.tiles import KEY_TILE
from assay.impl.cpu.products import STRIDE, multiply, room, shrink_and_add
from assay.impl.cpu.progress import told
from assay.impl.cpu.softmax import soften
from assay.impl.cpu.tensor_attention import lanes
from assay.impl.cpu.tensor_attention.combinations import BLOCK, arranged, instance_of, of_tiles, tile_of
from assay.spec.floating_point import require_usual
from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.tensor_attention.instance import HigherOrder

__all__ = ["attended", "exact", "shared", "windows"]

_TASKS = 8  # at least, where the first mode has keys enough: the number depends on the shape alone
_LEAST_STRIP = 16  # keys of the first mode


def exact(
    query: NDArray[Any],
    *modes: NDArray[Any],
    scale: float | None = None,
    is_causal: bool = False,
    window: tuple[int | None, ...] | None = None,
    return_lse: bool = False,
    threads: int | None = None,
    progress: bool | Callable[[int, int], None] = False,
    **named: NDArray[Any],
) -> Any:
    """Attention of order k of (batch, heads, length, dim) arrays: query, key1 … key{k−1}, value1 … value{k−1}.

    Arrays and options are those of :class:`assay.spec.tensor_attention.Instance`, of the order that the number of
    arrays says; keys and values may be given by their names.  Returns the output (b, h_q, n_q, d_v) in the dtype of the
    inputs.  With ``return_lse`` it returns also the log-sum-exp (b, h_q, n_q), in float64 for float64 inputs and in
    float32 otherwise.  ``threads``: the most threads (default: the CPUs of this process); the result does not depend on
    their number.  ``progress``: True shows a bar; a function is called with (tiles done, tiles in all).

    The time is O(n_q·N·(d + d_v)) for N combinations that a row sees, and with windows linear in n_q.  The memory
    beside inputs and outputs is a copy of keys and values and a few tiles a thread.

    Raises :class:`~assay.spec.problem.InvalidInstance` for bad input, naming the argument, and ``ValueError`` for bad
    ``threads``.

    >>> x = np.arange(2.0).reshape(1, 1, 2, 1)
    >>> np.round(exact(x, x, x, x, x), 6).ravel()
    array([0.25    , 0.475367])
    """
    require_usual()
    options = {"scale": scale, "is_causal": is_causal, "window": window, "return_lse": return_lse}
    instance = instance_of(query, modes, named, options)
    cpus.require_number(threads)
    work = np.dtype(np.float64) if query.dtype.name == "float64" else np.dtype(np.float32)
    with told(progress, "attention") as tell:
        output, lse = attended(instance, work, threads, tell)
    output = output.astype(query.dtype, copy=False)
    return (output, lse) if return_lse else output


def windows(instance: HigherOrder) -> dict[str, Any]:
    """The options of attention for an instance of order 2."""
    width = None if instance.window is None else instance.window[0]
    ends = None if width is None else (width - 1, 0 if instance.is_causal else width - 1)
    return {"scale": instance.scale, "is_causal": instance.is_causal, "window": ends}


def attended(
    instance: HigherOrder, work: np.dtype[Any], threads: int | None, tell: Callable[[int, int], None] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The output (b, h_q, n_q, d_v) and the log-sum-exp (b, h_q, n_q), in the type ``work`` of the arithmetic."""
    query = instance.query.astype(work, copy=False)
    if instance.order == 2:
        key, value = (x[0].astype(work, copy=False) for x in (instance.mode_keys, instance.mode_values))
        found: tuple[NDArray[Any], NDArray[Any]] = attention.exact(
            query, key, value, **windows(instance), return_lse=True, threads=threads
        )
        return found
    if lanes.better(instance):
        return lanes.attended(
            instance, work, lambda kernel, arguments, tasks: shared(kernel, arguments, tasks, threads, tell)
        )
    b, h, n_q, _ = query.shape
    modes = arranged(instance, work)
    size = tile_of(instance)
    tasks = b * h * -(-n_q // size)
    strips = max(1, min(-(-_TASKS // tasks), instance.mode_lengths[0] // _LEAST_STRIP))
    out = np.empty((strips, b, h, n_q, modes.values.shape[3]), work)
    lse = np.empty((strips, b, h, n_q), work)
    arguments = (
        query, modes.keys, modes.values, modes.firsts, modes.lengths, modes.widths, instance.is_causal,
        work.type(instance.scale), size, out, lse,
    )  # fmt: skip
    shared(_kernel(work.name), arguments, strips * tasks, threads, tell)
    return (out[0], lse[0]) if strips == 1 else _merged(out, lse)


def _merged(out: NDArray[Any], lse: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The output and the log-sum-exp of all strips, from those of each, in the order of the strips."""
    top = lse.max(axis=0)
    with np.errstate(under="ignore"):
        weight = np.exp(lse - np.where(np.isfinite(top), top, 0.0).astype(lse.dtype))
        total, sums = weight[0], out[0]
        sums *= weight[0][..., None]
        for part, more in zip(out[1:], weight[1:], strict=True):
            total += more
            part *= more[..., None]
            sums += part
    whole = np.where(total > 0.0, total, 1.0).astype(lse.dtype)
    with np.errstate(divide="ignore"):
        return sums / whole[..., None], top + np.log(whole)


def shared(
    kernel: Callable[..., None], arguments: tuple[Any, ...], items: int, threads: int | None,
    tell: Callable[[int, int], None] | None = None,
) -> None:  # fmt: skip
    """Share the tasks of a kernel among threads, one task at a time; each writes its own part of the results."""
    workers = min(threads or cpus.available(), items)
    tell = tell or (lambda done, total: None)
    if workers == 1:
        for item in range(items):
            kernel(*arguments, item, item + 1)
            tell(item + 1, items)
        return
    with cpus.Borrowed(workers) as pool:  # the last tiles of a causal head take longest, so they come first
        waiting = [pool.submit(kernel, *arguments, item, item + 1) for item in reversed(range(items))]
        for number, done in enumerate(waiting):
            done.result()
            tell(number + 1, items)


@functools.cache
def _kernel(dtype: str) -> Callable[..., None]:
    """The compiled kernel of one dtype: one signature, whatever the order, the strides of the queries and options."""
    numba = required("numba", "cpu")

    types: Any = numba.types  # its annotations do not fit its own calls
    real = {"float32": types.float32, "float64": types.float64}[dtype]
    column = types.Array(types.int64, 1, "C")
    signature = types.void(
        types.Array(real, 4, "A", readonly=True), *[types.Array(real, 4, "C")] * 2, column, column, column,
        types.boolean, real, types.int64, types.Array(real, 5, "C"), types.Array(real, 4, "C"),
        types.int64, types.int64,
    )  # fmt: skip
    return of_tiles(_tiles, signature)


def _tiles(
    query: Any, keys: Any, values: Any, firsts: Any, lengths: Any, widths: Any, causal: Any, scale: Any, size: Any,
    out: Any, lse: Any, first: Any, last: Any,
) -> None:  # fmt: skip
    """Tasks first … last−1, numbered over (batch, heads, tile, strip of mode 1).  Compiled by :func:`_kernel`."""
    _, h_q, n_q, d = query.shape
    d_v = values.shape[3]
    group = h_q // keys.shape[1]
    modes = firsts.shape[0]
    tiles = (n_q + size - 1) // size
    strips = out.shape[0]
    strip = (lengths[0] + strips - 1) // strips
    zero, one = scale - scale, query.dtype.type(1.0)
    lowest = -one / zero
    floor = np.finfo(query.dtype).min  # finite, so that no difference of scores is NaN
    queries = room(d, query)
    scores = room(KEY_TILE + 1, query)
    wide_v = (d_v + 7) // 8 * 8
    sums = room(2 * wide_v, query).reshape((2, wide_v, STRIDE))  # of the block of combinations, and of all before
    total = np.empty((2, size), query.dtype)
    top, whole_top = np.empty(size, query.dtype), np.empty(size, query.dtype)
    power = np.empty(size, query.dtype)
    made, made_values = np.empty((KEY_TILE, d), query.dtype), np.empty((KEY_TILE, d_v), query.dtype)
    of_keys, of_values = np.ones((modes, d), query.dtype), np.ones((modes, d_v), query.dtype)
    places, rows_of = np.empty((KEY_TILE, modes), np.int64), np.empty((KEY_TILE, 2), np.int64)
    begin, end, low, high = (
        np.empty(modes, np.int64), np.empty(modes, np.int64), np.empty(modes, np.int64), np.empty(modes, np.int64),
    )  # fmt: skip
    at = np.empty(modes + 1, np.int64)
    for item in range(first, last):
        part = item % strips
        batch = item // (h_q * tiles * strips)
        head = item // (tiles * strips) % h_q
        start = item // strips % tiles * size
        rows = min(size, n_q - start)
        source = head // group
        for r in range(size):
            row = min(start + r, n_q - 1)
            for c in range(d):
                queries[c, r] = scale * query[batch, head, row, c]
            top[r] = whole_top[r] = floor
        sums[:, :, :size] = zero
        total[:] = zero
        for m in range(modes):
            begin[m] = max(0, start - widths[m] + 1)
            end[m] = min(lengths[m], start + rows - 1 + (1 if causal else widths[m]))
        begin[0], end[0] = max(begin[0], part * strip), min(end[0], part * strip + strip)
        at[0], at[1] = 0, begin[0]
        low[0], high[0] = start, start + rows
        block = 0
        while True:
            count = combine(  # type: ignore[name-defined]  # noqa: F821
                keys[batch, source], values[batch, source], firsts, begin, end, widths, causal, at, low, high, of_keys,
                of_values, made, made_values, places, rows_of,
            )  # fmt: skip
            if block > BLOCK - KEY_TILE or (count == 0 and block > 0):  # the block is merged with those before
                for r in range(size):
                    most = max(top[r], whole_top[r])
                    weight, power[r] = np.exp(whole_top[r] - most), np.exp(top[r] - most)
                    top[r], whole_top[r] = weight, most
                    total[1, r] = total[1, r] * weight + total[0, r] * power[r]
                    total[0, r] = zero
                for c in range(d_v):
                    for r in range(size):
                        sums[1, c, r] = sums[1, c, r] * top[r] + sums[0, c, r] * power[r]
                        sums[0, c, r] = zero
                for r in range(size):
                    top[r] = floor
                block = 0
            if count == 0:
                break
            wide = (count + 7) // 8 * 8
            multiply(made[:count], queries, scores[:wide], size)
            for j in range(count):
                s = scores[j]
                for r in range(rows_of[j, 0] - start):
                    s[r] = lowest
                for r in range(rows_of[j, 1] - start, size):
                    s[r] = lowest
            scores[count:wide, :size] = lowest
            soften(scores, wide, size, top, total[0])
            shrink_and_add(made_values[:count].T, scores[:wide], sums[0], size, scores[wide])
            block += count
        for r in range(rows):
            weight = total[1, r]
            if weight == zero:  # every combination masked
                for c in range(d_v):
                    out[part, batch, head, start + r, c] = zero
                lse[part, batch, head, start + r] = lowest
                continue
            for c in range(d_v):
                out[part, batch, head, start + r, c] = sums[1, c, r] / weight
            lse[part, batch, head, start + r] = whole_top[r] + np.log(weight)
