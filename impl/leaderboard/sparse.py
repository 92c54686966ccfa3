"""Attention to few keys: a window with sinks, and keys of the same hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Indices = NDArray[np.intp]

__all__ = ["angular_buckets", "hashed", "in_chunks", "window", "window_of"]

_SINKS = 4
_ROUNDS = 4
_BLOCK = 256  # queries at a time
_SELF = -5e4  # the score of a token with itself where it is to be the last resort, as in the paper's code


def window_of(query: Array, key: Array, value: Array, scale: float, left: int, right: int, sinks: int) -> Array:
    """Query i attends to keys i − left … i + right and to the first ``sinks`` keys."""
    output = np.zeros((len(query), value.shape[1]))
    for start in range(0, len(query), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(query)))
        first, last = max(0, start - left), min(len(key), int(rows[-1]) + right + 1)
        columns = np.concatenate([np.arange(min(sinks, first)), np.arange(min(first, len(key)), last)])
        scores = scale * (query[rows] @ key[columns].T)
        near = (columns >= rows[:, None] - left) & (columns <= rows[:, None] + right) | (columns < sinks)
        scores[~near] = -np.inf
        with np.errstate(invalid="ignore"):
            weights = np.nan_to_num(np.exp(scores - scores.max(axis=1, keepdims=True)))
        total = weights.sum(axis=1, keepdims=True)
        output[rows] = weights @ value[columns] / np.where(total > 0, total, 1.0)
    return output


def window(query: Array, key: Array, value: Array, *, scale: float, budget: int, seed: int) -> Array:
    """``budget`` keys a query: a window around its place, and the first four keys as sinks.

    Source: Beltagy et al. 2020, Longformer (window); Xiao et al. 2024, Efficient Streaming Language Models (sinks).
    """
    sinks = min(_SINKS, budget // 2)
    reach = max(0, budget - sinks - 1)
    return window_of(query, key, value, scale, reach // 2, reach - reach // 2, sinks)


def angular_buckets(x: Array, buckets: int, seed: int) -> Indices:
    """(n,): the place of the largest number of (xR, −xR), R Gaussian of ``buckets``/2 columns."""
    rotated = x @ np.random.default_rng(seed).standard_normal((x.shape[1], max(1, buckets // 2)))
    largest: Indices = np.concatenate([rotated, -rotated], axis=1).argmax(axis=1)
    return largest


def in_chunks(
    query: Array, key: Array, value: Array, scale: float, of_query: Indices, of_key: Indices, chunks: int,
    *, shared: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """(output, log-sum-exp): queries and keys sorted by bucket, in chunks; a chunk sees its own and the one before.

    shared: queries and keys are the same tokens, and a token attends to itself only where there is nothing else.
    """
    output, lse = np.zeros((len(query), value.shape[1])), np.full(len(query), -np.inf)
    rows, columns = (np.array_split(np.argsort(x, kind="stable"), chunks) for x in (of_query, of_key))
    for number, at in enumerate(rows):
        seen = np.unique(np.concatenate([columns[number], columns[number - 1]]))
        if not len(at) or not len(seen):
            continue
        scores = scale * (query[at] @ key[seen].T)
        if shared:
            scores[at[:, None] == seen] = _SELF
        most = scores.max(axis=1, keepdims=True)
        weights = np.exp(scores - most)
        total = weights.sum(axis=1, keepdims=True)
        output[at], lse[at] = weights @ value[seen] / total, (most + np.log(total))[:, 0]
    return output, lse


def hashed(query: Array, key: Array, value: Array, *, scale: float, budget: int, seed: int) -> Array:
    """Reformer's attention: four rounds of angular hashing, ``budget`` keys a query over all of them.

    Queries and keys are hashed apart, as they are not shared here; rounds are merged by their log-sum-exps.
    Source: Kitaev et al. 2020, Reformer, section 2.
    """
    size = max(1, budget // (2 * _ROUNDS))
    chunks = max(1, len(key) // size)
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300) for x in (query, key)]
    buckets = 2 * -(-chunks // 2)
    rounds = []
    for seed_of_round in range(_ROUNDS * seed, _ROUNDS * (seed + 1)):
        of_query, of_key = (angular_buckets(x, buckets, seed_of_round) for x in unit)
        rounds.append(in_chunks(query, key, value, scale, of_query, of_key, chunks))
    logs = np.stack([lse for _, lse in rounds])
    shares = np.exp(logs - logs.max(axis=0))
    output: Array = np.einsum("rn,rnd->nd", shares / shares.sum(axis=0), np.stack([x for x, _ in rounds]))
    return output
