"""Structures without a tree: :class:`Table` keeps all correlations and scans them, :class:`Recomputed` keeps none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.firing_neurons import kernels, products
from assay.impl.cpu.firing_neurons.structure import Change, Firing, Structure, held

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Ids = NDArray[np.int64]

__all__ = ["Recomputed", "Table"]


class Table(Structure):
    """All correlations, a row a point: a query of a point scans m numbers, one of a neuron n numbers m apart.

    ``update`` of a neuron is a product of n·d operations.  The memory is n·m correlations besides data and weights.
    """

    kind = "table"

    @staticmethod
    def size(points: int, neurons: int, dim: int, dtype: np.dtype[Any]) -> int:
        """The bytes that a table holds."""
        return held(points, neurons, dim, dtype) + points * neurons * dtype.itemsize

    def _prepare(self, tiles: Iterator[tuple[int, int, NDArray[Any]]]) -> None:
        self._table = np.empty((self.points, self.neurons), self.dtype)
        for i, j, tile in tiles:
            self._table[i : i + tile.shape[0], j : j + tile.shape[1]] = tile

    def _put(self, change: Change) -> None:
        kernels.store(self.dtype.name)(
            change.columns, change.neurons, self._table, self.weights, change.weights, self._moves, change.moves,
            self._errors, change.errors,
        )  # fmt: skip

    def _columns(self, neurons: Ids) -> NDArray[Any]:
        return np.ascontiguousarray(self._table[:, neurons].T)

    def _rows(self, points: Ids) -> NDArray[Any]:
        return self._table[points]

    def _fired(self, items: Ids, threshold: Any, *, of_points: bool) -> NDArray[np.bool_]:
        table = self._table if of_points else self._table.T
        out = np.empty((len(items), table.shape[1]), np.bool_)
        for k, item in enumerate(items):
            np.greater(table[item], threshold, out=out[k])
        return out

    def _firing(self, items: Ids, threshold: Any, *, of_points: bool) -> Firing:
        rows = self._rows(items) if of_points else self._columns(items)
        return scanned(rows, threshold, self.dtype)


class Recomputed(Structure):
    """No correlations at all: every query is a product of its own, and ``update`` writes weights.

    The memory is that of data and weights.
    """

    kind = "recomputed"
    keeps = False

    @staticmethod
    def size(points: int, neurons: int, dim: int, dtype: np.dtype[Any]) -> int:
        """The bytes that are held."""
        return held(points, neurons, dim, dtype)

    def _prepare(self, tiles: Iterator[tuple[int, int, NDArray[Any]]]) -> None:
        pass

    def _change(self, which: Ids, weights: NDArray[Any]) -> Change:
        empty = np.empty((len(which), 0), self.dtype)
        return Change(which, weights, empty, np.zeros(len(which), np.int64), self._fresh(weights))

    def _moved(self, which: Ids, weights: NDArray[Any], alpha: NDArray[Any], along: Ids) -> Change:
        return self._change(which, weights)

    def _put(self, change: Change) -> None:
        kernels.store(self.dtype.name)(
            change.columns, change.neurons, np.empty((0, 0), self.dtype), self.weights, change.weights, self._moves,
            change.moves, self._errors, change.errors,
        )  # fmt: skip

    def _columns(self, neurons: Ids) -> NDArray[Any]:
        return products.columns(self.data, self.weights[neurons])

    def _rows(self, points: Ids) -> NDArray[Any]:
        return products.columns(self.weights, self.data[points])

    def _fired(self, items: Ids, threshold: Any, *, of_points: bool) -> NDArray[np.bool_]:
        rows = self._rows(items) if of_points else self._columns(items)
        fired: NDArray[np.bool_] = rows > threshold
        return fired

    def _firing(self, items: Ids, threshold: Any, *, of_points: bool) -> Firing:
        rows = self._rows(items) if of_points else self._columns(items)
        return scanned(rows, threshold, self.dtype)


def scanned(rows: NDArray[Any], threshold: Any, dtype: np.dtype[Any]) -> Firing:
    """The lists of what is above a threshold in each row, by a scan of every number."""
    width = rows.shape[1]
    found, values = np.empty(width + 1, np.int64), np.empty(width + 1, dtype)
    starts = np.zeros(len(rows) + 1, np.int64)
    ids, numbers = [found[:0]], [values[:0]]
    scan = kernels.scan(dtype.name)
    for k, row in enumerate(rows):
        count = scan(row, threshold, found, values)
        ids.append(found[:count].copy())
        numbers.append(values[:count].copy())
        starts[k + 1] = starts[k] + count
    return Firing(starts, np.concatenate(ids), np.concatenate(numbers))
