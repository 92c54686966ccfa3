"""Exact attention on the CPU: tiles of queries against tiles of keys, online softmax, a few threads.

The arithmetic is that of the class of the input: float32 or float64 throughout.  bfloat16 and float16 are computed in
float32 and rounded once.  The scores of the queries of a tile lie side by side, so that all loops over them, also those
for maxima and sums, are vector operations without a reduction.  Keys and values are read in place, whatever their
strides.  The extra memory of a thread is a tile of queries, one of outputs and one of scores.
"""

from __future__ import annotations

import functools
import math
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import threads as cpus
from assay.impl.cpu.attention import few
from assay.impl.cpu.compiled import jitted
from assay.spec.attention.instance import Instance
from assay.spec.floating_point import require_usual
from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.softmax.masks import Masked

__all__ = [
    "KEY_TILE", "LANES", "QUERY_TILE", "STRIDE", "UNLIMITED", "compiling", "exact", "exponential", "exponentiate",
    "multiply", "query_tile", "run", "soften", "steps", "storage", "tiled",
]  # fmt: skip

QUERY_TILE = 256  # queries whose scores lie side by side
LANES = 16  # queries are taken in multiples of this
STRIDE = QUERY_TILE + LANES  # no power of two: rows would share a few sets of the cache
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
    instance = Instance(
        query, key, value, scale, is_causal, causal, window, mask, bias, key_lengths, softcap, sink, return_lse
    )
    cpus.require_number(threads)
    output, lse = tiled(instance, query, key, bias, threads=threads)
    output = output.astype(query.dtype, copy=False)
    return (output, lse) if return_lse else output


