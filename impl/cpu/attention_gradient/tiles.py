"""The exact gradient of attention on the CPU: scores recomputed tile by tile, no n × n array, a few threads.

The arithmetic is that of the class of the input: float32 or float64 throughout.  bfloat16 and float16 are computed in
float32 and rounded once.  δ = ⟨dO, o⟩ − dlse comes from the stored output, and all probabilities of a row from the
stored log-sum-exp (proofs_notes/attention_gradient.md, BWD-0).

A strip of keys of one key head is a task.  It writes the gradients of its own keys and values, and its own part of the
gradient of the queries; these parts are added in the order of the strips.  The number of strips depends on the shape
alone, so that no result depends on the number of threads.  There are at most eight parts in all, or one a head.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import attention
from assay.impl.cpu.attention.tiles import KEY_TILE, UNLIMITED, query_tile, run, steps
from assay.impl.cpu.compiled import CONTRACT, compiled
from assay.impl.cpu.products import STRIDE, add_product, multiply, room
from assay.impl.cpu.softmax import exponential, exponentiate
from assay.impl.cpu.threads import require_number
from assay.spec.attention.instance import Instance
from assay.spec.floating_point import require_usual
from assay.spec.instances.extra import required
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["check", "exact"]

_TASKS = 8  # at least, where there are keys enough
_LEAST_STRIP = 4 * KEY_TILE  # keys


def exact(
    query: NDArray[Any],
    key: NDArray[Any],
    value: NDArray[Any],
    output: NDArray[Any] | None,
    log_sum_exp: NDArray[Any] | None,
    grad_output: NDArray[Any],
    *,
    scale: float | None = None,
    is_causal: bool = False,
    causal: str | None = None,
    mask: NDArray[np.bool_] | None = None,
    bias: NDArray[Any] | None = None,
    window: tuple[int | None, int | None] | None = None,
    key_lengths: NDArray[Any] | None = None,
    softcap: float | None = None,
    sink: NDArray[Any] | None = None,
    grad_log_sum_exp: NDArray[Any] | None = None,
    threads: int | None = None,
) -> tuple[NDArray[Any], ...]:
    """The vector–Jacobian product of attention on (batch, heads, length, dim) arrays.

    query, key, value and all options are as in :class:`assay.spec.attention.Instance`.  output (b, h_q, n_q, d_v) and
    log_sum_exp (b, h_q, n_q), float32 or float64, are those of the forward pass, or ``None``: then they are computed.
    grad_output (b, h_q, n_q, d_v) is the incoming gradient, in the dtype of the inputs; grad_log_sum_exp (b, h_q, n_q),
    if any, that of the log-sum-exp.

    Returns (grad_query, grad_key, grad_value), then grad_bias where there is a bias and grad_sink where there is a
    sink, each with the shape and the dtype of its array.  The result is that of ``torch.autograd`` through
    ``torch.nn.functional.scaled_dot_product_attention`` where that function has the option.  The gradients of key heads
    are sums over the query heads of their groups.  Masked keys and empty rows contribute exact zeros.  ``threads``: the
    most threads (default: the CPUs of this process); the result does not depend on their number.

    Raises :class:`~assay.spec.problem.InvalidInstance` for bad input, naming the argument, and ``ValueError`` for bad
    ``threads``.

    >>> x = np.arange(3.0).reshape(1, 1, 3, 1)
    >>> dq, dk, dv = exact(x, x, x, None, None, np.ones_like(x), is_causal=True)
    >>> np.round(dv, 6).ravel()
    array([1.284818, 0.848369, 0.866813])
    """
    require_usual()
    options: dict[str, Any] = {
        "causal": causal, "mask": mask, "bias": bias, "window": window, "key_lengths": key_lengths, "softcap": softcap,
        "sink": sink,
    }  # fmt: skip
    instance = Instance(query, key, value, scale, is_causal, **options)
    require_number(threads)
    b, h_q, n_q, d = query.shape
    h_k, n_k, d_v = value.shape[1:]
    kind = query.dtype.newbyteorder("=")
    check("grad_output", grad_output, (b, h_q, n_q, d_v), (kind,))
    wide = (np.dtype(np.float32), np.dtype(np.float64))
    if (output is None) != (log_sum_exp is None):
        raise InvalidInstance("output and log_sum_exp: expected both or neither")
    if output is None or log_sum_exp is None:
        output, log_sum_exp = attention.exact(
            query, key, value, scale, is_causal=is_causal, return_lse=True, threads=threads, **options
        )
    check("output", output, (b, h_q, n_q, d_v), (kind, *wide))
    check("log_sum_exp", log_sum_exp, (b, h_q, n_q), (kind, *wide))
    if grad_log_sum_exp is not None:
        check("grad_log_sum_exp", grad_log_sum_exp, (b, h_q, n_q), (kind, *wide))

    work = np.dtype(np.float64) if kind.name == "float64" else np.dtype(np.float32)
    # who shares an element of the bias shares a task: batches, or heads, that it is the same for
    rows, heads, queries, keys = (1, 1, 1, 1) if bias is None else _padded(bias.shape)
    owners = ((b if bias is None else rows), (h_k if bias is None or heads == h_q else 1))
    strips = max(1, min(-(-_TASKS // (owners[0] * owners[1])), n_k // _LEAST_STRIP))
    strip = -(-n_k // (strips * KEY_TILE)) * KEY_TILE
    strips = max(1, -(-n_k // max(strip, 1)))
    grad_query = np.zeros((strips, b, h_q, n_q, d), work)
    grad_key, grad_value = np.zeros((b, h_k, n_k, d), work), np.zeros((b, h_k, n_k, d_v), work)
    grad_bias = np.zeros((strips if keys == 1 else 1, rows, heads, queries, keys), work)
    full = (b, h_q, n_q, n_k)
    left, right = (None, None) if instance.window is None else instance.window
    if instance.causal is not None:
        right = 0
    arguments = (
        *(x.astype(work, copy=False) for x in (query, key, value, output, log_sum_exp, grad_output)),
        np.zeros((1, 1, 1), work) if grad_log_sum_exp is None else grad_log_sum_exp.astype(work, copy=False),
        grad_log_sum_exp is not None,
        work.type(instance.scale),
        query_tile(b * h_q, n_q),
        strip,
        owners,
        instance.causal == "bottom-right",
        UNLIMITED if left is None else int(left),
        UNLIMITED if right is None else int(right),
        np.full(b, n_k, np.int64) if key_lengths is None else key_lengths.astype(np.int64),
        mask is not None,
        np.zeros((1, 1, 1, 1), np.bool_) if mask is None else np.broadcast_to(mask, full),
        bias is not None,
        np.zeros((1, 1, 1, 1), work) if bias is None else np.broadcast_to(bias.astype(work, copy=False), full),
        work.type(0.0 if softcap is None else softcap),
        *exponential(work),
        grad_query,
        grad_key,
        grad_value,
        grad_bias,
    )
    run(_kernel(work.name), arguments, owners[0] * owners[1] * strips, threads)

    def summed(parts: NDArray[Any]) -> NDArray[Any]:
        """The parts of all strips, added in their order."""
        total: NDArray[Any] = parts[0]
        for part in parts[1:]:
            total += part
        return total

    found = [summed(grad_query), grad_key, grad_value]
    with np.errstate(over="ignore"):
        results = [x.astype(kind, copy=False) for x in found]
        if bias is not None:
            results.append(summed(grad_bias).reshape(bias.shape).astype(bias.dtype.newbyteorder("="), copy=False))
        if sink is not None:
            gradient = _sink(sink, output, log_sum_exp, grad_output, grad_log_sum_exp)
            results.append(gradient.astype(sink.dtype.newbyteorder("="), copy=False))
    return tuple(results)


def check(name: str, array: Any, shape: tuple[int, ...], kinds: tuple[np.dtype[Any], ...]) -> None:
    """Raise :class:`InvalidInstance` for an array of another shape, or of none of these dtypes."""
    if not isinstance(array, np.ndarray) or array.shape != shape:
        raise InvalidInstance(f"{name}: shape {getattr(array, 'shape', None)}, expected {shape}")
    if array.dtype.newbyteorder("=") not in kinds:
        raise InvalidInstance(
            f"{name}: dtype {array.dtype}, expected {' or '.join(dict.fromkeys(each.name for each in kinds))}"
        )


def _padded(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a bias with four axes."""
    return (1,) * (4 - len(shape)) + shape


