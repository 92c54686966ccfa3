"""The largest and the least value of every column among the keys of each row: one of them bounds every |v − o|."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["extremes"]

_BLOCK = 1 << 16  # elements of the largest temporary: rows × keys × columns


def extremes(attended: Array, value: Array) -> tuple[Array, Array]:
    """The largest and the least value of each column over attended keys.

    attended: (n_q, n_k), bool.  value: (n_k, d).  Returns two arrays (n_q, d), of −∞ and ∞ where a row has no key.

    >>> largest, least = extremes(np.array([[True, True, False]]), np.array([[1.0], [-2.0], [5.0]]))
    >>> largest.item(), least.item()
    (1.0, -2.0)
    """
    if attended.shape[1] == 0:
        empty = np.full((attended.shape[0], value.shape[1]), -np.inf)
        return empty, -empty
    count = attended.sum(axis=1)
    first = attended.argmax(axis=1)
    last = attended.shape[1] - attended[:, ::-1].argmax(axis=1)  # exclusive
    if ((count == last - first) | (count == 0)).all():
        end = np.where(count, last, first)
        return _of_intervals(first, end, value), -_of_intervals(first, end, -value)
    return _of_sets(attended, value), -_of_sets(attended, -value)


def _of_intervals(first: Array, end: Array, value: Array) -> Array:
    """The largest over the keys from ``first`` up to ``end``, the latter excluded: of two intervals of 2^k keys."""
    tables = [value]  # tables[k][j]: the largest of the 2^k keys from j on
    largest = np.full((len(first), value.shape[1]), -np.inf)
    length = end - first
    for k in range(int(length.max(initial=0)).bit_length()):
        if k:
            half = 1 << (k - 1)
            tables.append(np.maximum(tables[-1][:-half], tables[-1][half:]))
        rows = np.flatnonzero((length >> k) == 1)
        if rows.size:
            largest[rows] = np.maximum(tables[k][first[rows]], tables[k][end[rows] - (1 << k)])
    return largest


def _of_sets(attended: Array, value: Array) -> Array:
    """The largest over any keys, once for rows that attend to the same ones."""
    packed, place = np.unique(np.packbits(attended, axis=1), axis=0, return_inverse=True)
    sets = np.unpackbits(packed, axis=1, count=attended.shape[1]).astype(bool)
    largest = np.empty((len(sets), value.shape[1]))
    rows = max(1, _BLOCK // max(1, value.size))
    for at in range(0, len(sets), rows):
        seen = sets[at : at + rows, :, None]
        largest[at : at + rows] = np.where(seen, value, -np.inf).max(axis=1)
    return largest[place.reshape(-1)]
