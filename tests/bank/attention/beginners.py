"""Wrong kernels as beginners write them, none of a meaning that the table of attention has: what is told of each.

``words`` are what the diagnosis must contain in some sentence, any one of them.  Every kernel is the engine of
:mod:`bank.attention.engine` with one mistake.
"""

# ruff: noqa: E501 - the table at the end has one kernel a line
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.attention.engine import RIGHT, asked_as, attention, called, spoilt, with_steps
from bank.attention.wrong_masks import masked

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from bank.attention.correct import Task

    Array = NDArray[Any]

__all__ = ["BEGINNERS", "Beginner"]


@dataclass(frozen=True)
class Beginner:
    """A mistake, the words of which one has to be told, and the cases on which it shows."""

    name: str
    bug: str
    function: Callable[..., Any]
    words: tuple[str, ...]
    family: str = ""  # whose cases of standard show it


def _over_queries(task: Task) -> tuple[Array, Array]:
    """The softmax runs down the columns."""
    out, lse = task.blank()
    seen = task.visible()
    for at, q, k, v in task.heads():
        s = task.finished((q @ k.T) * task.work(task.scale), at)
        s = np.where(seen[at], s, -np.inf)
        m = s.max(axis=0, keepdims=True)
        e = np.exp(s - np.where(np.isfinite(m), m, 0))
        d = e.sum(axis=0, keepdims=True)
        out[at] = (e / np.where(d > 0, d, 1)) @ v
    return out, lse


def _dropout() -> Callable[..., Any]:
    """Every tenth weight is dropped at random, and the others are made larger."""
    rng = np.random.default_rng(0)

    def weights(e: Array) -> Array:
        return e * (rng.random(e.shape) >= 0.1).astype(e.dtype) / e.dtype.type(0.9)

    return with_steps(short=lambda task, e: task.rounded(weights(e)))


def _accumulating() -> Callable[..., Any]:
    """The output buffer of a shape is never cleared."""
    buffers: dict[tuple[int, ...], Array] = {}

    def after(output: Array, task: Task) -> Array:
        buffer = buffers.setdefault(output.shape, np.zeros_like(output))
        buffer += output
        return buffer.copy()

    return spoilt(after)


def _causal_square(task: Task) -> Task:
    """The causal mask is built for as many keys as there are queries: keys beyond are visible to all."""
    if task.causal != "top-left":
        return task
    i, j = np.arange(task.shape[2])[:, None], np.arange(task.shape[3])
    return replace(masked(task, (j <= i) | (j >= task.shape[2])), causal=None)


def _keys_hidden(task: Task, hidden: Array) -> Task:
    return masked(task, np.broadcast_to(~hidden, task.shape))


def _last_of_32(task: Task) -> Task:
    n_k = task.shape[3]
    return _keys_hidden(task, np.arange(n_k) == n_k - 1) if n_k % 32 == 1 and n_k > 1 else task


def _mask_of_batches(task: Task) -> Task:
    return replace(task, mask=None) if task.shape[0] > 1 else task


def _scale_of_long_dims(task: Task) -> Task:
    d = task.query.shape[3]
    return replace(task, scale=task.scale / d**0.5) if d > 64 else task


def _previous_head(task: Task, b: int, h: int) -> tuple[int, int]:
    own = h // (task.query.shape[1] // task.key.shape[1])
    return b, max(0, own - 1) if h == 1 else own


def _row_repeated(output: Array, task: Task) -> Array:
    if output.shape[2] > 1:
        output[:, :, -1] = output[:, :, -2]
    return output


def _rolled_columns(output: Array, task: Task) -> Array:
    return np.roll(output, 1, axis=3)


def _heads_and_rows_in_memory(output: Array, task: Task) -> Array:
    return np.ascontiguousarray(output.swapaxes(1, 2)).reshape(output.shape)


def _without_first_key(task: Task) -> Task:
    i, j = np.arange(task.shape[2])[:, None], np.arange(task.shape[3])
    return masked(task, (j > 0) | (i < 16)) if task.shape[3] > 1 else task


