"""Parts of wrong kernels: wrong under two conditions, each of which is right alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.attention.engine import asked_as

if TYPE_CHECKING:
    from collections.abc import Callable

    from bank.attention.correct import Task


def asked_as_when(condition: Callable[[Task], bool], meaning: Callable[[Task], Task]) -> Callable[..., Any]:
    """Another task than the one asked, where a condition holds."""
    return asked_as(lambda task: meaning(task) if condition(task) else task)


def without(*options: str) -> Callable[[Task], Task]:
    return lambda task: replace(task, **dict.fromkeys(options))


def few_axes_as_first_row(task: Task) -> Task:
    """A mask whose query axis is 1 is read as if only the first query had it."""
    if task.mask is None or task.mask.ndim < 2 or task.mask.shape[-2] != 1 or task.shape[2] == 1:
        return task
    mask = np.ones(task.shape, dtype=bool)
    mask[:, :, :1] = task.mask
    return replace(task, mask=mask)


def two_axes_as_padding(task: Task) -> Task:
    """A mask of two axes is read as (batch, keys) where there are as many batches as queries."""
    b, _, n_q, _ = task.shape
    if task.mask is None or task.mask.ndim != 2 or b != n_q or task.mask.shape[0] != n_q:
        return task
    return replace(task, mask=task.mask[:, None, None, :])


def alike_queries_as_one(task: Task) -> Task:
    """Queries within 1e-3 of the first one of their head are taken for it."""
    first = task.query[:, :, :1]
    alike = np.abs(task.query.astype(np.float64) - first).max(initial=0.0) < 1e-3
    return replace(task, query=np.broadcast_to(first, task.query.shape).copy()) if alike else task


def no_tail_of_long_rows(task: Task) -> Task:
    """From 1,024 keys at dim 64 on, the keys beyond the last whole tile of 64 are not read."""
    b, _, _, n_k = task.shape
    fast = n_k >= 1024 and task.query.shape[3] == 64 and n_k % 64
    lengths = np.full(b, n_k) if task.key_lengths is None else task.key_lengths
    return replace(task, key_lengths=np.minimum(lengths, n_k - n_k % 64)) if fast else task
