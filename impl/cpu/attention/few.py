"""Exact attention of few queries: each key is read once in the order of memory, and the columns are the lanes.

A tile of :mod:`assay.impl.cpu.attention.tiles` has a lane for every query, so where there is one query most lanes are
idle.  Here the products run over columns instead, which asks for keys and values whose rows lie behind each other.
The exponential is that of the tiles (ATT-9).  Sums are taken in an order of the compiler's choice, which every class
permits; it is the same in every call, whatever the number of threads.  Keys that a query does not see are not read.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import threads as cpus
from assay.impl.cpu.compiled import fingerprint, jitted
from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.softmax.masks import Masked

__all__ = ["KEYS", "MOST_ROWS", "attend", "compiled", "served"]

MOST_ROWS = 6  # rows that share keys: with some more, a lane for every query is faster
KEYS = 256  # of a tile, which the rows that share it find in the cache
_LONGEST = 1 << 61  # of windows: its sum with a position is a number of 64 bits
_WORTH = 0.1  # nanoseconds for a row, a key and a column: what a thread is worth


def served(rows: int, key: NDArray[Any], value: NDArray[Any]) -> bool:
    """Whether so many rows that share keys are few, and their keys and values lie as the kernel reads them."""
    return 0 < rows <= MOST_ROWS and _laid(key) and _laid(value)


def _laid(array: NDArray[Any]) -> bool:
    """Whether an array holds something, and the rows of each of its heads lie behind each other."""
    flags = array.flags
    return bool(array.size > 0 and flags.aligned and (flags.c_contiguous or array[0, 0].flags.c_contiguous))


def attend(
    kernel: Callable[..., None],
    instance: Masked,
    arrays: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    seen: tuple[NDArray[Any] | None, bool, int | None, int | None],
    members: int,
    outputs: tuple[NDArray[Any], NDArray[Any]],
    threads: int | None,
) -> None:
    """Attention of an instance without mask and bias, of which :func:`served` is true.

    kernel: :func:`compiled`.  arrays: its queries, keys and values in the type of the arithmetic.  seen: the number of
    keys of every batch (``None``: all of them), whether positions count from their end, and the window.  members: of
    the heads that are taken together, which share keys.  outputs: where output and log-sum-exp go.
    """
    (query, key, value), (lengths, at_the_end, left, right), (out, lse) = arrays, seen, outputs
    (b, h, n_q, d), n_k, work = query.shape, key.shape[2], query.dtype
    rows, heads, group, d_v = members * n_q, h // members, h // key.shape[1], value.shape[3]
    before, behind = _side(left), _side(right)
    softcap = work.type(0.0 if instance.softcap is None else instance.softcap)
    scale = np.array(instance.scale, work)  # NumPy multiplies by such an array in half the time that a number takes
    has_sink = instance.sink is not None
    sinks = None if instance.sink is None else np.repeat(instance.sink.astype(work), n_q).reshape(heads, rows)
    outs, sums = (out, lse) if members == 1 else (out.reshape(b, heads, rows, d_v), lse.reshape(b, heads, rows))

    def part(item: int) -> None:
        batch, head = divmod(item, heads)
        source, length = head * members // group, n_k if lengths is None else int(lengths[batch])
        if members == 1:
            lines = query[batch, head] * scale
        else:
            lines = (query[batch, head * members : (head + 1) * members] * scale).reshape(rows, d)
        sum_of_rows = sums[batch, head]
        kernel(
            np.ascontiguousarray(lines), key[batch, source], value[batch, source], n_q, length,
            length - n_q if at_the_end else 0, before, behind, softcap, has_sink,
            sum_of_rows if sinks is None else sinks[head], outs[batch, head], sum_of_rows,
        )  # fmt: skip

    items = b * heads
    workers = 1 if items == 1 else cpus.worth(min(threads or cpus.available(), items), items * rows * n_k * d * _WORTH)
    if workers == 1:  # without what sharing takes, which is as much as a small call itself
        for item in range(items):
            part(item)
        return
    cpus.share(part, range(items), workers)


def _side(width: int | None) -> int:
    """How far a window reaches to one side, as the kernel takes it."""
    return _LONGEST if width is None else min(int(width), _LONGEST)


def compiled(
    work: np.dtype[Any], exponentiate: Callable[..., None], numbers: dict[str, Any], options: dict[str, Any]
) -> Callable[..., None]:
    """The compiled kernel of one dtype.

    exponentiate, numbers: of the tiles, the first not compiled yet and the others by their names.  options: of the
    compiler.
    """
    numba = required("numba", "cpu")

    types: Any = numba.types  # its annotations do not fit its own calls
    real = types.float32 if work == np.float32 else types.float64

    def view(of: Any, dimensions: int) -> Any:
        return types.Array(of, dimensions, "C", readonly=True)

    signature = types.void(
        *[view(real, 2)] * 3, *[types.int64] * 5, real, types.boolean, view(real, 1), types.Array(real, 2, "C"),
        types.Array(real, 1, "C"),
    )  # fmt: skip
    reordered = options | {"fastmath": {"contract", "reassoc"}}  # of these two alone, each of which is one sum
    called = {name: jitted(step, **reordered) for name, step in (("product", product), ("added", added))}
    called["exponentiate"] = jitted(exponentiate, **options)
    rows = FunctionType(_rows.__code__, {**globals(), **called, **numbers})
    # compiled code on disk is identified by the kernel's own file and this name, and the exponential is in another file
    rows.__qualname__ = f"_rows_{fingerprint(exponentiate, constants=numbers):08x}"
    made: Callable[..., None] = jitted(rows, signature, **options)
    return made


def product(a: Any, b: Any) -> Any:
    """⟨a, b⟩ of two rows, at least one number long.  Compiled by :func:`compiled`."""
    total = a[0] * b[0]
    for c in range(1, len(a)):
        total += a[c] * b[c]
    return total


def added(a: Any, count: Any, zero: Any) -> Any:
    """The sum of the first ``count`` numbers of a row.  Compiled by :func:`compiled`."""
    total = zero
    for j in range(count):
        total += a[j]
    return total


def _rows(
    query: Any, key: Any, value: Any, n_q: Any, length: Any, offset: Any, left: Any, right: Any, softcap: Any,
    has_sink: Any, sink: Any, out: Any, lse: Any,
) -> None:  # fmt: skip
    """Attention of rows (r, d) to one head of keys (n_k, d) and values (n_k, d_v): ``out`` (r, d_v) and ``lse`` (r,).

    query: times the scale.  Row r is of query r mod n_q, whose position is that and ``offset``; it sees keys from
    ``left`` before its position to ``right`` behind it, of the first ``length``.  softcap: 0 for none.  sink: of every
    row.  Compiled by :func:`compiled`, which gives it the numbers of ``exponential`` as globals.
    """
    rows, d_v = out.shape
    one = coefficients[-1]  # type: ignore[name-defined]  # noqa: F821
    zero = one - one
    floor = np.finfo(query.dtype).min  # finite, so that no difference of scores is NaN
    scores = np.empty((1, KEYS + 4), query.dtype)
    tops = np.empty(KEYS + 4, query.dtype)
    bits = np.empty(KEYS + 4, integer)  # type: ignore[name-defined]  # noqa: F821
    top, total = np.full(rows, floor), np.zeros(rows, query.dtype)
    begin, end = np.empty(rows, np.int64), np.empty(rows, np.int64)
    out[:] = zero
    first, last = len(key), 0
    for r in range(rows):
        position = r % n_q + offset
        begin[r], end[r] = max(position - left, 0), min(position + right + 1, length)
        first, last = min(first, begin[r]), max(last, end[r])
    s = scores[0]
    for at in range(first, last, KEYS):
        for r in range(rows):
            start, stop = max(at, begin[r]), min(at + KEYS, end[r])
            count = stop - start
            if count <= 0:
                continue
            q, o, largest = query[r], out[r], top[r]
            for j in range(count):
                t = product(q, key[start + j])
                if softcap > zero:
                    t = softcap * np.tanh(t / softcap)
                s[j] = t
                largest = max(largest, t)
            s[count] = top[r]
            tops[: count + 1] = largest
            exponentiate(  # type: ignore[name-defined]  # noqa: F821
                scores, 1, count + 1, tops, bits,
                reduction, coefficients, mantissa,  # type: ignore[name-defined]  # noqa: F821
            )  # fmt: skip
            top[r] = largest
            if s[count] < one:
                total[r] *= s[count]
                for c in range(d_v):
                    o[c] *= s[count]
            total[r] += added(s, count, zero)
            j = 0
            while j + 4 <= count:
                w, x, y, z = s[j], s[j + 1], s[j + 2], s[j + 3]
                v0, v1, v2, v3 = value[start + j], value[start + j + 1], value[start + j + 2], value[start + j + 3]
                for c in range(d_v):
                    o[c] = o[c] + w * v0[c] + x * v1[c] + y * v2[c] + z * v3[c]
                j += 4
            while j < count:
                w, v0 = s[j], value[start + j]
                for c in range(d_v):
                    o[c] += w * v0[c]
                j += 1
    for r in range(rows):
        largest, weight = top[r], one
        if has_sink:
            largest = max(top[r], sink[r])
            weight = np.exp(top[r] - largest)
            total[r] = total[r] * weight + np.exp(sink[r] - largest)
        if total[r] == zero:  # no key is seen
            lse[r] = -one / zero
            continue
        for c in range(d_v):
            out[r, c] = out[r, c] * weight / total[r]
        lse[r] = largest + np.log(total[r])
