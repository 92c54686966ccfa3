"""Exact attention of few queries: each key is read once in the order of memory, and the columns are the lanes.

A tile of :mod:`assay.impl.cpu.attention.tiles` has a lane for every query, so where there is one query most lanes are
idle.  Here the products run over columns instead, which asks for keys and values whose rows lie behind each other:
eight products with keys at once, whose lanes are added up together, and sums of values that stay in registers.  The
exponential is that of the tiles (ATT-9).  A product with a key is a sum by lanes, and exponentials are added up in an
order of the compiler's choice, which every class permits; both are the same in every call, whatever the number of
threads.  Keys that a query does not see are not read.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import products, softmax
from assay.impl.cpu import threads as cpus
from assay.impl.cpu.compiled import CONTRACT, compiled, written
from assay.impl.cpu.softmax import exponentiate
from assay.impl.cpu.vectors import times_plus
from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.softmax.masks import Masked

__all__ = ["KEYS", "MOST_ROWS", "attend", "kernel_of", "served"]

MOST_ROWS = 6  # rows that share keys: with some more, a lane for every query is faster
KEYS = 256  # of a tile, which the rows that share it find in the cache
_AT_ONCE = 8  # products with keys; a power of two
_LONGEST = 1 << 61  # of windows: its sum with a position is a number of 64 bits
_WORTH = 0.05  # nanoseconds for a row, a key and a column: what a thread is worth


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
    seen: tuple[NDArray[np.int64], bool, int | None, int | None],
    members: int,
    outputs: tuple[NDArray[Any], NDArray[Any]],
    threads: int | None,
) -> None:
    """Attention of an instance without mask and bias, of which :func:`served` is true.

    kernel: :func:`kernel_of`.  arrays: its queries, keys and values in the type of the arithmetic.  seen: the number of
    keys of every batch, whether positions count from their end, and the window.  members: of the heads that are taken
    together, which share keys.  outputs: where output and log-sum-exp go.
    """
    (query, key, value), (lengths, at_the_end, left, right), (out, lse) = arrays, seen, outputs
    (b, h, n_q, d), n_k = query.shape, key.shape[2]
    softcap, sink = instance.softcap, instance.sink
    arguments = (
        query, key, value, instance.scale, members, lengths, at_the_end, _side(left), _side(right),
        0.0 if softcap is None else softcap, sink is not None,
        lse[0, 0] if sink is None else sink.astype(query.dtype), out, lse,
    )  # fmt: skip
    items = b * h // members
    workers = 1
    if items > 1:
        nanoseconds = b * h * n_q * n_k * d * _WORTH
        workers = cpus.worth(min(threads or cpus.available(), items), nanoseconds)
    if workers == 1:
        kernel(*arguments, 0, items)
        return
    cpus.share(lambda item: kernel(*arguments, item, item + 1), range(items), workers)


def _side(width: int | None) -> int:
    """How far a window reaches to one side, as the kernel takes it."""
    return _LONGEST if width is None else min(int(width), _LONGEST)


def kernel_of(work: np.dtype[Any], powered: Callable[..., None]) -> Callable[..., None]:
    """The compiled kernel of one dtype.

    powered: the compiled exponential of the tiles.
    """
    numba = required("numba", "cpu")

    types: Any = numba.types  # its annotations do not fit its own calls
    real = types.float32 if work == np.float32 else types.float64

    def view(of: Any, dimensions: int) -> Any:
        return types.Array(of, dimensions, "A", readonly=True)

    # scale and softcap are Python's own numbers: NumPy's take three times as long to make and to hand over
    signature = types.void(
        *[view(real, 4)] * 3, types.float64, types.int64, view(types.int64, 1), types.boolean, types.int64,
        types.int64, types.float64, types.boolean, view(real, 1), types.Array(real, 4, "C"), types.Array(real, 3, "C"),
        types.int64, types.int64,
    )  # fmt: skip
    shape = products.blocks()
    called = {
        "added": compiled(added, None, CONTRACT | {"reassoc"}),  # which is one sum; nothing else is reordered
        "dots": _dots(shape.width),
        "block": products.in_registers("add_product", products.Blocks(1, 4, shape.width)),
        "strip": products.in_registers("add_product", products.Blocks(1, 1, shape.width)),
        "width": shape.width,
        "exponentiate": powered,
    }
    numbers = dict(zip(("reduction", "coefficients"), softmax.exponential(work), strict=True))  # no arguments of calls
    return compiled(_rows, signature, CONTRACT, **called, **numbers)


def added(a: Any, count: Any, zero: Any) -> Any:
    """The sum of the first ``count`` numbers of a row.  Compiled by :func:`kernel_of`."""
    total = zero
    for j in range(count):
        total += a[j]
    return total


def _rows(
    query: Any, key: Any, value: Any, scale: Any, members: Any, lengths: Any, at_the_end: Any, left: Any, right: Any,
    softcap: Any, has_sink: Any, sink: Any, out: Any, lse: Any, first_item: Any, last_item: Any,
) -> None:  # fmt: skip
    """Items first … last−1, numbered over (batch, heads that share keys).  Compiled by :func:`kernel_of`.

    Row r of an item is of query r mod n_q of head r // n_q of its ``members``.  The position of a query is its number,
    counted from the end of the keys where that is asked.  It sees keys from ``left`` before its position to ``right``
    behind it, of the first of its batch.  softcap: 0 for none.
    """
    _, h, n_q, d = query.shape
    d_v, group = value.shape[3], h // key.shape[1]
    rows, lanes = members * n_q, width // query.itemsize  # type: ignore[name-defined]  # noqa: F821
    one = coefficients[-1]  # type: ignore[name-defined]  # noqa: F821
    factor, cap = query.dtype.type(scale), query.dtype.type(softcap)
    zero = (factor - factor) + (cap - cap)  # NaN where one is beyond the type: then so is every result
    floor = np.finfo(query.dtype).min  # finite, so that no difference of scores is NaN
    scores = np.empty((1, KEYS + 2 * _AT_ONCE), query.dtype)
    tops = np.empty(KEYS + 1, query.dtype)
    scaled = np.empty((rows, d), query.dtype)
    top, total = np.empty(rows, query.dtype), np.empty(rows, query.dtype)
    begin, end = np.empty(rows, np.int64), np.empty(rows, np.int64)
    s = scores[0]
    for item in range(first_item, last_item):
        batch, lead = item // (h // members), item % (h // members) * members
        keys, values, length = key[batch, lead // group], value[batch, lead // group], lengths[batch]
        first, last = key.shape[2], 0
        for r in range(rows):
            head, i = lead + r // n_q, r % n_q
            for c in range(d):
                scaled[r, c] = query[batch, head, i, c] * factor
            out[batch, head, i] = zero
            top[r], total[r] = floor, zero
            position = i + (length - n_q if at_the_end else 0)
            begin[r], end[r] = max(position - left, 0), min(position + right + 1, length)
            first, last = min(first, begin[r]), max(last, end[r])
        for at in range(first, last, KEYS):
            for r in range(rows):
                start, stop = max(at, begin[r]), min(at + KEYS, end[r])
                count = stop - start
                if count <= 0:
                    continue
                q, o, largest = scaled[r], out[batch, lead + r // n_q], top[r]
                k, v, row = keys[start:stop], values[start:stop], r % n_q
                for j in range(0, count, _AT_ONCE):
                    dots(q, k, j, s)  # type: ignore[name-defined]  # noqa: F821
                for c in range(d - d % lanes, d):
                    for j in range(count):
                        s[j] += q[c] * k[j, c]
                if cap > zero:
                    for j in range(count):
                        s[j] = cap * np.tanh(s[j] / cap)
                for j in range(count):
                    largest = max(largest, s[j])
                s[count] = top[r]
                tops[: count + 1] = largest
                exponentiate(
                    scores, 1, count + 1, tops,
                    reduction, coefficients,  # type: ignore[name-defined]  # noqa: F821
                )  # fmt: skip
                top[r] = largest
                if s[count] < one:
                    total[r] *= s[count]
                    for c in range(d_v):
                        o[row, c] *= s[count]
                total[r] += added(s, count, zero)
                weights, to, c = scores[:, :count], o[row : row + 1], 0
                while c + 4 * lanes <= d_v:
                    block(weights, v, to, 0, c)  # type: ignore[name-defined]  # noqa: F821
                    c += 4 * lanes
                while c + lanes <= d_v:
                    strip(weights, v, to, 0, c)  # type: ignore[name-defined]  # noqa: F821
                    c += lanes
                for j in range(count if c < d_v else 0):
                    for e in range(c, d_v):
                        o[row, e] += s[j] * v[j, e]
        for r in range(rows):
            head, i = lead + r // n_q, r % n_q
            largest, weight = top[r], one
            if has_sink:
                largest = max(top[r], sink[head])
                weight = np.exp(top[r] - largest)
                total[r] = total[r] * weight + np.exp(sink[head] - largest)
            if total[r] == zero:  # no key is seen
                lse[batch, head, i] = -one / zero
                continue
            for c in range(d_v):
                out[batch, head, i, c] = out[batch, head, i, c] * weight / total[r]
            lse[batch, head, i] = largest + np.log(total[r])


@functools.cache
def _dots(width: int) -> Any:
    """What Numba knows as dots(q, keys, j, s): products of q with rows j … j + 7 of the keys, in s from j on.

    Of the columns only whole vectors are taken.  In place of rows beyond the last one the last one is.
    """
    return written(functools.partial(_write, width=width), "q keys j s")


def _write(context: Any, builder: Any, signature: Any, arguments: Any, *, width: int) -> None:
    """Write the code of :func:`_dots` with a builder of LLVM."""
    from llvmlite import ir
    from numba.core import cgutils as untyped

    cgutils: Any = untyped
    number = context.get_data_type(signature.args[0].dtype)
    size = signature.args[0].dtype.bitwidth // 8
    lanes = width // size
    vector, integer, byte = ir.VectorType(number, lanes), ir.IntType(64), ir.IntType(8).as_pointer()
    q, keys, s = (context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 1, 3))
    height, columns = cgutils.unpack_tuple(builder, keys.shape)
    between, _ = cgutils.unpack_tuple(builder, keys.strides)
    last = builder.sub(height, ir.Constant(integer, 1))

    def read(begin: Any, offset: Any) -> Any:
        address = builder.gep(begin, [offset])
        return builder.load(builder.bitcast(address, vector.as_pointer()), align=size)

    rows = []
    for i in range(_AT_ONCE):
        at = builder.add(arguments[2], ir.Constant(integer, i))
        held = builder.select(builder.icmp_signed("<", at, last), at, last)
        rows.append(builder.gep(builder.bitcast(keys.data, byte), [builder.mul(held, between)]))
    sums = [cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * lanes)) for _ in rows]
    vectors = builder.udiv(columns, ir.Constant(integer, lanes))
    with cgutils.for_range(builder, vectors) as loop:
        offset = builder.mul(loop.index, ir.Constant(integer, width))
        other = read(builder.bitcast(q.data, byte), offset)
        for row, total in zip(rows, sums, strict=True):
            builder.store(times_plus(builder, read(row, offset), other, builder.load(total)), total)
    found = _across(builder, [builder.load(total) for total in sums])
    for number_of, each in enumerate(found):
        offset = builder.add(arguments[2], ir.Constant(integer, number_of * each.type.count))
        address = builder.gep(builder.bitcast(s.data, byte), [builder.mul(offset, ir.Constant(integer, size))])
        builder.store(each, builder.bitcast(address, each.type.as_pointer()), align=size)


def _across(builder: Any, sums: list[Any]) -> list[Any]:
    """The sum of the lanes of each of some vectors, a power of two of them, in vectors one behind the other.

    Two vectors become one: half of the places are for the sums of the one, and half for those of the other, and a place
    gets two numbers.  Each of them ends as one place; where there are more places than vectors, they are halved.
    """
    from llvmlite import ir

    lanes = sums[0].type.count
    each = lanes  # places of a vector of the beginning

    def taken(a: Any, b: Any, places: list[int]) -> Any:
        chosen = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)
        return builder.shuffle_vector(a, b, chosen)

    while each > 1:
        half = each // 2
        firsts = [place for place in range(2 * lanes) if place % each < half]
        seconds = [place for place in range(2 * lanes) if place % each >= half]
        if len(sums) > 1:
            pairs = list(zip(sums[::2], sums[1::2], strict=True))
        else:
            firsts, seconds = firsts[: lanes // 2], seconds[: lanes // 2]
            pairs, lanes = [(sums[0], sums[0])], lanes // 2
        sums = [builder.fadd(taken(a, b, firsts), taken(a, b, seconds)) for a, b in pairs]
        each = half
    return sums