def tiled(
    instance: Masked,
    query: NDArray[Any],
    key: NDArray[Any],
    bias: NDArray[Any] | None,
    *,
    relative: NDArray[Any] | None = None,
    support: NDArray[np.int64] | None = None,
    threads: int | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The output (b, h_q, n_q, d_v) and the log-sum-exp (b, h_q, n_q), in the type of the arithmetic.

    query, key, bias: in place of those of the instance, from which the values and everything else are taken.  They may
    be of another type; that of the queries decides about the arithmetic.
    support (s, 2): where it is given, the score is not scale·⟨q_i, k_j⟩ but scale·Σ_e q_ia W_e k_jb over the rows
    (a, b) of ``support``.  There W_e is entry i − j + n_k − 1 of row e of ``relative`` (s, n_q + n_k − 1), and i and j
    are the numbers of the query and the key.
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
    if support is None:
        of_few = _few(work)
        if bias is None and mask is None and few.served(members * n_q, key, value):
            seen = (instance.key_lengths, instance.causal == "bottom-right", left, right)
            few.attend(of_few, instance, (query, key, value), seen, members, (out, lse), threads)
            return out, lse
    lengths = _whole(b, n_k) if instance.key_lengths is None else instance.key_lengths.astype(np.int64)
    kernel = _kernel(work, related=support is not None)
    full = (b, h, n_q, n_k)
    no_mask, no_bias, no_sink, no_relative, no_support = _nothing(work)
    size = query_tile(b * h // members, members * n_q)
    arguments = (
        query,
        key,
        value,
        work.type(instance.scale),
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
        work.type(0.0 if instance.softcap is None else instance.softcap),
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
    run(kernel, arguments, items, threads, items * size * n_k * (fixed + each * columns))
    return out, lse


def storage(instance: Masked, threads: int) -> int:
    """The most bytes that :func:`tiled` takes besides its arrays and its output.

    They are the log-sum-exp, the tiles of every thread, and the keys that few queries see.
    """
    b, h, n_q, d = instance.query.shape
    return 8 * int(b * h * n_q + 4 * b * min(n_q, few.MOST_ROWS) + threads * 300 * (d + instance.value.shape[3] + 80))


def run(
    kernel: Callable[..., None], arguments: tuple[Any, ...], items: int, threads: int | None,
    nanoseconds: float = math.inf,
) -> None:  # fmt: skip
    """Share ``items`` query tiles among threads; each writes its own rows.

    nanoseconds: about the time of one core that all of them take.
    """
    workers = cpus.worth(min(threads or cpus.available(), items), nanoseconds)
    if workers == 1:
        kernel(*arguments, 0, items)
        return
    step = max(1, items // (8 * workers))  # causal tiles differ in cost
    cpus.share(lambda i: kernel(*arguments, i, min(i + step, items)), range(0, items, step), workers)


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
def exponential(work: np.dtype[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...], type[Any], int]:
    """What e^x = 2^k e^t needs (ATT-9): constants of the reduction; coefficients; the type of the bits; the mantissa.

    The constants are log₂e, ln 2 in two parts, a number whose addition rounds to k, and the least x.  The coefficients
    are 1/i!, the one of the highest degree first.  The mantissa is its number of bits.
    """
    kind = np.finfo(work)
    degree, high, low, bits = {
        "float32": (7, 0.693145751953125, 1.42860682030941723e-6, np.int32),
        "float64": (13, 0.6931471803691238, 1.9082149292705877e-10, np.int64),
    }[work.name]
    rounding = 1.5 * 2.0**kind.nmant + 1 - kind.minexp  # the last bits of a sum with it are the exponent of 2^k
    least = np.nextafter(work.type(kind.minexp * math.log(2.0)), work.type(-math.inf))
    constants = (*map(work.type, (math.log2(math.e), high, low, rounding)), least)
    return constants, tuple(work.type(1.0 / math.factorial(i)) for i in range(degree, -1, -1)), bits, kind.nmant


@functools.cache
def _kernel(work: np.dtype[Any], related: bool) -> Callable[..., None]:
    """The compiled kernel of one dtype, for scores of products or of ``related`` ones: one signature, all options."""
    numba = required("numba", "cpu")

    types: Any = numba.types  # its annotations do not fit its own calls
    real = types.float32 if work == _SINGLE else types.float64
    numbers = _numbers(work)  # for the compiler: an argument would cost every call

    def view(of: Any, dimensions: int) -> Any:
        return types.Array(of, dimensions, "A", readonly=True)

    signature = types.void(
        *[view(real, 4)] * 3, real, types.int64, types.int64, types.boolean, types.int64, types.int64,
        view(types.int64, 1), types.boolean, view(types.boolean, 4), types.boolean, view(real, 4), real, types.boolean,
        view(real, 1), types.Array(real, 2, "C", readonly=True), types.Array(types.int64, 2, "C", readonly=True),
        types.Array(real, 4, "C"), types.Array(real, 3, "C"), types.int64, types.int64,
    )  # fmt: skip
    called, options = steps(), compiling()
    scored = _related if related else FunctionType(_products.__code__, {**globals(), **called})
    tiles = FunctionType(_tiles.__code__, {**globals(), **called, **numbers, "scored": jitted(scored, **options)})
    if related:
        tiles.__qualname__ = "_related_tiles"  # the compiled code on disk is identified by this name
    compiled: Callable[..., None] = jitted(tiles, signature, **options)
    return compiled


@functools.cache
def _few(work: np.dtype[Any]) -> Callable[..., None]:
    """The compiled kernel of one dtype for few queries, after that of tiles, so that no later call has to compile."""
    _kernel(work, related=False)
    return few.compiled(work, exponentiate, _numbers(work), compiling())


def _numbers(work: np.dtype[Any]) -> dict[str, Any]:
    """What :func:`exponential` gives, by the names that kernels know it by."""
    return dict(zip(("reduction", "coefficients", "integer", "mantissa"), exponential(work), strict=True))


def compiling() -> dict[str, Any]:
    """The options of the compiler for kernels of tiles."""
    # "contract" permits a·b + c in one rounding, which every precision class allows; nothing else is relaxed
    known = __name__.startswith("assay.")  # a cache written under another module name could not be read under this one
    return {"nogil": True, "cache": known, "error_model": "numpy", "fastmath": {"contract"}}


@functools.cache
def steps() -> dict[str, Callable[..., Any]]:
    """The compiled steps of kernels of tiles, by their names: the globals that the code of a kernel is given."""
    options = compiling()
    found = {"multiply": jitted(multiply, **options), "exponentiate": jitted(exponentiate, **options)}
    found["soften"] = jitted(FunctionType(soften.__code__, {**globals(), **found}), **options)
    return found


def _tiles(
    query: Any, key: Any, value: Any, scale: Any, members: Any, size: Any, bottom_right: Any, left: Any, right: Any,
    lengths: Any, has_mask: Any, mask: Any, has_bias: Any, bias: Any, softcap: Any, has_sink: Any, sink: Any,
    relative: Any, support: Any, out: Any, lse: Any, first: Any, last: Any,
) -> None:  # fmt: skip
    """Query tiles first … last−1, numbered over (batch, heads, tile).  Compiled by :func:`_kernel`.

    A tile takes its rows from the queries of ``members`` heads that share keys and values, one head after the other.
    The numbers of :func:`exponential` and ``scored`` are globals that :func:`_kernel` gives.
    """
    _, h_q, n_q, d = query.shape
    d_v = value.shape[3]
    group = h_q // key.shape[1]
    tiles = (members * n_q + size - 1) // size
    zero, one = scale - scale, coefficients[-1]  # type: ignore[name-defined]  # noqa: F821
    lowest = -one / zero
    floor = np.finfo(query.dtype).min  # finite, so that no difference of scores is NaN
    queries = np.zeros(((d + 3) // 4 * 4, STRIDE), query.dtype)
    scores = np.empty((KEY_TILE + 1, STRIDE), query.dtype)
    sums = np.empty(((d_v + 7) // 8 * 8, STRIDE), query.dtype)
    total = np.empty(size, query.dtype)
    top = np.empty(size, query.dtype)
    bits = np.empty(size, integer)  # type: ignore[name-defined]  # noqa: F821
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
                queries[c, r] = scale * query[batch, lead + row // n_q, row % n_q, c]
            total[r] = zero
            top[r] = floor
        sums[:, :size] = zero
        for at in range(max(0, early + offset - left), min(length, late + offset + right), KEY_TILE):
            count = min(KEY_TILE, length - at)
            if has_mask and not mask[batch, lead : lead + members, early:late, at : at + count].any():
                continue
            wide = (count + 7) // 8 * 8
            scores[:wide, :size] = zero
            scored(  # type: ignore[name-defined]  # noqa: F821
                key[batch, source, at : at + count], queries, scores[:wide], size, rows, relative, support,
                start - at + key.shape[2] - 1,
            )  # fmt: skip
            nearest, farthest = early + offset - at, late - 1 + offset - at  # positions of queries, from the first key
            whole = count == wide and farthest <= left and nearest + right + 1 >= count  # each query sees each key
            for r in range(0 if whole and not (has_mask or has_bias or softcap > zero) else rows):
                head, i = lead + (start + r) // n_q, (start + r) % n_q
                if softcap > zero:
                    for j in range(count):
                        scores[j, r] = softcap * np.tanh(scores[j, r] / softcap)
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
            risen = soften(
                scores, wide, size, top, bits,
                reduction, coefficients, mantissa,  # type: ignore[name-defined]  # noqa: F821
            )  # fmt: skip
            if risen:
                for r in range(size):
                    total[r] *= scores[wide, r]
                for c in range(d_v):
                    for r in range(size):
                        sums[c, r] *= scores[wide, r]
            for j in range(0, wide, 8):
                for r in range(size):  # in the order of the keys, eight for each time that the sum is stored
                    low = total[r] + scores[j, r] + scores[j + 1, r] + scores[j + 2, r] + scores[j + 3, r]
                    total[r] = low + scores[j + 4, r] + scores[j + 5, r] + scores[j + 6, r] + scores[j + 7, r]
            multiply(value[batch, source, at : at + count].T, scores[:wide], sums, size)
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
    """scores += ⟨k, q⟩ of every key and every query of a tile.  Compiled by :func:`_kernel`."""
    multiply(keys, queries, scores, size)


def _related(
    keys: Any, queries: Any, scores: Any, size: Any, rows: Any, relative: Any, support: Any, first: Any
) -> None:
    """scores += Σ_e q_a W_e k_b, as :func:`tiled` says; ``first`` is the entry of the first key and the first query."""
    for j in range(keys.shape[0]):
        s = scores[j]
        for e in range(support.shape[0]):
            q, by = queries[support[e, 0]], keys[j, support[e, 1]]
            w = relative[e, first - j : first - j + rows]
            for r in range(rows):
                s[r] += q[r] * (by * w[r])


def soften(
    scores: Any, wide: Any, size: Any, top: Any, bits: Any, reduction: Any, coefficients: Any, mantissa: Any
) -> Any:
    """One step of the online softmax of the lanes r < size: e^(s − m) in place of the scores of ``wide`` rows.

    wide: a multiple of 8.  ``top`` becomes m, the largest score so far.  Row ``wide`` gets e^(m' − m), m' the maximum
    before, by which the sums so far are to be multiplied; whether any of these is below 1 is returned.  Compiled by
    :func:`steps`.
    """
    for r in range(size):
        scores[wide, r] = top[r]
    for j in range(0, wide, 8):
        for r in range(size):  # eight for each time that the maximum is stored
            low = max(max(scores[j, r], scores[j + 1, r]), max(scores[j + 2, r], scores[j + 3, r]))
            high = max(max(scores[j + 4, r], scores[j + 5, r]), max(scores[j + 6, r], scores[j + 7, r]))
            top[r] = max(top[r], max(low, high))
    exponentiate(scores, wide + 1, size, top, bits, reduction, coefficients, mantissa)
    risen = False
    for r in range(size):
        risen = risen or scores[wide, r] < coefficients[-1]
    return risen


def exponentiate(
    scores: Any, rows: Any, size: Any, top: Any, bits: Any, reduction: Any, coefficients: Any, mantissa: Any
) -> None:
    """e^(s − top) in place of scores of at most ``top``: reduction, polynomial, power of two (ATT-9).

    bits (size or more,): storage of integers as wide as a score.
    """
    log2e, ln2_high, ln2_low, rounding, least = reduction
    zero = least - least
    power = bits.view(top.dtype)  # here, so that the compiler knows that it is the same memory: one loop does it all
    for j in range(rows):
        s = scores[j]
        for r in range(size):
            x = max(s[r] - top[r], least)
            power[r] = x * log2e + rounding
            k = power[r] - rounding
            bits[r] <<= mantissa
            t = (x - k * ln2_high) - k * ln2_low
            p = coefficients[0]
            for n in range(1, len(coefficients)):
                p = p * t + coefficients[n]
            s[r] = (p if s[r] - top[r] >= least else zero) * power[r]


def multiply(a: Any, b: Any, c: Any, columns: Any) -> None:
    """c[:, :columns] += a @ b[:, :columns], with 3 × 4 numbers of ``a`` in registers.  Compiled by :func:`_kernel`.

    Processors without AVX-512 have sixteen registers of vectors.  With more numbers of ``a`` than these hold beside a
    column of b, each product would read its number from memory again, which takes longer than the product.

    The number of rows of c is a multiple of 8; the rows beyond those of a get what the last row of a gives.  The number
    of rows of b is a multiple of 4; the rows beyond the columns of a are 0.
    """
    last, end = a.shape[0] - 1, a.shape[1] - 1
    above = c.reshape((c.shape[0] // 8, 8 * STRIDE))  # rows at constant distances need no check of their overlap
    below = b.reshape((b.shape[0] // 4, 4 * STRIDE))
    n = STRIDE
    for j in range(above.shape[0]):
        s = above[j]
        a0 = a[min(8 * j, last)]
        a1 = a[min(8 * j + 1, last)]
        a2 = a[min(8 * j + 2, last)]
        a3 = a[min(8 * j + 3, last)]
        a4 = a[min(8 * j + 4, last)]
        a5 = a[min(8 * j + 5, last)]
        a6 = a[min(8 * j + 6, last)]
        a7 = a[min(8 * j + 7, last)]
        for i in range(below.shape[0]):
            t = below[i]
            w, x, y, z = min(4 * i, end), min(4 * i + 1, end), min(4 * i + 2, end), min(4 * i + 3, end)
            w0, w1, w2, w3, w4, w5, w6, w7 = a0[w], a1[w], a2[w], a3[w], a4[w], a5[w], a6[w], a7[w]
            x0, x1, x2, x3, x4, x5, x6, x7 = a0[x], a1[x], a2[x], a3[x], a4[x], a5[x], a6[x], a7[x]
            y0, y1, y2, y3, y4, y5, y6, y7 = a0[y], a1[y], a2[y], a3[y], a4[y], a5[y], a6[y], a7[y]
            z0, z1, z2, z3, z4, z5, z6, z7 = a0[z], a1[z], a2[z], a3[z], a4[z], a5[z], a6[z], a7[z]
            for r in range(columns):
                p, q, u, v = t[r], t[n + r], t[2 * n + r], t[3 * n + r]
                s[r] = s[r] + w0 * p + x0 * q + y0 * u + z0 * v
                s[n + r] = s[n + r] + w1 * p + x1 * q + y1 * u + z1 * v
                s[2 * n + r] = s[2 * n + r] + w2 * p + x2 * q + y2 * u + z2 * v
            for r in range(columns):
                p, q, u, v = t[r], t[n + r], t[2 * n + r], t[3 * n + r]
                s[3 * n + r] = s[3 * n + r] + w3 * p + x3 * q + y3 * u + z3 * v
                s[4 * n + r] = s[4 * n + r] + w4 * p + x4 * q + y4 * u + z4 * v
                s[5 * n + r] = s[5 * n + r] + w5 * p + x5 * q + y5 * u + z5 * v
            for r in range(columns):
                p, q, u, v = t[r], t[n + r], t[2 * n + r], t[3 * n + r]
                s[6 * n + r] = s[6 * n + r] + w6 * p + x6 * q + y6 * u + z6 * v
                s[7 * n + r] = s[7 * n + r] + w7 * p + x7 * q + y7 * u + z7 * v
