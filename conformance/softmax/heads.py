"""What kernels of the softmax family get wrong in heads, batches, tails of keys and columns.

Each function makes a change: it maps an instance to the one that a kernel with the bug would, in effect, be solving,
and gives ``None`` where the bug changes nothing.  Instances have the fields of attention's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.softmax.masks import only_masked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.attention import Instance

__all__ = [
    "clamped",
    "columns",
    "exchanged",
    "first_batch",
    "first_keys",
    "key_not_transposed",
    "keys_again",
    "keys_of",
    "overlapping",
    "tail_dropped",
    "tail_zero",
    "value_dim_is_dim",
    "whole_tiles",
]

Wrong = Callable[["Instance"], "Instance | None"]


def keys_of(chosen: Callable[[int, int, int], int], *, values_only: bool = False) -> Wrong:
    """Query head h reads key head ``chosen(h, h_q, h_k)``, or only its values are those of that head."""

    def wrong(instance: Instance) -> Instance | None:
        h_q, h_k = instance.query.shape[1], instance.key.shape[1]
        heads = [chosen(h, h_q, h_k) for h in range(h_q)]
        if heads == [h // instance.group for h in range(h_q)]:
            return None
        own = [h // instance.group for h in range(h_q)]
        return instance.replace(key=instance.key[:, own if values_only else heads], value=instance.value[:, heads])

    return wrong


def first_batch(instance: Instance) -> Instance | None:
    """Every batch reads the keys and values of the first one."""
    if instance.query.shape[0] == 1:
        return None
    zero = np.zeros(instance.query.shape[0], dtype=np.intp)
    return instance.replace(key=instance.key[zero], value=instance.value[zero])


def exchanged(instance: Instance) -> Instance | None:
    """Query and key are exchanged."""
    if instance.query.shape != instance.key.shape:
        return None
    return instance.replace(query=instance.key, key=instance.query)


def tail_dropped(tile: int) -> Wrong:
    """Keys beyond the last whole tile are not read; for a tile of 0 the last key is not."""

    def wrong(instance: Instance) -> Instance | None:
        n_k = instance.key.shape[2]
        kept = n_k - 1 if tile == 0 else n_k - n_k % tile
        if kept in (0, n_k):
            return None
        return only_masked(instance, instance.visible() & (np.arange(n_k) < kept))

    return wrong


def first_keys(most: int) -> Wrong:
    """Only the first ``most`` keys are read."""

    def wrong(instance: Instance) -> Instance | None:
        n_k = instance.key.shape[2]
        return None if n_k <= most else only_masked(instance, instance.visible() & (np.arange(n_k) < most))

    return wrong


def tail_zero(tile: int) -> Wrong:
    """Keys are filled up to a whole tile with zeros that take part in the softmax.

    No key lengths and no causal mask hide them; a mask shows them, and a bias adds nothing to them.
    """

    def wrong(instance: Instance) -> Instance | None:
        n_k = instance.key.shape[2]
        extra = -n_k % tile
        if extra == 0 or instance.causal is not None:
            return None
        if instance.window is not None or instance.key_lengths is not None:
            return None
        width = ((0, 0), (0, 0), (0, extra), (0, 0))
        changed: dict[str, Any] = {"key": np.pad(instance.key, width), "value": np.pad(instance.value, width)}
        for name, filled in (("mask", True), ("bias", 0.0)):
            array = getattr(instance, name)
            if array is not None and array.ndim and array.shape[-1] != 1:
                last = [(0, 0)] * (array.ndim - 1) + [(0, extra)]
                changed[name] = np.pad(array, last, constant_values=filled)
        return instance.replace(**changed)

    return wrong


def whole_tiles(dim: int, tile: int) -> int:
    """The length of the whole tiles in ``dim``."""
    return dim - dim % tile


def columns(name: str, kept: Callable[[int], int]) -> Wrong:
    """Columns from ``kept(dim)`` on are not read."""

    def wrong(instance: Instance) -> Instance | None:
        array = getattr(instance, name)
        count = kept(array.shape[3])
        if not 0 < count < array.shape[3]:
            return None
        short = array.copy()
        short[..., count:] = 0
        return instance.replace(**{name: short})

    return wrong


def keys_again(indices: Callable[[int], NDArray[np.intp] | None]) -> Wrong:
    """The keys ``indices(n_k)`` are read a second time; ``None`` means that there are none."""

    def wrong(instance: Instance) -> Instance | None:
        n_k = instance.key.shape[2]
        more = indices(n_k)
        if more is None or not len(more):
            return None
        chosen = np.concatenate([np.arange(n_k), more])
        changed: dict[str, Any] = {
            "key": instance.key[:, :, chosen],
            "value": instance.value[:, :, chosen],
            "mask": instance.visible()[..., chosen],
            "bias": None,
        }
        if instance.bias is not None:
            changed["bias"] = np.broadcast_to(instance.bias, instance.visible().shape)[..., chosen]
        return instance.replace(**changed, causal=None, window=None, key_lengths=None)

    return wrong


def clamped(tile: int) -> Callable[[int], NDArray[np.intp]]:
    """The indices of the last key, as often as the last tile lacks keys."""
    return lambda n_k: np.full(-n_k % tile, n_k - 1)


def overlapping(tile: int) -> Callable[[int], NDArray[np.intp] | None]:
    """The indices that a last tile reads again because it begins early enough to be whole."""
    return lambda n_k: None if n_k < tile else np.arange(n_k - tile, n_k - n_k % tile) if n_k % tile else None


def key_not_transposed(instance: Instance) -> Instance | None:
    """A square key is not transposed."""
    if instance.key.shape[2] != instance.key.shape[3]:
        return None
    return instance.replace(key=np.ascontiguousarray(np.swapaxes(instance.key, 2, 3)))


def value_dim_is_dim(instance: Instance) -> Instance | None:
    """Columns of the values beyond the dim of the queries are not read."""
    return columns("value", lambda d_v: min(d_v, instance.query.shape[3]))(instance)
