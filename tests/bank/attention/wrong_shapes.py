"""Parts of wrong kernels: heads, tails and columns that are left out, taken twice or taken for others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bank.attention.engine import (
    RIGHT,
    attention,
    with_steps,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bank.attention.correct import Task

Array = NDArray[Any]


def columns_kept(of_query: Callable[[int], int]) -> Callable[[Array, Array, Array], tuple[Array, Array, Array]]:
    """Only the first columns of Q and K enter the product."""

    def operands(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
        d = of_query(q.shape[1])
        return q[:, :d], k[:, :d], v

    return operands


def value_columns(keep: Callable[[int, int], int]) -> Callable[[Array, Array, Array], tuple[Array, Array, Array]]:
    """Columns of V beyond keep(d, d_v) come out as zeros."""

    def operands(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
        v = v.copy()
        v[:, keep(q.shape[1], v.shape[1]) :] = 0
        return q, k, v

    return operands


def square_not_transposed(q: Array, k: Array, scale: float) -> Array:
    return (q @ (k if k.shape[0] == k.shape[1] else k.T)) * q.dtype.type(scale)


def wide_rows_zero(output: Array, task: Task) -> Array:
    return np.zeros_like(output) if task.shape[3] > 500 else output


def zero_filled_tail(task: Task, tile: int) -> tuple[Array, Array]:
    """The last tile is filled up with keys of zeros, which count in the softmax."""
    more = -task.shape[3] % tile
    if not more or task.causal or task.window or task.key_lengths is not None:
        return attention(task, RIGHT)
    keys, last = [(0, 0), (0, 0), (0, more), (0, 0)], [(0, 0)] * 3 + [(0, more)]
    changes: dict[str, Any] = {"key": np.pad(task.key, keys), "value": np.pad(task.value, keys)}
    if task.mask is not None:
        changes["mask"] = np.pad(np.broadcast_to(task.mask, task.shape), last, constant_values=True)
    if task.bias is not None:
        changes["bias"] = np.pad(np.broadcast_to(task.bias, task.shape), last)
    return attention(replace(task, **changes), RIGHT)


def last_key_twice(task: Task) -> tuple[Array, Array]:
    """A tail tile that clamps its index instead of masking."""
    return keys_again(task, np.full(task.shape[3] % 2, -1))


def keys_again(task: Task, more: Array) -> tuple[Array, Array]:
    """Some keys enter the sums a second time."""
    if not len(more) or task.causal or task.window or task.key_lengths is not None:
        return attention(task, RIGHT)
    changes: dict[str, Any] = {
        name: np.concatenate([x, x[:, :, more]], axis=2) for name, x in (("key", task.key), ("value", task.value))
    }
    for name in ("mask", "bias"):
        x = getattr(task, name)
        if x is not None:
            x = np.broadcast_to(x, task.shape)
            changes[name] = np.concatenate([x, x[..., more]], axis=-1)
    return attention(replace(task, **changes), RIGHT)


def overlapping_last_tile(task: Task, tile: int) -> tuple[Array, Array]:
    """The last tile begins early enough to be whole; the keys that it shares with the one before are not masked."""
    n_k = task.shape[3]
    more = np.arange(n_k - tile, n_k - n_k % tile) if n_k > tile and n_k % tile else np.arange(0)
    return keys_again(task, more)


def as_many_rows_as_keys(output: Array, task: Task) -> Array:
    return np.resize(output, (*output.shape[:2], task.shape[3], output.shape[3]))


def head_modulo(task: Task, b: int, h: int) -> tuple[int, int]:
    return b, h % task.key.shape[1]


def head_clamped(task: Task, b: int, h: int) -> tuple[int, int]:
    return b, min(h, task.key.shape[1] - 1)


def placed_at(place: Callable[[Task, int, int], tuple[int, int]]) -> Callable[..., Any]:
    """Keys and values from another batch or head."""
    return with_steps(key_place=place, value_place=place)


def raises_for_one_key(task: Task) -> tuple[Array, Array]:
    if task.shape[3] == 1:
        raise IndexError("index -1 is out of bounds for axis 0 with size 0")
    return attention(task, RIGHT)
