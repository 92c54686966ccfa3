"""What kernels of the softmax family get wrong in masks, windows, biases and key lengths.

Each function makes a change: it maps an instance to the one that a kernel with the bug would, in effect, be solving,
and gives ``None`` where the bug changes nothing.  Instances have the fields of attention's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.attention import Instance

__all__ = [
    "alibi_slopes",
    "aligned",
    "aligned_by_arrays",
    "beyond_broadcast",
    "bias_times",
    "bound_of",
    "causal_ignored",
    "causal_moved",
    "causal_unasked",
    "dropped",
    "first_along",
    "first_of_tile",
    "last_of_tile",
    "lengths_plus",
    "mask_added",
    "mask_inverted",
    "mask_transposed",
    "only_masked",
    "plain_slopes",
    "positions",
    "visible_added",
    "window_changed",
    "window_exchanged",
    "window_ignored",
    "window_only",
    "window_realigned",
    "window_unasked",
    "within_window",
]

Wrong = Callable[["Instance"], "Instance | None"]


def only_masked(instance: Instance, seen: NDArray[np.bool_]) -> Instance:
    """The instance in which the mask alone decides which query attends to which key."""
    return instance.replace(mask=seen, causal=None, window=None, key_lengths=None)


def positions(instance: Instance) -> tuple[NDArray[Any], NDArray[Any]]:
    """The positions of queries under the alignment, (b, n_q, 1), and of keys, (1, 1, n_k)."""
    b, _, n_q, _ = instance.query.shape
    n_k = instance.key.shape[2]
    lengths = np.full(b, n_k) if instance.key_lengths is None else instance.key_lengths.astype(np.int64)
    offset = lengths - n_q if instance.causal == "bottom-right" else np.zeros(b, np.int64)
    return np.arange(n_q)[None, :, None] + offset[:, None, None], np.arange(n_k)[None, None, :]


def aligned(to: str) -> Wrong:
    def wrong(instance: Instance) -> Instance | None:
        return None if instance.causal in (None, to) else instance.replace(causal=to)

    return wrong


def aligned_by_arrays(instance: Instance) -> Instance | None:
    """The bottom-right alignment follows the length of the key array instead of the key lengths."""
    if instance.causal != "bottom-right" or instance.key_lengths is None:
        return None
    position, j = positions(instance.replace(key_lengths=None))
    return only_masked(instance, instance.replace(causal=None).visible() & (j <= position)[:, None])


def causal_ignored(instance: Instance) -> Instance | None:
    return None if instance.causal is None else instance.replace(causal=None)


def causal_moved(by: int) -> Wrong:
    def wrong(instance: Instance) -> Instance | None:
        if instance.causal is None:
            return None
        position, j = positions(instance)
        keep = j <= position + by
        free = window_only(instance)
        return only_masked(instance, keep[:, None] & free)

    return wrong


def window_only(instance: Instance) -> NDArray[np.bool_]:
    """What all options but the causal mask leave visible, with the window at the positions of the causal alignment."""
    free = instance.replace(causal=None, window=None).visible()
    return within_window(instance, instance.window)[:, None] & free


def within_window(instance: Instance, window: tuple[int | None, int | None] | None) -> NDArray[np.bool_]:
    position, j = positions(instance)
    inside = np.ones(np.broadcast_shapes(position.shape, j.shape), dtype=bool)
    if window is not None:
        left, right = window
        if left is not None:
            inside &= j >= position - left
        if right is not None:
            inside &= j <= position + right
    return inside


def window_changed(left: int, right: int) -> Wrong:
    def wrong(instance: Instance) -> Instance | None:
        if instance.window is None:
            return None
        a, b = instance.window
        if (a is None or left == 0) and (b is None or right == 0):
            return None
        window = (None if a is None else a + left, None if b is None else b + right)
        position, j = positions(instance)
        causal = (j <= position) if instance.causal is not None else np.ones_like(j <= position)
        free = instance.replace(causal=None, window=None).visible()
        inside = within_window(instance, window) & causal
        return only_masked(instance, inside[:, None] & free)

    return wrong


def window_ignored(instance: Instance) -> Instance | None:
    return None if instance.window is None else instance.replace(window=None)


def window_exchanged(instance: Instance) -> Instance | None:
    return None if instance.window is None else instance.replace(window=instance.window[::-1])


def window_realigned(instance: Instance) -> Instance | None:
    """The window lies about the other diagonal than that of the causal mask."""
    if instance.window is None or instance.query.shape[2] == instance.key.shape[2]:
        return None
    other = instance.replace(causal=None if instance.causal == "bottom-right" else "bottom-right")
    inside = within_window(other, instance.window)
    return only_masked(instance, inside[:, None] & instance.replace(window=None).visible())


def causal_unasked(to: str) -> Wrong:
    """A causal mask that nobody asked for."""

    def wrong(instance: Instance) -> Instance | None:
        return instance.replace(causal=to) if instance.causal is None and instance.window is None else None

    return wrong


def window_unasked(keys: int) -> Wrong:
    """A window to the left that nobody asked for."""

    def wrong(instance: Instance) -> Instance | None:
        if instance.window is not None or instance.key.shape[2] <= keys:
            return None
        return instance.replace(window=(keys - 1, None))

    return wrong


def bound_of(row: Callable[[Instance, NDArray[Any]], NDArray[Any]]) -> Wrong:
    """Causal mask and window of another row: row(instance, i) for query i."""

    def wrong(instance: Instance) -> Instance | None:
        if instance.causal is None and instance.window is None:
            return None
        n_q = instance.query.shape[2]
        index = np.clip(row(instance, np.arange(n_q)), 0, n_q - 1)
        bare = instance.replace(mask=None, bias=None)
        free = instance.replace(causal=None, window=None).visible()
        return only_masked(instance, bare.visible()[:, :, index] & free)

    return wrong


def last_of_tile(tile: int) -> Callable[[Instance, NDArray[Any]], NDArray[Any]]:
    return lambda instance, i: i // tile * tile + tile - 1


def first_of_tile(tile: int) -> Callable[[Instance, NDArray[Any]], NDArray[Any]]:
    return lambda instance, i: i // tile * tile


def beyond_broadcast(name: str, axis: int, value: float) -> Wrong:
    """An array with one slice along an axis is read as if it had more, and finds ``value`` behind its end."""

    def wrong(instance: Instance) -> Instance | None:
        array = getattr(instance, name)
        b, h_q, n_q, _ = instance.query.shape
        length = (b, h_q, n_q, instance.key.shape[2])[axis]
        if array is None or length == 1 or (array.ndim >= -axis and array.shape[axis] != 1):
            return None
        padded = array.reshape((1,) * (4 - array.ndim) + array.shape)
        width = [(0, 0)] * 4
        width[axis] = (0, length - 1)
        return instance.replace(**{name: np.pad(padded, width, constant_values=value)})

    return wrong


def dropped(name: str) -> Wrong:
    def wrong(instance: Instance) -> Instance | None:
        return None if getattr(instance, name) is None else instance.replace(**{name: None})

    return wrong


def mask_inverted(instance: Instance) -> Instance | None:
    return None if instance.mask is None else instance.replace(mask=~instance.mask)


def mask_added(instance: Instance) -> Instance | None:
    if instance.mask is None or instance.bias is not None:
        return None
    return instance.replace(bias=instance.mask.astype(instance.query.dtype), mask=None)


def visible_added(instance: Instance) -> Instance | None:
    seen = instance.visible()
    if seen.all():
        return None
    bias = np.zeros(seen.shape) if instance.bias is None else np.broadcast_to(instance.bias, seen.shape)
    added = np.maximum(bias.astype(np.float64), -1e30) + seen
    return instance.replace(bias=added, mask=None, causal=None, window=None, key_lengths=None)


def mask_transposed(instance: Instance) -> Instance | None:
    if instance.mask is None or instance.mask.ndim < 2 or instance.query.shape[2] != instance.key.shape[2]:
        return None
    return instance.replace(mask=np.swapaxes(instance.mask, -1, -2))


def first_along(name: str, axis: int) -> Wrong:
    """The part of the first batch, head or row is used for all."""

    def wrong(instance: Instance) -> Instance | None:
        array = getattr(instance, name)
        if array is None or array.ndim < -axis or array.shape[axis] == 1:
            return None
        first = np.take(array, [0], axis=axis)
        return instance.replace(**{name: np.repeat(first, array.shape[axis], axis=axis)})

    return wrong


def bias_times(factor: Callable[[Instance], float]) -> Wrong:
    def wrong(instance: Instance) -> Instance | None:
        if instance.bias is None or factor(instance) == 1.0:
            return None
        wide = instance.bias.astype(np.float64)
        hidden = np.isneginf(wide)
        return instance.replace(bias=np.where(hidden, wide, np.where(hidden, 0.0, wide) * factor(instance)))

    return wrong


def alibi_slopes(heads: int) -> NDArray[np.float64]:
    """Slopes of ALiBi (Press, Smith, Lewis 2022): powers of 2^(−8/P) for P heads, P the largest power of two up to
    ``heads``; the heads beyond have every other one of 2P.
    """
    known = 1 << (heads.bit_length() - 1)

    def powers(count: int) -> NDArray[np.float64]:
        slopes: NDArray[np.float64] = 2.0 ** (-8.0 * (1 + np.arange(count)) / count)
        return slopes

    return np.concatenate([powers(known), powers(2 * known)[::2][: heads - known]])


def plain_slopes(instance: Instance) -> Instance | None:
    """The bias of ALiBi has the slopes 2^(−8(h+1)/H) also if the number H of heads is no power of two."""
    heads = instance.query.shape[1]
    if instance.bias is None or instance.bias.ndim < 3 or instance.bias.shape[-3] != heads or heads & (heads - 1) == 0:
        return None
    factor = 2.0 ** (-8.0 * (1 + np.arange(heads)) / heads) / alibi_slopes(heads)
    wide = instance.bias.astype(np.float64)
    return instance.replace(bias=np.where(np.isneginf(wide), wide, wide * factor[:, None, None]))


def lengths_plus(step: int) -> Wrong:
    def wrong(instance: Instance) -> Instance | None:
        if instance.key_lengths is None:
            return None
        moved = np.clip(instance.key_lengths.astype(np.int64) + step, 0, instance.key.shape[2])
        return instance.replace(key_lengths=moved)

    return wrong
