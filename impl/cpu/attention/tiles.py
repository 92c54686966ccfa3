"""Exact attention on the CPU: tiles of queries against tiles of keys, online softmax, a few threads.

The arithmetic is that of the class of the input: float32 or float64 throughout.  bfloat16 and float16 are computed in
float32 and rounded once.  The scores of the queries of a tile lie side by side, so that all loops over them, also those
for maxima and sums, are vector operations without a reduction.  Keys and values are read in place, whatever their
strides.  The extra memory of a thread is a tile of queries, one of outputs and one of scores.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import products, softmax
from assay.impl.cpu import threads as cpus
from assay.impl.cpu.attention import few
from assay.impl.cpu.compiled import CONTRACT, compiled
from assay.impl.cpu.products import LANES, multiply, room, shrink_and_add
from assay.impl.cpu.softmax import soften
from assay.spec.attention.instance import Instance
from assay.spec.floating_point import require_usual
from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.softmax.masks import Masked

__all__ = [
    "KEY_TILE", "QUERY_TILE", "UNLIMITED", "exact", "query_tile", "run", "steps", "storage", "tiled",
]  # fmt: skip

QUERY_TILE = 256  # queries whose scores lie side by side
KEY_TILE = 64
UNLIMITED = 1 << 62
_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_WORTH = (0.5, 0.012)  # nanoseconds for a query and a key, and for each of their columns: what a thread is worth


def exact(
    query: NDArray[Any],
    key: NDArray[Any],
    value: NDArray[Any],
    scale: float | None = None,
    *,
    is_causal: bool = False,
    causal: str | None = None,
    mask: NDArray[np.bool_] | None = None,
    bias: NDArray[Any] | None = None,
    window: tuple[int | None, int | None] | None = None,
    key_lengths: NDArray[Any] | None = None,
    softcap: float | None = None,
    sink: NDArray[Any] | None = None,
    return_lse: bool = False,
    threads: int | None = None,
) -> Any:
    """Attention of (batch, heads, length, dim) arrays; every option is as in :class:`assay.spec.attention.Instance`.

    Returns the output (b, h_q, n_q, d_v) in the dtype of the inputs.  With ``return_lse`` it returns also the
    log-sum-exp (b, h_q, n_q), in float64 for float64 inputs and in float32 otherwise.  The result is that of
    ``torch.nn.functional.scaled_dot_product_attention`` where that function has the option.  ``threads``: the most
    threads (default: the CPUs of this process); the result does not depend on their number.

    Raises :class:`~assay.spec.problem.InvalidInstance` for bad input, naming the argument, and ``ValueError`` for bad
    ``threads``.

    >>> x = np.arange(3.0).reshape(1, 1, 3, 1)
    >>> np.round(exact(x, x, x, is_causal=True), 6).ravel()
    array([0.      , 0.731059, 1.850937])
    """
    require_usual()
    instance = _Unseen(
        query, key, value, scale, is_causal, causal, window, mask, bias, key_lengths, softcap, sink, return_lse
    )
    cpus.require_number(threads)
    output, lse = tiled(instance, query, key, bias, threads=threads, beside=instance.look)
    output = output.astype(query.dtype, copy=False)
    return (output, lse) if return_lse else output


class _Unseen(Instance):
    """An instance at whose numbers nobody looks when it is made.

    With several threads one of them looks while the others have begun: a look takes as long as memory takes to be read,
    which for many threads is a large part of the whole.  No kernel is led anywhere else by a number.
    """

    def require_numbers(self) -> None:
        """Leave that to :meth:`look`."""

    look = Instance.require_numbers


def tiled(
    instance: Masked,
    query: NDArray[Any],
    key: NDArray[Any],
    bias: NDArray[Any] | None,
    *,
    relative: NDArray[Any] | None = None,
    support: NDArray[np.int64] | None = None,
    threads: int | None = None,
    beside: Callable[[], None] = lambda: None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The output (b, h_q, n_q, d_v) and the log-sum-exp (b, h_q, n_q), in the type of the arithmetic.

    query, key, bias: in place of those of the instance, from which the values and everything else are taken.  They may
    be of another type; that of the queries decides about the arithmetic.
    support (s, 2): where it is given, the score is not scale·⟨q_i, k_j⟩ but scale·Σ_e q_ia W_e k_jb over the rows
    (a, b) of ``support``.  There W_e is entry i − j + n_k − 1 of row e of ``relative`` (s, n_q + n_k − 1), and i and j
    are the numbers of the query and the key.
    beside: what is called besides, first of all or in one of several threads; what it raises is raised.
    """
    value, mask, sink = instance.value, instance.mask, instance.sink
    work = _DOUBLE if query.dtype.kind == "f" and query.dtype.itemsize == 8 else _SINGLE  # whatever its byte order
    b, h, n_q, _ = query.shape
    n_k, d_v = value.shape[2:]
    out = np.empty((b, h, n_q, d_v), work)
    lse = np.empty((b, h, n_q), work)
    left, right = (None, None) if instance.window is None else instance.window
    if instance.causal is not None:
        right = 0
    members = h // key.shape[1] if n_q < LANES and support is None else 1
    query, key, value = query.astype(work, copy=False), key.astype(work, copy=False), value.astype(work, copy=False)
    lengths = _whole(b, n_k) if instance.key_lengths is None else instance.key_lengths.astype(np.int64)
    if support is None:
        of_few = _few(work)
        if bias is None and mask is None and few.served(members * n_q, key, value):
            beside()
            seen = (lengths, instance.causal == "bottom-right", left, right)
            few.attend(of_few, instance, (query, key, value), seen, members, (out, lse), threads)
            return out, lse
    kernel = _kernel(work, related=support is not None)
    full = (b, h, n_q, n_k)
    no_mask, no_bias, no_sink, no_relative, no_support = _nothing(work)
    size = query_tile(b * h // members, members * n_q)
    arguments = (
        query,
        key,
        value,
        instance.scale,
        members,
        size,
        instance.causal == "bottom-right",
        UNLIMITED if left is None else int(left),
        UNLIMITED if right is None else int(right),
        lengths,
        mask is not None,
        no_mask if mask is None else np.broadcast_to(mask, full),
        bias is not None,
        no_bias if bias is None else np.broadcast_to(bias.astype(work, copy=False), full),
        0.0 if instance.softcap is None else instance.softcap,
        sink is not None,
        no_sink if sink is None else sink.astype(work),
        no_relative if relative is None else np.ascontiguousarray(relative, work),
        no_support if support is None else np.ascontiguousarray(support, np.int64),
        out,
        lse,
    )
    items = b * h // members * -(-members * n_q // size)
    columns = d_v + (query.shape[3] if support is None else len(support))
    fixed, each = _WORTH
    nanoseconds = items * size * n_k * (fixed + each * columns)
    run(kernel, arguments, items, threads, nanoseconds, last_first=True, beside=beside)
    return out, lse


def storage(instance: Masked, threads: int) -> int:
    """The most bytes that :func:`tiled` takes besides its arrays and its output.

    They are the log-sum-exp, the tiles of every thread, and the keys that few queries see.
    """
    b, h, n_q, d = instance.query.shape
    return 8 * int(b * h * n_q + 4 * b * min(n_q, few.MOST_ROWS) + threads * 300 * (d + instance.value.shape[3] + 80))


def run(
    kernel: Callable[..., None], arguments: tuple[Any, ...], items: int, threads: int | None,
    nanoseconds: float = math.inf, *, last_first: bool = False,
    beside: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Share ``items`` query tiles among threads; each writes its own rows.

    nanoseconds: about the time of one core that all of them take.  last_first: the last tiles are begun first.  Tiles
    are numbered head by head, and in causal attention the later ones of a head cost more: the work ends with cheap ones
    then, so that no thread is left alone with a long one.  beside: what is called besides, begun before any tile.
    """
    workers = cpus.worth(min(threads or cpus.available(), items), nanoseconds)
    if workers == 1:
        beside()
        kernel(*arguments, 0, items)
        return
    step = max(1, items // (8 * workers))  # causal tiles differ in cost
    starts = range(0, items, step)[:: -1 if last_first else 1]
    parts: list[Callable[[], None]] = [beside]
    parts += [functools.partial(kernel, *arguments, i, min(i + step, items)) for i in starts]
    cpus.share(lambda part: part(), parts, workers)


def query_tile(heads: int, queries: int) -> int:
    """The number of queries of a tile, a multiple of the lanes.

    Tiles are alike in size, and small where there would otherwise be too few of them to keep the threads at work.
    """
    most = QUERY_TILE if heads * queries >= 8 * QUERY_TILE else QUERY_TILE // 4
    tiles = -(-queries // most)
    return -(-queries // (tiles * LANES)) * LANES


@functools.cache
def _nothing(work: np.dtype[Any]) -> tuple[NDArray[Any], ...]:
    """What stands for the mask, the bias, the sink, and the places and pairs of ``related`` scores that are absent."""
    nothing = (
        np.zeros((1, 1, 1, 1), np.bool_), np.zeros((1, 1, 1, 1), work), np.zeros(1, work), np.zeros((0, 0), work),
        np.zeros((0, 2), np.int64),
    )  # fmt: skip
    for array in nothing:
        array.flags.writeable = False
    return nothing


@functools.lru_cache(maxsize=64)
def _whole(batches: int, keys: int) -> NDArray[np.int64]:
    """The numbers of keys of batches of which each has all of them; not to be written."""
    lengths = np.full(batches, keys, np.int64)
    lengths.flags.writeable = False
    return lengths


@functools.cache
def _kernel(work: np.dtype[Any], related: bool) -> Callable[..., None]:
    """The compiled kernel of one dtype, for scores of products or of ``related`` ones: one signature, all options."""
    numba = required("numba", "cpu")

    types: Any = numba.types  # its annotations do not fit its own calls
    real = types.float32 if work == _SINGLE else types.float64

    def view(of: Any, dimensions: int) -> Any:
        return types.Array(of, dimensions, "A", readonly=True)

    # scale and softcap are Python's own numbers: NumPy's take three times as long to make and to hand over
    signature = types.void(
        *[view(real, 4)] * 3, types.float64, types.int64, types.int64, types.boolean, types.int64, types.int64,
        view(types.int64, 1), types.boolean, view(types.boolean, 4), types.boolean, view(real, 4), types.float64,
        types.boolean, view(real, 1), types.Array(real, 2, "C", readonly=True),
        types.Array(types.int64, 2, "C", readonly=True), types.Array(real, 4, "C"), types.Array(real, 3, "C"),
        types.int64, types.int64,
    )  # fmt: skip
    return compiled(_tiles, signature, CONTRACT, **steps(), scored=_related if related else _products)


@functools.cache
def _few(work: np.dtype[Any]) -> Callable[..., None]:
    """The compiled kernel of one dtype for few queries, after that of tiles, so that no later call has to compile."""
    _kernel(work, related=False)
    return few.kernel_of(work, steps()["exponentiate"])


@functools.cache
def steps() -> dict[str, Callable[..., Any]]:
    """The compiled steps of kernels of tiles, by their names: the globals that the code of a kernel is given."""
    return products.steps() | softmax.steps()


def _tiles(
    query: Any, key: Any, value: Any, scale: Any, members: Any, size: Any, bottom_right: Any, left: Any, right: Any,
    lengths: Any, has_mask: Any, mask: Any, has_bias: Any, bias: Any, softcap: Any, has_sink: Any, sink: Any,
    relative: Any, support: Any, out: Any, lse: Any, first: Any, last: Any,
) -> None:  # fmt: skip
    """Query tiles first … last−1, numbered over (batch, heads, tile).  Compiled by :func:`_kernel`.

    A tile takes its rows from the queries of ``members`` heads that share keys and values, one head after the other.
    ``scored`` is a global that :func:`_kernel` gives.
    """
    _, h_q, n_q, d = query.shape
    d_v = value.shape[3]
    group = h_q // key.shape[1]
    tiles = (members * n_q + size - 1) // size
    factor, cap, one = query.dtype.type(scale), query.dtype.type(softcap), query.dtype.type(1.0)
    zero = (factor - factor) + (cap - cap)  # NaN where one is beyond the type: then so is every result
    lowest = -one / zero
    floor = np.finfo(query.dtype).min  # finite, so that no difference of scores is NaN
    queries = room(d, query)
    scores = room(KEY_TILE + 1, query)
    sums = room((d_v + 7) // 8 * 8, query)
    total = np.empty(size, query.dtype)
    top = np.empty(size, query.dtype)
    for item in range(first, last):
        batch = item // (h_q // members * tiles)
        lead = item // tiles % (h_q // members) * members
        start = item % tiles * size
        rows = min(size, members * n_q - start)
        source = lead // group
        length = lengths[batch]
        offset = length - n_q if bottom_right else 0
        early, late = (start, start + rows) if members == 1 else (0, n_q)
        for r in range(size):
            row = min(start + r, members * n_q - 1)
            for c in range(d):
                queries[c, r] = factor * query[batch, lead + row // n_q, row % n_q, c]
            total[r] = zero
            top[r] = floor
        sums[:, :size] = zero
        for at in range(max(0, early + offset - left), min(length, late + offset + right), KEY_TILE):
            count = min(KEY_TILE, length - at)
            if has_mask and not mask[batch, lead : lead + members, early:late, at : at + count].any():
                continue
            wide = (count + 7) // 8 * 8
            scored(  # type: ignore[name-defined]  # noqa: F821
                key[batch, source, at : at + count], queries, scores[:wide], size, rows, relative, support,
                start - at + key.shape[2] - 1,
            )  # fmt: skip
            nearest, farthest = early + offset - at, late - 1 + offset - at  # positions of queries, from the first key
            whole = count == wide and farthest <= left and nearest + right + 1 >= count  # each query sees each key
            for r in range(0 if whole and not (has_mask or has_bias or cap > zero) else rows):
                head, i = lead + (start + r) // n_q, (start + r) % n_q
                if cap > zero:
                    for j in range(count):
                        scores[j, r] = cap * np.tanh(scores[j, r] / cap)
                if has_bias:
                    for j in range(count):
                        scores[j, r] += bias[batch, head, i, at + j]
                if has_mask:
                    for j in range(count):
                        if not mask[batch, head, i, at + j]:
                            scores[j, r] = lowest
                position = i + offset - at
                for j in range(min(position - left, count)):
                    scores[j, r] = lowest
                for j in range(max(min(position + right + 1, count), 0), wide):
                    scores[j, r] = lowest
            soften(scores, wide, size, top, total)
            shrink_and_add(value[batch, source, at : at + count].T, scores[:wide], sums, size, scores[wide])
        for r in range(rows):
            head, i = lead + (start + r) // n_q, (start + r) % n_q
            largest, weight = top[r], one
            if has_sink:
                largest = max(top[r], sink[head])
                weight = np.exp(top[r] - largest)
                total[r] = total[r] * weight + np.exp(sink[head] - largest)
            if total[r] == zero:  # every key masked
                for c in range(d_v):
                    out[batch, head, i, c] = zero
                lse[batch, head, i] = lowest
                continue
            for c in range(d_v):
                out[batch, head, i, c] = sums[c, r] * weight / total[r]
            lse[batch, head, i] = largest + np.log(total[r])


def _products(
    keys: Any, queries: Any, scores: Any, size: Any, rows: Any, relative: Any, support: Any, first: Any
) -> None:
    """scores = ⟨k, q⟩ of every key and every query of a tile.  Compiled by :func:`_kernel`."""
    multiply(keys, queries, scores, size)


def _related(
    keys: Any, queries: Any, scores: Any, size: Any, rows: Any, relative: Any, support: Any, first: Any
) -> None:
    """scores = Σ_e q_a W_e k_b, as :func:`tiled` says; ``first`` is the entry of the first key and the first query."""
    scores[:, :size] = 0
    for j in range(keys.shape[0]):
        s = scores[j]
        for e in range(support.shape[0]):
            q, by = queries[support[e, 0]], keys[j, support[e, 1]]
            w = relative[e, first - j : first - j + rows]
            for r in range(rows):
                s[r] += q[r] * (by * w[r])
