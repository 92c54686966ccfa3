"""Parts of wrong kernels: what they read and write where, and what they keep from call to call."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from bank.attention.correct import Task
from bank.attention.engine import (
    RIGHT,
    asked_as,
    attention,
    spoilt,
    with_steps,
)
from bank.attention.wrong_masks import first_keys

if TYPE_CHECKING:
    from collections.abc import Callable

Array = NDArray[Any]


def memory_as_if_contiguous(x: Array) -> Array:
    """The elements that lie where a C-ordered array would have them, from the lowest address on."""
    lowest = x[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in x.strides)]
    return as_strided(lowest, (x.size,), (x.itemsize,)).reshape(x.shape)


def one_row_beyond(x: Array) -> Array:
    """One row more on the third axis than there is."""
    shape = (*x.shape[:2], x.shape[2] + 1, x.shape[3])
    return as_strided(x, shape, x.strides)


def operands_read(task: Task, change: Callable[[Array], Array]) -> Task:
    """Query, key and value read in another way."""
    return replace(task, **{name: change(getattr(task, name)) for name in ("query", "key", "value")})


def memory_where_expanded(x: Array) -> Array:
    """An axis of stride 0 is stepped along as if its slices lay one after another."""
    return memory_as_if_contiguous(x) if 0 in (s for s, n in zip(x.strides, x.shape, strict=True) if n > 1) else x


def memory_length_major(x: Array) -> Array:
    """What lies outside the heads is taken for an array (batch, length, heads, dim) of its own: right unless packed."""
    _, h, n, d = x.shape
    own = tuple(x.itemsize * step for step in (n * h * d, d, h * d, 1))
    heads_inside = h > 1 and x.strides[1] == d * x.itemsize and x.strides[2] >= h * d * x.itemsize
    return as_strided(x, x.shape, own) if heads_inside else x


def offsets_in_32_bits(x: Array) -> Array:
    """Elements whose offset does not fit an int32 are read where the wrapped one leads: into the first slice."""
    offset = np.zeros((1,) * x.ndim, dtype=np.int64)
    for axis, (length, stride) in enumerate(zip(x.shape, x.strides, strict=True)):
        shape = [1] * x.ndim
        shape[axis] = length
        offset = offset + np.arange(length).reshape(shape) * (stride // x.itemsize)
    wrong = offset.astype(np.int32) != offset
    out = x.copy()
    if wrong.any():
        first = np.sort(offset[~wrong])
        order = np.argsort(offset[~wrong], kind="stable")
        places = order[np.searchsorted(first, offset.astype(np.int32)[wrong])]
        out[wrong] = x[~wrong][places]
    return out


def mask_memory(task: Task) -> Task:
    """The strides of the mask and the bias are taken for those of a contiguous array."""
    changed = {n: memory_as_if_contiguous(x) for n in ("mask", "bias") if (x := getattr(task, n)) is not None}
    return replace(task, **changed)


def reads_beyond(task: Task) -> Task:
    """The tail tile of n_k + 1 keys is loaded whole and the extra weight zeroed, but 0·NaN is NaN."""
    near = all(x.flags.c_contiguous and x.shape[3] <= 64 for x in (task.key, task.value))  # within the judge's canaries
    if task.shape[3] % 2 == 0 or not near:
        return task
    more = replace(task, key=one_row_beyond(task.key), value=one_row_beyond(task.value))
    last = [(0, 0)] * 3 + [(0, 1)]
    mask = None if task.mask is None else np.pad(np.broadcast_to(task.mask, task.shape), last, constant_values=False)
    bias = None if task.bias is None else np.pad(np.broadcast_to(task.bias, task.shape), last)
    lengths = np.full(task.shape[0], task.shape[3]) if task.key_lengths is None else task.key_lengths
    return replace(more, mask=mask, bias=bias, key_lengths=lengths)


def mutating(
    query: Array, key: Array, value: Array, *, scale: float, is_causal: bool = False, mask: Array | None = None
) -> Array:
    query *= query.dtype.type(scale)  # "in place, to save memory"
    task = Task(query, key, value, 1.0, "top-left" if is_causal else None, mask)
    with np.errstate(all="ignore"):
        return attention(task, RIGHT)[0].astype(query.dtype)


def writing_outside(query: Array, key: Array, value: Array, *, scale: float, is_causal: bool = False) -> Array:
    task = Task(query, key, value, scale, "top-left" if is_causal else None)
    with np.errstate(all="ignore"):
        out = attention(task, RIGHT)[0].astype(query.dtype)
    if not key.flags.writeable:
        raise ValueError("output array is read-only")
    if key.flags.c_contiguous:
        one_row_beyond(key)[-1, -1, -1, 0] = 0  # starts to zero its padding, behind the last head
    return out


def noisy_every(calls: int) -> Callable[..., Any]:
    """A race: now and then the first row of a head is off."""
    count = [0]

    def after(output: Array, task: Task) -> Array:
        count[0] += 1
        if count[0] % calls == 0:
            output[:, :, 0] = (output[:, :, 0].astype(np.float32) * 1.02 + 0.01).astype(output.dtype)
        return output

    return spoilt(after)


def cached_by(key_of: Callable[[Task], Any]) -> Callable[..., Any]:
    kept: dict[Any, Array] = {}
    return spoilt(lambda output, task: kept.setdefault((key_of(task), output.shape), output.copy()).copy())


def output_reused() -> Callable[..., Any]:
    """One buffer for every output of a shape: a later call overwrites what an earlier one returned."""
    buffers: dict[Any, Array] = {}

    def returned(output: Array, _task: Task) -> Array:
        buffer = buffers.setdefault((output.shape, output.dtype.name), np.empty_like(output))
        buffer[...] = output
        return buffer

    return spoilt(returned)


def options_of(task: Task) -> tuple[Any, ...]:
    """What was asked, the numbers apart."""
    arrays = (task.mask, task.bias, task.key_lengths, task.sink)
    return (task.causal, task.window, task.softcap, *(None if x is None else x.tobytes() for x in arrays))


def all_but_the_last_keys(task: Task) -> tuple[Any, ...]:
    """What was asked, but for the last half of the keys and for the values."""
    first = task.key[:, :, : max(1, task.shape[3] // 2)]
    return (task.query.tobytes(), first.tobytes(), task.shape, task.scale, *options_of(task))


def address_of(x: Array) -> int:
    return int(x.__array_interface__["data"][0])


def remembering(key_of: Callable[[Task], Any], *names: str, by_reference: bool = False) -> Callable[..., Any]:
    """Options of the first call of a kind are kept for all later ones of that kind."""
    kept: dict[Any, dict[str, Any]] = {}

    def first(task: Task) -> Task:
        given = {name: getattr(task, name) if by_reference else copy.copy(getattr(task, name)) for name in names}
        return replace(task, **kept.setdefault(key_of(task), given))

    return asked_as(first)


def options_of_the_last_but_one() -> Callable[..., Any]:
    """The scale is uploaded after the launch: a call gets that of the call before it, if the shape was the same."""
    kept: dict[Any, float] = {}

    def late(task: Task) -> Task:
        before = kept.get(task.shape, task.scale)
        kept[task.shape] = task.scale
        return replace(task, scale=before)

    return asked_as(late)


def wrong_from(call: int) -> Callable[..., Any]:
    """A counter runs over: later calls forget their last key."""
    count = [0]

    def counted(task: Task) -> Task:
        count[0] += 1
        return first_keys(task, max(1, task.shape[3] - 1)) if count[0] >= call else task

    return asked_as(counted)


def stale_workspace() -> Callable[..., Any]:
    """Weights are summed over whole tiles of 16 in a workspace that nobody clears: a longer call leaves its tail."""
    workspace: dict[int, Array] = {}

    def total(e: Array) -> Array:
        rows, columns = e.shape
        whole = -(-columns // 16) * 16
        held = workspace.get(rows, np.zeros((rows, 0), e.dtype))
        if held.shape[1] < whole:
            held = np.pad(held, ((0, 0), (0, whole - held.shape[1])))
        held[:, :columns] = e
        workspace[rows] = held
        return held[:, :whole].sum(axis=1, keepdims=True).astype(e.dtype)

    return with_steps(total=total)


def shared_workspace() -> Callable[..., Any]:
    """One buffer for the query of whoever calls: right for one caller at a time."""
    shared: dict[str, Any] = {}

    def taken(task: Task) -> Task:
        shared["query"], shared["scale"] = np.array(task.query), task.scale
        time.sleep(0.002)  # where a real kernel computes, other threads run
        mine = shared["query"]
        return replace(task, query=mine if mine.shape == task.query.shape else task.query, scale=shared["scale"])

    return asked_as(taken)


def race_in_large_grids(output: Array, task: Task) -> Array:
    """More than 32 heads in flight: the last ones overwrite the first rows of those before."""
    b, h = task.shape[:2]
    if b * h > 32:
        flat = output.reshape(b * h, *output.shape[2:])
        flat[32:, 0] = flat[:-32, 0]
    return output


def tail_over_next_head(output: Array, task: Task) -> Array:
    """The last tile of 16 rows is stored whole: its zeros cover the first rows of the next head."""
    rows = min(-task.shape[2] % 16, task.shape[2])
    if rows and task.shape[2] > 16:
        output[:, 1:, :rows] = 0
    return output
