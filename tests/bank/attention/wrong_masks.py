"""Parts of wrong kernels: masks, windows, lengths, biases and sinks that mean something else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from bank.attention.correct import Task

Array = NDArray[Any]


def positions_of(task: Task) -> tuple[Array, Array]:
    """(b, 1, n_q, 1) positions of the queries and (n_k,) of the keys, as the task's alignment has them."""
    b, _, n_q, n_k = task.shape
    lengths = np.full(b, n_k) if task.key_lengths is None else np.asarray(task.key_lengths, dtype=np.int64)
    offset = (lengths - n_q) if task.causal == "bottom-right" else np.zeros(b, dtype=np.int64)
    return np.arange(n_q)[None, None, :, None] + offset[:, None, None, None], np.arange(n_k)


def masked(task: Task, allowed: Array) -> Task:
    """The task with one more mask, its causal option done with."""
    mask = allowed if task.mask is None else task.mask & allowed
    return replace(task, mask=np.broadcast_to(mask, task.shape))


def causal_shifted(task: Task, by: int) -> Task:
    if task.causal is None:
        return task
    i, j = positions_of(task)
    window = None
    if task.window is not None:  # keep the window where it is
        left, right = task.window
        task = masked(task, (j >= i - left) if left is not None else np.ones(task.shape, bool))
        task = masked(task, (j <= i + right) if right is not None else np.ones(task.shape, bool))
    return replace(masked(task, j <= i + by), causal=None, window=window)


def window_moved(task: Task, left: int, right: int) -> Task:
    """A window wider by ``left`` and ``right`` keys on its two sides; nothing where there is none."""
    if task.window is None:
        return task
    i, j = positions_of(task)
    allowed = np.ones(task.shape, bool)
    if task.window[0] is not None:
        allowed = allowed & (j >= i - task.window[0] - left)
    if task.window[1] is not None:
        allowed = allowed & (j <= i + task.window[1] + right)
    return replace(masked(task, allowed), window=None)


def window_at(task: Task, offset: int) -> Task:
    """A window around i + offset, whatever the alignment of the causal mask."""
    if task.window is None:
        return task
    i, j = np.arange(task.shape[2])[:, None] + offset, np.arange(task.shape[3])
    allowed = np.ones(task.shape, bool)
    if task.window[0] is not None:
        allowed = allowed & (j >= i - task.window[0])
    if task.window[1] is not None:
        allowed = allowed & (j <= i + task.window[1])
    return replace(masked(task, allowed), window=None)


def ignore_causal_if(task: Task, when: bool) -> Task:
    return replace(task, causal=None) if when else task


def skipped_diagonal_tile(task: Task) -> Task:
    if task.causal is None:
        return task
    i, j = positions_of(task)
    return masked(task, (j < i) | (i % 16 != 0) | (i == 0))


def lengths_changed(task: Task, change: Callable[[Array], Array]) -> Task:
    if task.key_lengths is None:
        return task
    changed = np.clip(change(np.asarray(task.key_lengths)), 0, task.shape[3])
    return replace(task, key_lengths=changed)


def first_keys(task: Task, most: int) -> Task:
    return masked(task, np.arange(task.shape[3]) < most)


def dropped_tail(task: Task, tile: int) -> Task:
    n_k = task.shape[3]
    return first_keys(task, n_k // tile * tile) if n_k > tile else task


def window_wrong_when(task: Task, when: Callable[[Task], bool], left: int) -> Task:
    """One kernel of a pair has the other bound."""
    return window_moved(task, left, 0) if when(task) else task


def bottom_right_of_the_array(task: Task) -> Task:
    """Aligned by the allocated number of keys, not by the lengths."""
    if task.causal != "bottom-right" or task.key_lengths is None:
        return task
    allowed = np.arange(task.shape[3]) <= np.arange(task.shape[2])[:, None] + task.shape[3] - task.shape[2]
    return replace(masked(task, allowed), causal=None)


def mask_like(task: Task, change: Callable[[Array], Array]) -> Task:
    return task if task.mask is None else replace(task, mask=change(np.broadcast_to(task.mask, task.shape)))


def bias_like(task: Task, change: Callable[[Array], Array]) -> Task:
    if task.bias is None:
        return task
    bias = np.broadcast_to(task.bias, task.shape)
    return replace(task, bias=change(bias.astype(task.work)))


def plain_slopes(bias: Array) -> Array:
    """ALiBi slopes made anew as 2^(−8(h+1)/H), which holds for a power of two only."""
    h = bias.shape[1]
    power = 1 << (h.bit_length() - 1)
    exact = [2.0 ** (-8 * (i + 1) / power) for i in range(power)]
    exact += [2.0 ** (-4 * (i + 1) / power) for i in range(0, 2 * (h - power), 2)]
    wrong = 2.0 ** (-8.0 * (1 + np.arange(h)) / h)
    factor = (wrong / np.array(exact))[:, None, None].astype(bias.dtype)
    varies = h > 1 and not np.array_equal(bias, np.broadcast_to(bias[:, :1], bias.shape))
    return bias * factor if varies else bias


def transposed_if_square(x: Array) -> Array:
    return np.swapaxes(x, -1, -2) if x.shape[-1] == x.shape[-2] else x


def stale_rows(out: Array, v: Array, live: Array) -> Array:
    """A row that attends to nothing keeps what its buffer held: the row before it, or something old."""
    stale = np.concatenate([np.full_like(out[:1], 0.37), out[:-1]])
    return np.where(live, out, np.where(np.isnan(stale), out.dtype.type(0.37), stale))


def mask_added(s: Array, seen: Array) -> Array:
    return s + seen.astype(s.dtype)


def unseen_at(value: float) -> Callable[[Array, Array], Array]:
    return lambda s, seen: np.where(seen, s, s.dtype.type(value))


def hidden_by(depth: float) -> Callable[[Array, Array], Array]:
    """Masked scores a fixed depth below the row's maximum."""

    def hide(s: Array, seen: Array) -> Array:
        s = np.where(seen, s, s.dtype.type(-np.inf))
        return np.where(seen, s, s.max(axis=1, keepdims=True) - s.dtype.type(depth))

    return hide


def mask_after(task: Task) -> tuple[Array, Array]:
    """exp with the maximum over all keys, masked ones too; then times 0 or 1."""
    out, lse = task.blank()
    seen = task.visible()
    for at, q, k, v in task.heads():
        s = task.finished((q @ k.T) * task.work(task.scale), at)
        m = s.max(axis=1, keepdims=True)
        e = np.exp(s - m) * seen[at]
        d = e.sum(axis=1, keepdims=True)
        extra = 0 if task.sink is None else np.exp(task.sink[at[1]].astype(task.work) - m)
        live = d + extra > 0
        out[at] = np.where(live, (task.rounded(e) @ v) / np.where(live, d + extra, 1), 0)
        lse[at] = np.where(live, m + np.log(np.where(live, d + extra, 1)), -np.inf)[:, 0]
    return out, lse


def causal_as(task: Task, alignment: str) -> Task:
    """Every causal mask in one alignment."""
    return replace(task, causal=task.causal and alignment)


def every_head_like_the_first(bias: Array) -> Array:
    return np.broadcast_to(bias[:, :1], bias.shape)


def every_batch_like_the_first(mask: Array) -> Array:
    return np.broadcast_to(mask[:1], mask.shape)


def first_sink(task: Task) -> Task:
    return task if task.sink is None else replace(task, sink=np.broadcast_to(task.sink[:1], task.sink.shape))
