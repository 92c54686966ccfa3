"""The exact gradient of attention of any order on the CPU: tiles of queries against products of keys, a few threads.

The arithmetic is that of the class of the input: float32 or float64 throughout; bfloat16 and float16 are computed in
float32 and rounded once.  δ = ⟨dO, o⟩ − dlse comes from the stored output, and all probabilities of a row from the
stored log-sum-exp.  The gradient of a product of keys is multiplied by the keys of the other modes on its way to the
key of a mode (proofs_notes/tensor_attention_fast.md, TEN-9).  Order 2 is the kernel of attention's gradient itself.

A strip of the first mode of one key head is a task.  It writes parts of all gradients, which are added in the order of
the strips.  The number of strips depends on the shape alone, so that no result depends on the number of threads.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import attention_gradient
from assay.impl.cpu.attention.tiles import KEY_TILE
from assay.impl.cpu.attention_gradient.tiles import check
from assay.impl.cpu.products import STRIDE, add_product, multiply, room
from assay.impl.cpu.progress import told
from assay.impl.cpu.softmax import exponential, exponentiate
from assay.impl.cpu.tensor_attention.combinations import BLOCK, arranged, instance_of, of_tiles, tile_of
from assay.impl.cpu.tensor_attention.tiles import attended, shared, windows
from assay.impl.cpu.threads import require_number
from assay.spec.floating_point import require_usual
from assay.spec.instances.extra import required
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["exact"]

_TASKS = 8  # at least, where the first mode has keys enough
_LEAST_STRIP = 16  # keys of the first mode


def exact(
    query: NDArray[Any],
    *arrays: NDArray[Any] | None,
    scale: float | None = None,
    is_causal: bool = False,
    window: tuple[int | None, ...] | None = None,
    grad_log_sum_exp: NDArray[Any] | None = None,
    threads: int | None = None,
    progress: bool | Callable[[int, int], None] = False,
    **named: NDArray[Any],
) -> tuple[NDArray[Any], ...]:
    """The vector–Jacobian product of attention of order k on (batch, heads, length, dim) arrays.

    arrays: key1 … key{k−1}, value1 … value{k−1}, output, log_sum_exp, grad_output; any of them may be given by its
    name.  Keys, values and options are those of :class:`assay.spec.tensor_attention.Instance`.  output (b, h_q, n_q,
    d_v) and log_sum_exp (b, h_q, n_q), float32 or float64, are those of the forward pass, or ``None``: then they are
    computed.  grad_output (b, h_q, n_q, d_v) is the incoming gradient, in the dtype of the inputs; grad_log_sum_exp (b,
    h_q, n_q), if any, that of the log-sum-exp.

    Returns (grad_query, grad_key1, …, grad_value1, …), each with the shape and the dtype of its array.  The gradients
    of key heads are sums over the query heads of their groups.  What no query sees gets exact zeros.  ``threads``: the
    most threads (default: the CPUs of this process); the result does not depend on their number.  ``progress``: True
    shows a bar; a function is called with (tasks done, tasks in all).

    The memory beside inputs and outputs is that of the gradients for each of at most eight strips, and a few tiles a
    thread.  Raises :class:`~assay.spec.problem.InvalidInstance` for bad input, naming the argument, and ``ValueError``
    for bad ``threads``.

    >>> x = np.arange(2.0).reshape(1, 1, 2, 1)
    >>> found = exact(x, x, x, x, x, None, None, np.ones_like(x))
    >>> np.round(found[3], 6).ravel()
    array([0.424878, 0.725367])
    """
    require_usual()
    last = ("output", "log_sum_exp", "grad_output")
    beside: dict[str, Any] = {name: named.pop(name) for name in last if name in named}
    given = len(arrays) - (3 - len(beside))
    if given < 0:
        raise InvalidInstance("grad_output: expected after output and log_sum_exp, behind the values")
    beside.update(zip([name for name in last if name not in beside], arrays[given:], strict=True))
    modes: Any = arrays[:given]
    instance = instance_of(query, modes, named, {"scale": scale, "is_causal": is_causal, "window": window})
    require_number(threads)
    output, log_sum_exp, grad_output = (beside[name] for name in last)
    if instance.order == 2:
        return attention_gradient.exact(
            query, instance.mode_keys[0], instance.mode_values[0], output, log_sum_exp, grad_output,
            **windows(instance), grad_log_sum_exp=grad_log_sum_exp, threads=threads,
        )  # fmt: skip
    (b, h_q, n_q, d), d_v, h_k = query.shape, instance.mode_values[0].shape[3], instance.mode_keys[0].shape[1]
    kind = query.dtype.newbyteorder("=")
    wide = (np.dtype(np.float32), np.dtype(np.float64))
    work = np.dtype(np.float64) if kind.name == "float64" else np.dtype(np.float32)
    check("grad_output", grad_output, (b, h_q, n_q, d_v), (kind,))
    if (output is None) != (log_sum_exp is None):
        raise InvalidInstance("output and log_sum_exp: expected both or neither")
    if output is None:
        output, log_sum_exp = attended(instance, work, threads)
    check("output", output, (b, h_q, n_q, d_v), (kind, *wide))
    check("log_sum_exp", log_sum_exp, (b, h_q, n_q), (kind, *wide))
    if grad_log_sum_exp is not None:
        check("grad_log_sum_exp", grad_log_sum_exp, (b, h_q, n_q), (kind, *wide))

    laid = arranged(instance, work)
    total = int(laid.lengths.sum())
    strips = max(1, min(-(-_TASKS // (b * h_k)), instance.mode_lengths[0] // _LEAST_STRIP))
    grad_query = np.zeros((strips, b, h_q, n_q, d), work)
    grad_keys, grad_values = np.zeros((strips, b, h_k, total, d), work), np.zeros((strips, b, h_k, total, d_v), work)
    arguments = (
        query.astype(work, copy=False), laid.keys, laid.values, laid.firsts, laid.lengths, laid.widths,
        instance.is_causal, *(x.astype(work, copy=False) for x in (output, log_sum_exp, grad_output)),
        np.zeros((1, 1, 1), work) if grad_log_sum_exp is None else grad_log_sum_exp.astype(work, copy=False),
        grad_log_sum_exp is not None, work.type(instance.scale), tile_of(instance), *exponential(work), grad_query,
        grad_keys, grad_values,
    )  # fmt: skip
    with told(progress, "gradient") as tell:
        shared(_kernel(work.name), arguments, b * h_k * strips, threads, tell)
    found = [functools.reduce(np.add, parts) for parts in (grad_query, grad_keys, grad_values)]
    ends = np.cumsum(laid.lengths)[:-1]
    with np.errstate(over="ignore"):
        split = [found[0], *np.split(found[1], ends, axis=2), *np.split(found[2], ends, axis=2)]
        return tuple(np.ascontiguousarray(x.astype(kind, copy=False)) for x in split)


@functools.cache
def _kernel(dtype: str) -> Callable[..., None]:
    """The compiled kernel of one dtype: one signature, whatever the order, the strides and options."""
    numba = required("numba", "cpu")

    types: Any = numba.types  # its annotations do not fit its own calls
    real = {"float32": types.float32, "float64": types.float64}[dtype]
    constants, coefficients = exponential(np.dtype(dtype))
    column, parts = types.Array(types.int64, 1, "C"), types.Array(real, 5, "C")

    def view(dimensions: int) -> Any:
        return types.Array(real, dimensions, "A", readonly=True)

    signature = types.void(
        view(4), *[types.Array(real, 4, "C")] * 2, column, column, column, types.boolean, view(4), view(3), view(4),
        view(3), types.boolean, real, types.int64, types.UniTuple(real, len(constants)),
        types.UniTuple(real, len(coefficients)), parts, parts, parts, types.int64, types.int64,
    )  # fmt: skip
    return of_tiles(_strips, signature, spread=spread)


def spread(of_products: Any, first: Any, rows: Any, firsts: Any, places: Any, count: Any, near: Any, to: Any) -> None:
    """Add gradients of products to those of their factors, columns ``first`` … ``first`` + ``near`` − 1.

    of_products (≥ count, ≥ near): gradients of products, a row a combination.  rows, to (Σ n_m, columns): the factors
    of all modes, and their gradients.  Compiled by :func:`_kernel`.
    """
    modes = firsts.shape[0]
    for j in range(count):
        by = of_products[j]
        for m in range(modes):
            onto = to[firsts[m] + places[j, m]]
            if modes == 2:
                other = rows[firsts[1 - m] + places[j, 1 - m]]
                for c in range(near):
                    onto[first + c] += by[c] * other[first + c]
                continue
            for c in range(near):
                x = by[c]
                for k in range(modes):
                    if k != m:
                        x *= rows[firsts[k] + places[j, k], first + c]
                onto[first + c] += x


def _strips(
    query: Any, keys: Any, values: Any, firsts: Any, lengths: Any, widths: Any, causal: Any, output: Any, lse: Any,
    grad_output: Any, grad_lse: Any, has_grad_lse: Any, scale: Any, size: Any, reduction: Any, coefficients: Any,
    grad_query: Any, grad_keys: Any, grad_values: Any, first: Any, last: Any,
) -> None:  # fmt: skip
    """Tasks first … last−1, numbered over (batch, key heads, strip of the first mode).  Compiled by :func:`_kernel`."""
    _, h_q, n_q, d = query.shape
    h_k, d_v = values.shape[1], values.shape[3]
    group = h_q // h_k
    modes = firsts.shape[0]
    strips = grad_query.shape[0]
    strip = (lengths[0] + strips - 1) // strips
    tiles = (n_q + size - 1) // size
    zero, one = scale - scale, coefficients[-1]
    lowest = -one / zero
    blocks, value_blocks = (d + 255) // 256, (d_v + 255) // 256  # of columns that lie side by side
    columns, grad_columns = room(d, query), room(d_v, query)  # σq and dO of a tile, a lane a query …
    rows_of_query = room(blocks * size, query).reshape((blocks, size, STRIDE))  # … and a row a query
    rows_of_grad = room(value_blocks * size, query).reshape((value_blocks, size, STRIDE))
    rows_of_query[:], rows_of_grad[:] = zero, zero
    probability, grad_score = room(KEY_TILE, query), room(KEY_TILE, query)
    wide_d = (d + 7) // 8 * 8
    sums = room(2 * wide_d, query).reshape((2, wide_d, STRIDE))  # of a block of combinations, and of all before
    of_products = room(KEY_TILE, query)
    top = np.empty(size, query.dtype)
    delta = np.empty(size, query.dtype)
    made, made_values = np.empty((KEY_TILE, d), query.dtype), np.empty((KEY_TILE, d_v), query.dtype)
    of_keys, of_values = np.ones((modes, d), query.dtype), np.ones((modes, d_v), query.dtype)
    places, rows_of = np.empty((KEY_TILE, modes), np.int64), np.empty((KEY_TILE, 2), np.int64)
    begin, end, low, high = (
        np.empty(modes, np.int64), np.empty(modes, np.int64), np.empty(modes, np.int64), np.empty(modes, np.int64),
    )  # fmt: skip
    at = np.empty(modes + 1, np.int64)
    for item in range(first, last):
        part = item % strips
        source = item // strips % h_k
        batch = item // (strips * h_k)
        to_keys, to_values = grad_keys[part, batch, source], grad_values[part, batch, source]
        for inner in range(group * tiles):
            head = source * group + inner // tiles
            start = inner % tiles * size
            rows = min(size, n_q - start)
            for m in range(modes):
                begin[m] = max(0, start - widths[m] + 1)
                end[m] = min(lengths[m], start + rows - 1 + (1 if causal else widths[m]))
            begin[0], end[0] = max(begin[0], part * strip), min(end[0], part * strip + strip)
            if begin[0] >= end[0]:
                continue
            for r in range(size):
                row = min(start + r, n_q - 1)
                valid = r < rows
                for c in range(d):
                    x = scale * query[batch, head, row, c]
                    columns[c, r] = x
                    rows_of_query[c // 256, r, c % 256] = x
                total = zero
                for c in range(d_v):
                    x = grad_output[batch, head, row, c] if valid else zero
                    grad_columns[c, r] = x
                    rows_of_grad[c // 256, r, c % 256] = x
                    total += x * output[batch, head, row, c]
                if has_grad_lse and valid:
                    total -= grad_lse[batch, head, row]
                delta[r] = total
                shift = lse[batch, head, row]
                top[r] = shift if shift > lowest else zero  # of an empty row: its scores are all −∞
            sums[:, :, :size] = zero
            at[0], at[1] = 0, begin[0]
            low[0], high[0] = start, start + rows
            block = 0
            while True:
                count = combine(  # type: ignore[name-defined]  # noqa: F821
                    keys[batch, source], values[batch, source], firsts, begin, end, widths, causal, at, low, high,
                    of_keys, of_values, made, made_values, places, rows_of,
                )  # fmt: skip
                if count == 0:
                    break
                wide = (count + 7) // 8 * 8
                multiply(made[:count], columns, probability[:wide], size)
                multiply(made_values[:count], grad_columns, grad_score[:wide], size)
                for j in range(count):
                    s = probability[j]
                    for r in range(size):
                        s[r] = min(s[r], top[r])  # a little above where the two were rounded
                    for r in range(rows_of[j, 0] - start):
                        s[r] = lowest
                    for r in range(rows_of[j, 1] - start, size):
                        s[r] = lowest
                probability[count:wide, :size] = lowest
                exponentiate(probability, wide, size, top, reduction, coefficients)
                for j in range(wide):  # dS = p (g − δ)
                    s, g = probability[j], grad_score[j]
                    for r in range(size):
                        g[r] = s[r] * (g[r] - delta[r])
                for column in range(value_blocks):
                    near = min(256, d_v - 256 * column)
                    across = (near + 15) // 16 * 16
                    multiply(probability[:count, :size], rows_of_grad[column], of_products[:wide], across)
                    spread(of_products, 256 * column, values[batch, source], firsts, places, count, near, to_values)
                for column in range(blocks):
                    near = min(256, d - 256 * column)
                    across = (near + 15) // 16 * 16
                    multiply(grad_score[:count, :size], rows_of_query[column], of_products[:wide], across)
                    spread(of_products, 256 * column, keys[batch, source], firsts, places, count, near, to_keys)
                add_product(made[:count].T, grad_score[:wide], sums[0], size)
                block += count
                if block > BLOCK - KEY_TILE:
                    for c in range(d):
                        for r in range(size):
                            sums[1, c, r] += sums[0, c, r]
                            sums[0, c, r] = zero
                    block = 0
            for r in range(rows):
                for c in range(d):
                    grad_query[part, batch, head, start + r, c] += scale * (sums[0, c, r] + sums[1, c, r])