def _sink(
    sink: NDArray[Any], output: NDArray[Any], lse: NDArray[Any], grad_output: NDArray[Any], grad_lse: Any
) -> NDArray[np.float64]:
    """(h_q,): −Σ p_sink δ over batches and queries, in float64."""
    delta = np.einsum("bhic,bhic->bhi", grad_output.astype(np.float64), output.astype(np.float64))
    if grad_lse is not None:
        delta -= grad_lse.astype(np.float64)
    weight = np.exp(np.minimum(sink.astype(np.float64)[None, :, None] - lse.astype(np.float64), 0.0))
    gradient: NDArray[np.float64] = -(weight * delta).sum(axis=(0, 2))
    return gradient


@functools.cache
def _kernel(dtype: str) -> Callable[..., None]:
    """The compiled kernel of one dtype: one signature, whatever the strides and options."""
    numba = required("numba", "cpu")

    types: Any = numba.types  # its annotations do not fit its own calls
    real = {"float32": types.float32, "float64": types.float64}[dtype]
    constants, coefficients = exponential(np.dtype(dtype))

    def view(of: Any, dimensions: int) -> Any:
        return types.Array(of, dimensions, "A", readonly=True)

    signature = types.void(
        *[view(real, 4)] * 4, view(real, 3), view(real, 4), view(real, 3), types.boolean, real, types.int64,
        types.int64, types.UniTuple(types.int64, 2), types.boolean, types.int64, types.int64, view(types.int64, 1),
        types.boolean, view(types.boolean, 4), types.boolean, view(real, 4), real,
        types.UniTuple(real, len(constants)), types.UniTuple(real, len(coefficients)), types.Array(real, 5, "C"),
        types.Array(real, 4, "C"), types.Array(real, 4, "C"), types.Array(real, 5, "C"), types.int64, types.int64,
    )  # fmt: skip
    return compiled(_strips, signature, CONTRACT, **steps())


