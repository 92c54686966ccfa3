"""Biases that depend on the offset i − j alone, in the layout of ``relative_bias``: ALiBi, T5, and any function.

Entry t of a row belongs to the offset i − j = t − (n_k − 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["alibi", "alibi_slopes", "of_offsets", "t5", "t5_buckets"]


def of_offsets(
    function: Callable[[NDArray[np.int64]], NDArray[Any]], queries: int, keys: int, dtype: DTypeLike = np.float32
) -> NDArray[Any]:
    """(rows, n_q + n_k − 1): a function of all offsets −(n_k − 1) … n_q − 1, rounded to ``dtype``.

    function: of an array of offsets (n,) to one row (n,), or to one for every head (h, n).

    >>> of_offsets(lambda offset: -abs(offset), 2, 3).tolist()
    [[-2.0, -1.0, 0.0, -1.0]]
    """
    return np.atleast_2d(np.asarray(function(np.arange(-(keys - 1), queries)))).astype(dtype)


def alibi_slopes(heads: int) -> NDArray[np.float64]:
    """(heads,): the slopes of ALiBi (Press, Smith and Lewis 2022), 2^(−8/h), 2^(−16/h), … for h a power of two.

    For other numbers of heads, as the authors' code has it: those of the largest power of two p below, and then every
    second one of 2p.
    Raises ``ValueError`` for less than one head.

    >>> alibi_slopes(3).tolist()
    [0.0625, 0.00390625, 0.25]
    """
    if heads < 1:
        raise ValueError(f"heads: {heads!r}, expected at least 1")
    power = 1 << (heads.bit_length() - 1)

    def of_power(count: int) -> NDArray[np.float64]:
        return np.asarray(2.0 ** (-8.0 * np.arange(1, count + 1) / count))

    return np.concatenate([of_power(power), of_power(2 * power)[::2][: heads - power]])


def alibi(slopes: ArrayLike, queries: int, keys: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """(h, n_q + n_k − 1): −slope·|i − j| for every head, rounded to ``dtype``.  slopes (h,).

    >>> alibi([0.5, 2.0], 2, 2).tolist()
    [[-0.5, -0.0, -0.5], [-2.0, -0.0, -2.0]]
    """
    rates = np.asarray(slopes, np.float64)[:, None]
    return of_offsets(lambda offset: -rates * np.abs(offset), queries, keys, dtype)


def t5_buckets(
    offsets: NDArray[np.int64], num_buckets: int = 32, max_distance: int = 128, *, bidirectional: bool = True
) -> NDArray[np.int64]:
    """The bucket of every offset i − j (Raffel et al. 2020): exact near 0, then logarithmic, then one.

    max_distance: offsets of that size and beyond share one bucket.
    bidirectional: keys after the query (i < j) have buckets of their own, the upper half; otherwise they share bucket 0
    with i = j.  The logarithmic part is floor(m·ln(n/e)/ln(max_distance/e)) of the distance n, with e exact and m other
    buckets, decided in integers, so that no rounding moves a border.
    Raises ``ValueError`` where ``max_distance`` is at most the number of exact buckets, or that is 0.

    >>> t5_buckets(np.array([-200, -9, -1, 0, 1, 9, 200])).tolist()
    [31, 24, 17, 0, 1, 8, 15]
    """
    behind = np.where(offsets < 0, -offsets, 0)  # j − i of keys after the query
    each = num_buckets // 2 if bidirectional else num_buckets
    exact = each // 2
    if exact < 1 or max_distance <= exact:
        raise ValueError(
            f"num_buckets: {num_buckets} with max_distance {max_distance}, expected exact buckets, and more beyond"
        )
    distance = np.abs(offsets) if bidirectional else np.where(offsets > 0, offsets, 0)
    rest = each - exact
    borders = [_border(exact, max_distance, rest, step) for step in range(1, rest)]
    far = exact + np.searchsorted(np.array(borders, dtype=np.int64), distance, side="right")
    bucket = np.where(distance < exact, distance, far)
    return np.asarray(bucket + (each * (behind > 0) if bidirectional else 0), dtype=np.int64)


def _border(exact: int, largest: int, rest: int, step: int) -> int:
    """The least distance n with n ≥ e·(largest/e)^(step/rest), that is n^rest ≥ largest^step·e^(rest − step)."""
    goal = largest**step * exact ** (rest - step)
    low, high = exact, largest
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if middle**rest >= goal else (middle + 1, high)
    return low


def t5(
    table: NDArray[Any], queries: int, keys: int, *, max_distance: int = 128, bidirectional: bool = True
) -> NDArray[Any]:
    """(h, n_q + n_k − 1): the number of the bucket of every offset.  table (buckets, h), whose dtype the result has.

    Raises ``ValueError`` as :func:`t5_buckets`.

    >>> t5(np.arange(8.0)[:, None], 2, 3, max_distance=8).tolist()
    [[6.0, 5.0, 0.0, 1.0]]
    """
    return of_offsets(
        lambda offset: table[t5_buckets(offset, len(table), max_distance, bidirectional=bidirectional)].T,
        queries,
        keys,
        table.dtype,
    )
