"""Scores of every query and key, and the instances whose biases make other scores of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec import rope
from assay.spec.rope_attention.definition import tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.rope_attention import Instance

    Array = NDArray[np.float64]
    Wrong = Callable[[Instance], Instance | None]
    Read = Callable[[Instance, NDArray[np.intp], NDArray[np.intp]], NDArray[np.intp] | None]

__all__ = ["bias_read_at", "cap_after_bias", "offsets", "sheared", "weights_read_at"]


def offsets(instance: Instance) -> NDArray[np.intp]:
    """The column that W and a relative bias have for every query and key: i − j + n_k − 1, (n_q, n_k)."""
    n_q, n_k = instance.query.shape[2], instance.key.shape[2]
    return np.asarray(np.arange(n_q)[:, None] - np.arange(n_k) + n_k - 1)


def _scores(instance: Instance, columns: NDArray[np.intp]) -> Array:
    """Scaled scores before a softcap and biases, (b, h, n_q, n_k); in the general form with W of these columns."""
    scale = instance.scale or 0.0
    if instance.relative is None:
        turned, n_q = rope.define(tokens(instance), 1e-9).midpoint, instance.query.shape[2]
        return np.asarray(scale * (turned[:, :, :n_q] @ np.swapaxes(turned[:, :, n_q:], 2, 3)))
    query, key = (getattr(instance, name).astype(np.float64) for name in ("query", "key"))
    key = np.repeat(key, instance.group, axis=1)
    total = np.zeros((*query.shape[:3], key.shape[2]))
    for (row, column), numbers in zip(instance.support or (), instance.relative.astype(np.float64), strict=True):
        total += query[..., :, None, row] * numbers[columns] * key[..., None, :, column]
    return np.asarray(scale * total)


def _added(instance: Instance) -> Array:
    """The bias of every query and key, 0 where there is none."""
    added = instance.added_bias()
    return np.zeros((1, 1, 1, 1)) if added is None else added.astype(np.float64)


def _with_bias(instance: Instance, bias: Array) -> Instance:
    shape = (*instance.query.shape[:3], instance.key.shape[2])
    return instance.replace(relative_bias=None, bias=np.ascontiguousarray(np.broadcast_to(bias, shape)))


def cap_after_bias(instance: Instance) -> Instance | None:
    """The softcap of score and biases, c·tanh((s + b)/c).  A bias makes this of c·tanh(s/c)."""
    if instance.softcap is None or instance.added_bias() is None:
        return None
    score, bias, cap = _scores(instance, offsets(instance)), _added(instance), instance.softcap
    hidden = np.isneginf(bias)
    capped = cap * (np.tanh((score + np.where(hidden, 0.0, bias)) / cap) - np.tanh(score / cap))
    return _with_bias(instance, np.where(hidden, -np.inf, capped))


def _columns(instance: Instance, read: Read) -> NDArray[np.intp] | None:
    """The columns that are read, (1 or b, n_q, n_k), the first or the last one beyond the ends; ``None`` if none is
    another one than it should be.
    """
    right = offsets(instance)
    wrong = read(instance, *np.ogrid[: right.shape[0], : right.shape[1]])
    if wrong is None:
        return None
    wrong = np.clip(wrong, 0, sum(right.shape) - 2)
    return None if (wrong == right).all() else wrong


def bias_read_at(read: Read) -> Wrong:
    """A relative bias that is read at other columns, read(instance, i, j); ``None`` where these are the right ones."""

    def wrong(instance: Instance) -> Instance | None:
        if instance.relative_bias is None or (columns := _columns(instance, read)) is None:
            return None
        added = instance.relative_bias.astype(np.float64)[:, columns]
        return _with_bias(instance, added[None] if columns.ndim == 2 else np.swapaxes(added, 0, 1))

    return wrong


def sheared(cut: int, instance: Instance) -> Instance | None:
    """A relative bias shifted as in Transformer-XL: each row one farther than the one before, by a padded reshape.

    Rows of the distances n − 1 … 0 get a 0 in front and are read as n + 1 rows of n numbers, of which n are kept, from
    number ``cut`` on: with 1 keys up to the query get their own number, the next key 0, and those after it numbers of
    the next row; with 0 no key gets its own.  Source: Dai et al. 2019, appendix B (https://arxiv.org/abs/1901.02860).
    """
    n = instance.key.shape[2]
    if instance.relative_bias is None or instance.query.shape[2] != n:
        return None
    numbers = instance.relative_bias.astype(np.float64)
    rows = np.repeat(numbers[:, None, n - 1 :][..., ::-1], n, axis=1)
    padded = np.concatenate([np.zeros((len(rows), n, 1)), rows], axis=2).reshape(len(rows), n + 1, n)
    shifted = padded[:, cut : cut + n]
    if np.array_equal(shifted, numbers[:, offsets(instance)]):
        return None
    return _with_bias(instance, shifted)


def weights_read_at(read: Read) -> Wrong:
    """W that is read at other columns: read(instance, i, j), (n_q, n_k).  A bias makes up for the difference."""

    def wrong(instance: Instance) -> Instance | None:
        if instance.relative is None or (columns := _columns(instance, read)) is None:
            return None
        before, after = (_scores(instance, at) for at in (offsets(instance), columns))
        if (cap := instance.softcap) is not None:
            before, after = (cap * np.tanh(score / cap) for score in (before, after))
        return _with_bias(instance, _added(instance) + after - before)

    return wrong