def _strips(
    query: Any, key: Any, value: Any, output: Any, lse: Any, grad_output: Any, grad_lse: Any, has_grad_lse: Any,
    scale: Any, size: Any, strip: Any, owners: Any, bottom_right: Any, left: Any, right: Any, lengths: Any,
    has_mask: Any, mask: Any, has_bias: Any, bias: Any, softcap: Any, reduction: Any, coefficients: Any,
    grad_query: Any, grad_key: Any, grad_value: Any, grad_bias: Any, first: Any, last: Any,
) -> None:  # fmt: skip
    """Tasks first … last−1, numbered over (owner of batches, owner of key heads, strip).  Compiled by :func:`_kernel`.

    ``owners`` says in how many parts the batches and the key heads are divided; a task takes all of its part.
    """
    b, h_q, n_q, d = query.shape
    h_k, d_v = value.shape[1], value.shape[3]
    group = h_q // h_k
    strips = grad_query.shape[0]
    tiles = (n_q + size - 1) // size
    zero, one = scale - scale, coefficients[-1]
    lowest = -one / zero
    blocks, value_blocks = (d + 255) // 256, (d_v + 255) // 256  # of columns that lie side by side
    columns, grad_columns = room(d, query), room(d_v, query)  # σq and dO of a tile, a lane a query …
    rows_of_query = room(blocks * size, query).reshape((blocks, size, STRIDE))  # … and a row a query
    rows_of_grad = room(value_blocks * size, query).reshape((value_blocks, size, STRIDE))
    rows_of_query[:], rows_of_grad[:] = zero, zero
    probability, grad_score = room(KEY_TILE, query), room(KEY_TILE, query)
    slope = room(KEY_TILE if softcap > zero else 1, query)
    sums, of_keys = room((d + 7) // 8 * 8, query), room(KEY_TILE, query)
    top = np.empty(size, query.dtype)
    delta = np.empty(size, query.dtype)
    for item in range(first, last):
        part = item % strips
        owner = item // strips
        batches, heads = b // owners[0], h_k // owners[1]
        begin_batch, begin_head = owner // owners[1] * batches, owner % owners[1] * heads
        for inner in range(batches * heads * group * tiles):
            start = inner % tiles * size
            head = begin_head * group + inner // tiles % (heads * group)
            batch = begin_batch + inner // (tiles * heads * group)
            rows = min(size, n_q - start)
            source = head // group
            length = lengths[batch]
            offset = length - n_q if bottom_right else 0
            begin = max(part * strip, start + offset - left)
            end = min(min(part * strip + strip, length), start + rows + offset + right)
            if begin >= end:
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
            sums[:, :size] = zero
            for at in range(begin, end, KEY_TILE):
                count = min(KEY_TILE, end - at)
                if has_mask and not mask[batch, head, start : start + rows, at : at + count].any():
                    continue
                wide = (count + 7) // 8 * 8
                multiply(key[batch, source, at : at + count], columns, probability[:wide], size)
                multiply(value[batch, source, at : at + count], grad_columns, grad_score[:wide], size)
                nearest, farthest = start + offset - at, start + rows - 1 + offset - at  # as in the forward pass
                whole = farthest <= left and nearest + right + 1 >= count
                for r in range(0 if whole and not (has_mask or has_bias or softcap > zero) else rows):
                    i = start + r
                    if softcap > zero:
                        for j in range(count):
                            t = np.tanh(probability[j, r] / softcap)
                            slope[j, r] = one - t * t
                            probability[j, r] = softcap * t
                    if has_bias:
                        for j in range(count):
                            probability[j, r] += bias[batch, head, i, at + j]
                    if has_mask:
                        for j in range(count):
                            if not mask[batch, head, i, at + j]:
                                probability[j, r] = lowest
                    position = i + offset - at
                    for j in range(min(position - left, count)):
                        probability[j, r] = lowest
                    for j in range(max(min(position + right + 1, count), 0), count):
                        probability[j, r] = lowest
                probability[count:wide, :size] = lowest
                exponentiate(probability, wide, size, top, reduction, coefficients)  # e^(s − lse)
                for j in range(wide):  # dS = p (g − δ)
                    p, g = probability[j], grad_score[j]
                    for r in range(size):
                        g[r] = p[r] * (g[r] - delta[r])
                if has_bias:
                    to = part if grad_bias.shape[4] == 1 else 0
                    for r in range(rows):
                        row_of_bias = grad_bias[
                            to, min(batch, grad_bias.shape[1] - 1), min(head, grad_bias.shape[2] - 1),
                            min(start + r, grad_bias.shape[3] - 1),
                        ]  # fmt: skip
                        for j in range(count):
                            row_of_bias[min(at + j, row_of_bias.shape[0] - 1)] += grad_score[j, r]
                if softcap > zero:
                    for j in range(count):
                        for r in range(rows):
                            grad_score[j, r] *= slope[j, r]
                for block in range(value_blocks):
                    near = min(256, d_v - 256 * block)
                    multiply(probability[:count, :size], rows_of_grad[block], of_keys[:wide], (near + 15) // 16 * 16)
                    for j in range(count):
                        for c in range(near):
                            grad_value[batch, source, at + j, 256 * block + c] += of_keys[j, c]
                for block in range(blocks):
                    near = min(256, d - 256 * block)
                    multiply(grad_score[:count, :size], rows_of_query[block], of_keys[:wide], (near + 15) // 16 * 16)
                    for j in range(count):
                        for c in range(near):
                            grad_key[batch, source, at + j, 256 * block + c] += of_keys[j, c]
                add_product(key[batch, source, at : at + count].T, grad_score[:wide], sums, size)
            for r in range(rows):
                for c in range(d):
                    grad_query[part, batch, head, start + r, c] += scale * sums[c, r]