def _next_value(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
    return q, k, np.roll(v, -1, axis=0)


def _warm_groups(task: Task) -> Task:
    grouped = task.query.shape[1] != task.key.shape[1]
    return replace(task, scale=task.scale * 2**-0.5) if grouped else task


def _bias_backwards(task: Task) -> Task:
    return task if task.bias is None else replace(task, bias=task.bias[..., ::-1])


def _lengths_backwards(task: Task) -> Task:
    return task if task.key_lengths is None else replace(task, key_lengths=task.key_lengths[::-1])


def _odd_dims_raise(task: Task) -> tuple[Array, Array]:
    if task.query.shape[3] % 2:
        raise ValueError("dim must be even to be split in halves")
    return attention(task, RIGHT)


def _sum_of_unmasked(task: Task) -> tuple[Array, Array]:
    """The log-sum-exp is taken before the causal mask."""
    out, lse = attention(task, RIGHT)
    return out, (attention(replace(task, causal=None), RIGHT)[1] if task.causal else lse)


def _narrow_loop(output: Array, task: Task) -> Array:
    """Heads are handled four at a time, and the rest is left."""
    done = output.shape[1] // 4 * 4 or output.shape[1]
    output[:, done:] = 0
    return output


def _scaled_again() -> Callable[..., Any]:
    """The scaled query of a shape is kept, and scaled again at the next call."""
    scaled: dict[tuple[int, ...], float] = {}

    def meaning(task: Task) -> Task:
        factor = scaled.get(task.query.shape, 1.0)
        scaled[task.query.shape] = 0.5 if factor == 1.0 else 1.0
        return replace(task, scale=task.scale * factor)

    return asked_as(meaning)


def _short_rows_unnormalised(n: Array, d: Array) -> Array:
    return n / np.where(d < 2.0, d.dtype.type(1), d)


def _key_of_the_row_above(task: Task) -> Task:
    query = task.query.copy()
    query[:, :, 1:] = task.query[:, :, :-1]
    return replace(task, query=query) if task.shape[2] >= 5 else task


BEGINNERS: tuple[Beginner, ...] = (
    Beginner("softmax-over-queries", "The softmax runs over the queries.", called(_over_queries), ("add up to 1", "off by one factor", "queries ≥ 2")),
    Beginner("scale-of-long-dims", "The scale is divided by √dim once more, where dim is above 64.", asked_as(_scale_of_long_dims), ("dim ≥ 65",)),
    Beginner("one-head-of-the-previous", "Head 1 reads the keys of the head before.", with_steps(key_place=_previous_head), ("heads 1",)),
    Beginner("dropout-left-on", "A tenth of the weights is dropped.", _dropout(), ("unlike answers",)),
    Beginner("buffer-never-cleared", "The output is added to what a buffer holds.", _accumulating(), ("added to", "unlike answers")),
    Beginner("causal-built-for-queries", "The causal mask has as many columns as there are queries.", asked_as(_causal_square), ("hidden keys get weight", "queries < keys")),
    Beginner("last-key-of-32-and-one", "The last key is lost where the number of keys is 1 beyond a multiple of 32.", asked_as(_last_of_32), ("tail of the keys dropped: the last one",)),
    Beginner("mask-lost-in-batches", "With more than one batch the mask is forgotten.", asked_as(_mask_of_batches), ("mask ignored",)),
    Beginner("last-row-repeated", "The last query row is that of the row before.", spoilt(_row_repeated), ("the last of queries are wrong, and what stands there is right for queries i − 1",)),
    Beginner("batches-backwards", "Batches are written from the last to the first.", spoilt(lambda out, task: out[::-1].copy()), ("right for batch n − 1 − i", "batch ≥ 2")),
    Beginner("heads-backwards", "Heads are written from the last to the first.", spoilt(lambda out, task: out[:, ::-1].copy()), ("right for heads n − 1 − i",)),
    Beginner("heads-and-rows-in-memory", "The output is not transposed back before it is reshaped.", spoilt(_heads_and_rows_in_memory), ("heads and queries exchanged in memory",)),
    Beginner("columns-rolled", "Every column is written one place further.", spoilt(_rolled_columns), ("right for value dim (i − 1) mod n",)),
    Beginner("factor-of-a-constant", "A constant of four digits where 1 should be.", spoilt(lambda out, task: (out * out.dtype.type(1.0001))), ("1.0001 times the exact one",)),
    Beginner("exp-of-base-two", "exp2 without the factor log₂ e.", with_steps(exp=np.exp2), ("ln 2", "0.693")),
    Beginner("first-key-lost-from-row-16", "Rows from 16 on miss the first key.", asked_as(_without_first_key), ("queries from 16 on", "key 0 of every row", "queries ≥ 17")),
    Beginner("values-of-the-next-key", "Each weight is applied to the value of the next key.", with_steps(operands=_next_value), ("right for keys (i − 1) mod n", "keys ≥ 2")),
    Beginner("warm-groups", "The scale has a factor 1/√2 where heads are grouped.", asked_as(_warm_groups), ("0.707",)),
    Beginner("bias-backwards", "A bias is read from the last key to the first.", asked_as(_bias_backwards), ("bias is given",)),
    Beginner("lengths-backwards", "Key lengths are read from the last batch to the first.", asked_as(_lengths_backwards), ("key lengths", "hidden keys get weight")),
    Beginner("odd-dims-raise", "An odd dim raises.", called(_odd_dims_raise), ("raises ValueError when dim is odd",)),
    Beginner("lse-before-the-mask", "The log-sum-exp is that of the unmasked scores.", called(_sum_of_unmasked), ("only log_sum_exp", "causal is given"), "log-sum-exp"),
    Beginner("heads-by-fours", "Heads beyond a multiple of 4 are left at 0.", spoilt(_narrow_loop), ("heads beyond the last whole tile of 4 are wrong, and what stands there is 0",)),
    Beginner("scaled-again", "Every second call of a shape has half the scale.", _scaled_again(), ("unlike answers",)),
    Beginner("query-of-the-row-above", "From 5 queries on each row has the query of the row above.", asked_as(_key_of_the_row_above), ("right for queries i − 1", "queries ≥ 5")),
)  # fmt: skip
for _entry in BEGINNERS:
    _entry.function.__name__ = _entry.function.__qualname__ = _entry.name.replace("-", "_")
