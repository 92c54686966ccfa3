"""What attention kernels get wrong in their outputs: empty rows and the log-sum-exp."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.attention import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.attention import Instance

__all__ = [
    "base_two",
    "blank_heads",
    "blank_rows",
    "empty_mean",
    "empty_rows",
    "has_empty",
    "has_lse",
    "has_rest",
    "largest_score",
    "nan_in_empty_rows",
    "nan_lse_of_empty_rows",
    "only_maximum",
    "without_maximum",
    "zero_when_empty",
]


def empty_rows(instance: Instance) -> NDArray[np.bool_]:
    """Whether a query attends to no key and there is no sink: (b, h_q, n_q)."""
    b, h, n_q, _ = instance.query.shape
    if instance.sink is not None:
        return np.zeros((b, h, n_q), dtype=bool)
    seen: NDArray[np.bool_] = np.any(instance.visible(), axis=3, keepdims=True)[..., 0]
    return ~seen


def has_empty(instance: Instance) -> Instance | None:
    return instance if empty_rows(instance).any() else None


def empty_mean(instance: Instance) -> Instance | None:
    """A query that attends to no key attends to all keys equally instead."""
    empty = empty_rows(instance)
    if not empty.any():
        return None
    full = (*empty.shape, instance.key.shape[2])
    bias = None
    if instance.bias is not None:
        bias = np.where(empty[..., None], 0.0, np.broadcast_to(instance.bias.astype(np.float64), full))
    return instance.replace(
        query=np.where(empty[..., None], instance.query.dtype.type(0), instance.query),
        bias=bias,
        mask=instance.visible() | empty[..., None],
        causal=None,
        window=None,
        key_lengths=None,
    )


def nan_in_empty_rows(instance: Instance, output: NDArray[np.float64]) -> NDArray[np.float64]:
    """An output with NaN where a query has no key."""
    return np.where(empty_rows(instance)[..., None], np.nan, output)


def nan_lse_of_empty_rows(instance: Instance, lse: NDArray[np.float64]) -> NDArray[np.float64]:
    """A log-sum-exp with NaN where a query has no key."""
    return np.where(empty_rows(instance), np.nan, lse)


def has_rest(instance: Instance, tile: int) -> Instance | None:
    """The instance itself, where its queries fill a tile, but not their last one."""
    n_q = instance.query.shape[2]
    return instance if n_q > tile and n_q % tile else None


def blank_rows(kept: Callable[[int], int]) -> Callable[[Instance, NDArray[np.float64]], NDArray[np.float64]]:
    """Query rows from ``kept(n_q)`` on, left at 0."""

    def output(instance: Instance, value: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where((np.arange(value.shape[2]) >= kept(value.shape[2]))[:, None], 0.0, value)

    return output


def blank_heads(kept: Callable[[Instance], int]) -> Callable[[Instance, NDArray[np.float64]], NDArray[np.float64]]:
    """Heads from ``kept(instance)`` on, left at 0."""

    def output(instance: Instance, value: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where((np.arange(value.shape[1]) >= kept(instance))[:, None, None], 0.0, value)

    return output


def has_lse(instance: Instance) -> Instance | None:
    """The instance itself if it asks for the log-sum-exp."""
    return instance if instance.return_lse else None


def base_two(instance: Instance, lse: NDArray[np.float64]) -> NDArray[np.float64]:
    """The log-sum-exp in base 2."""
    return lse / math.log(2.0)


def largest_score(instance: Instance) -> NDArray[np.float64]:
    """The largest score of each row: (b, h_q, n_q)."""
    largest: NDArray[np.float64] = evaluate(instance).score.midpoint.max(axis=3)
    if instance.sink is not None:
        largest = np.maximum(largest, instance.sink.astype(np.float64)[None, :, None])
    return largest


def without_maximum(instance: Instance, lse: NDArray[np.float64]) -> NDArray[np.float64]:
    """The log-sum-exp without the maximum m: ln Σ e^(s − m) alone."""
    return lse - np.where(np.isneginf(lse), 0.0, largest_score(instance))


def only_maximum(instance: Instance, lse: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest score in place of the log-sum-exp."""
    return largest_score(instance)


def zero_when_empty(instance: Instance, lse: NDArray[np.float64]) -> NDArray[np.float64]:
    """A log-sum-exp with 0 in place of the −∞ of an empty row."""
    return np.where(np.isneginf(lse), 0.0, lse)
