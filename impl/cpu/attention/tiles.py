"""Exact attention on the CPU: tiles of queries against tiles of keys, online softmax, a few threads.

The arithmetic is that of the class of the input (float32 or float64 throughout; bfloat16 and float16 are
computed in float32 and rounded once).  Extra memory is O(tile): two tiles of keys and values and one of scores a
thread.
"""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.attention.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["exact"]

_QUERY_TILE = 32
_KEY_TILE = 64
_UNLIMITED = 1 << 62


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
    """Attention of (batch, heads, length, dim) arrays; every option as in :class:`assay.spec.attention.Instance`.

    Returns the output (b, h_q, n_q, d_v) in the dtype of the inputs, with ``return_lse`` also the log-sum-exp
    (b, h_q, n_q), in float64 for float64 inputs and float32 otherwise.  Equal to
    ``torch.nn.functional.scaled_dot_product_attention`` where that has the option.  ``threads``: at most this many
    (default: the CPUs of this process); the result does not depend on it.

    Raises :class:`~assay.spec.problem.InvalidInstance` for bad input, naming the argument.

    >>> x = np.arange(3.0).reshape(1, 1, 3, 1)
    >>> np.round(exact(x, x, x, is_causal=True), 6).ravel()
    array([0.      , 0.731059, 1.850937])
    """
    instance = Instance(
        query, key, value, scale, is_causal, causal, window, mask, bias, key_lengths, softcap, sink, return_lse
    )
    if threads is not None and threads < 1:
        raise ValueError(f"threads: {threads!r}, expected at least 1")
    work = np.dtype(np.float64 if query.dtype.name == "float64" else np.float32)  # in any byte order
    b, h, n_q, _ = query.shape
    n_k, d_v = value.shape[2:]
    out = np.empty((b, h, n_q, d_v), work)
    lse = np.empty((b, h, n_q), work)
    full = (b, h, n_q, n_k)
    no_mask, no_bias = np.zeros((1, 1, 1, 1), np.bool_), np.zeros((1, 1, 1, 1), work)
    lengths = np.full(b, n_k, np.int64) if key_lengths is None else key_lengths.astype(np.int64)
    left, right = (None, None) if window is None else window
    arguments = (
        query.astype(work, copy=False),
        key.astype(work, copy=False),
        value.astype(work, copy=False),
        work.type(instance.scale),
        instance.causal is not None,
        instance.causal == "bottom-right",
        _UNLIMITED if left is None else min(int(left), _UNLIMITED),
        _UNLIMITED if right is None else min(int(right), _UNLIMITED),
        lengths,
        mask is not None,
        no_mask if mask is None else np.broadcast_to(mask, full),
        bias is not None,
        no_bias if bias is None else np.broadcast_to(bias.astype(work, copy=False), full),
        work.type(0.0 if softcap is None else softcap),
        sink is not None,
        np.zeros(1, work) if sink is None else sink.astype(work),
        _powers(work),
        _coefficients(work),
        out,
        lse,
    )
    _run(_kernel(work.name), arguments, b * h * -(-n_q // _QUERY_TILE), threads)
    output = out.astype(query.dtype, copy=False)
    return (output, lse) if return_lse else output


def _run(kernel: Callable[..., None], arguments: tuple[Any, ...], items: int, threads: int | None) -> None:
    """Share ``items`` query tiles among threads; each writes its own rows."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(threads or available, items)
    if workers == 1:
        kernel(*arguments, 0, items)
        return
    step = max(1, items // (8 * workers))  # causal tiles differ in cost
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(kernel, *arguments, i, min(i + step, items)) for i in range(0, items, step)]:
            done.result()


def _powers(work: np.dtype[Any]) -> NDArray[Any]:
    """2^0, 2^-1, … down to the smallest normal number."""
    powers: NDArray[Any] = np.ldexp(work.type(1), -np.arange(1 - np.finfo(work).minexp))
    return powers


def _coefficients(work: np.dtype[Any]) -> NDArray[Any]:
    """1/i!, highest first: 0.35^(g+1)/(g+1)! is below half an ulp for the degree g of each type."""
    degree = 13 if work == np.float64 else 7
    return (1.0 / np.cumprod([1.0, *range(1, degree + 1)]))[::-1].astype(work)


@functools.cache
def _kernel(dtype: str) -> Callable[..., None]:
    """The compiled kernel of one dtype: one signature, whatever the strides and options."""
    import numba

    types: Any = numba.types  # its annotations do not fit its own calls
    real = {"float32": types.float32, "float64": types.float64}[dtype]

    def view(of: Any, dimensions: int) -> Any:
        return types.Array(of, dimensions, "A", readonly=True)

    signature = types.void(
        *[view(real, 4)] * 3, real, types.boolean, types.boolean, types.int64, types.int64, view(types.int64, 1),
        types.boolean, view(types.boolean, 4), types.boolean, view(real, 4), real, types.boolean, view(real, 1),
        view(real, 1), view(real, 1), types.Array(real, 4, "C"), types.Array(real, 3, "C"), types.int64, types.int64,
    )  # fmt: skip
    # "contract" allows a·b + c in one rounding, which every precision class allows; nothing else is relaxed
    known = __name__.startswith("assay.")  # a cache written under another module name could not be read under this one
    compiled: Callable[..., None] = numba.njit(
        signature, nogil=True, cache=known, error_model="numpy", fastmath={"contract"}
    )(_tiles)
    return compiled


def _tiles(
    query: Any, key: Any, value: Any, scale: Any, causal: Any, bottom_right: Any, left: Any, right: Any, lengths: Any,
    has_mask: Any, mask: Any, has_bias: Any, bias: Any, softcap: Any, has_sink: Any, sink: Any,
    powers: Any, coefficients: Any, out: Any, lse: Any, first: Any, last: Any,
) -> None:  # fmt: skip
    """Query tiles first … last−1, numbered over (batch, head, tile).  Compiled by :func:`_kernel`."""
    _, h_q, n_q, d = query.shape
    h_k, _, d_v = key.shape[1], key.shape[2], value.shape[3]
    group = h_q // h_k
    tiles = (n_q + 31) // 32
    width = d_v + 1  # a column of ones appended to V sums the row
    zero, one = scale - scale, powers[0]
    lowest = -one / zero
    log2e, ln2_high, ln2_low = one, one, one
    if coefficients.shape[0] > 8:
        log2e, ln2_high, ln2_low = 1.4426950408889634, 0.6931471803691238, 1.9082149292705877e-10
    else:
        log2e, ln2_high, ln2_low = one * 1.4426950408889634, one * 0.693145751953125, one * 1.42860682030941723e-6
    deepest = powers.shape[0] - 1
    keys = np.empty((d, 64), query.dtype)
    values = np.empty((64, width), query.dtype)
    queries = np.empty((32, d), query.dtype)
    scores = np.empty((32, 64), query.dtype)
    sums = np.empty((32, width), query.dtype)
    top = np.empty(32, query.dtype)
    for item in range(first, last):
        batch = item // (h_q * tiles)
        head = item // tiles % h_q
        start = item % tiles * 32
        rows = min(32, n_q - start)
        source = head // group
        length = lengths[batch]
        offset = length - n_q if bottom_right else 0
        for r in range(rows):
            for c in range(d):
                queries[r, c] = query[batch, head, start + r, c]
            for c in range(width):
                sums[r, c] = zero
            top[r] = lowest
        begin = max(0, start + offset - left)
        end = min(length, start + rows + offset + right)
        if causal:
            end = min(end, start + rows + offset)
        for at in range(begin, end, 64):
            count = min(64, end - at)
            for j in range(count):
                for c in range(d):
                    keys[c, j] = key[batch, source, at + j, c]
                for c in range(d_v):
                    values[j, c] = value[batch, source, at + j, c]
                values[j, d_v] = one
            for r in range(rows):
                position = start + r + offset
                s = scores[r]
                for j in range(count):
                    s[j] = zero
                c = 0
                while c + 8 <= d:
                    q0, q1, q2, q3 = queries[r, c], queries[r, c + 1], queries[r, c + 2], queries[r, c + 3]
                    q4, q5, q6, q7 = queries[r, c + 4], queries[r, c + 5], queries[r, c + 6], queries[r, c + 7]
                    for j in range(count):
                        s[j] = (
                            s[j] + q0 * keys[c, j] + q1 * keys[c + 1, j] + q2 * keys[c + 2, j] + q3 * keys[c + 3, j]
                            + q4 * keys[c + 4, j] + q5 * keys[c + 5, j] + q6 * keys[c + 6, j] + q7 * keys[c + 7, j]
                        )  # fmt: skip
                    c += 8
                while c < d:
                    for j in range(count):
                        s[j] += queries[r, c] * keys[c, j]
                    c += 1
                for j in range(count):
                    s[j] *= scale
                if softcap > zero:
                    for j in range(count):
                        s[j] = softcap * np.tanh(s[j] / softcap)
                if has_bias:
                    for j in range(count):
                        s[j] += bias[batch, head, start + r, at + j]
                low = position - left - at
                high = position + right - at
                if causal:
                    high = min(high, position - at)
                for j in range(min(low, count)):
                    s[j] = lowest
                for j in range(max(high + 1, 0), count):
                    s[j] = lowest
                if has_mask:
                    for j in range(count):
                        if not mask[batch, head, start + r, at + j]:
                            s[j] = lowest
                largest = top[r]
                for j in range(count):
                    largest = max(largest, s[j])
                if largest == lowest:
                    continue
                if largest > top[r]:
                    factor = np.exp(top[r] - largest)  # 0 for the first tile
                    for c in range(width):
                        sums[r, c] *= factor
                    top[r] = largest
                for j in range(count):  # e^(s − m): reduction, polynomial, power of two from a table
                    x = max(s[j] - largest, -deepest * ln2_high)
                    k = np.floor(x * log2e + one * 0.5)
                    t = (x - k * ln2_high) - k * ln2_low
                    p = coefficients[0]
                    for i in range(1, coefficients.shape[0]):
                        p = p * t + coefficients[i]
                    e = p * powers[int(-k)]
                    s[j] = e if s[j] - largest > -deepest * ln2_high else zero
                j = 0
                while j + 4 <= count:
                    p0, p1, p2, p3 = s[j], s[j + 1], s[j + 2], s[j + 3]
                    for c in range(width):
                        sums[r, c] = (
                            sums[r, c]
                            + p0 * values[j, c]
                            + p1 * values[j + 1, c]
                            + p2 * values[j + 2, c]
                            + p3 * values[j + 3, c]
                        )
                    j += 4
                while j < count:
                    for c in range(width):
                        sums[r, c] += s[j] * values[j, c]
                    j += 1
        for r in range(rows):
            total, largest = sums[r, d_v], top[r]
            factor = one
            if has_sink:
                largest = max(top[r], sink[head])
                factor = np.exp(top[r] - largest)
                total = total * factor + np.exp(sink[head] - largest)
            if total == zero:  # every key masked
                for c in range(d_v):
                    out[batch, head, start + r, c] = zero
                lse[batch, head, start + r] = lowest
                continue
            for c in range(d_v):
                out[batch, head, start + r, c] = sums[r, c] * factor / total
            lse[batch, head, start + r] = largest + np.log(total)
