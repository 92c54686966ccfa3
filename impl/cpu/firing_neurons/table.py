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
        self._density = {True: 0.0, False: 0.0}  # found by an item of the last query: for how much the next has room
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
        rows, which = (self._table, items) if of_points else (self._columns(items), np.arange(len(items)))
        found = scanned(rows, which, threshold, self._density[of_points])
        self._density[of_points] = len(found.ids) / max(len(items), 1)
        return found


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
        return scanned(rows, np.arange(len(items)), threshold, 0.0)


def scanned(table: NDArray[Any], items: Ids, threshold: Any, density: float) -> Firing:
    """The lists of what is above a threshold in some rows of a table, by a scan of every number.

    density: how many are expected in a row: what there is room for at first.
    """
    counts = np.empty(len(items), np.int64)
    scan, room = kernels.scan(table.dtype.name), table.shape[1] + 1024 + int(1.25 * density * len(items))
    while True:
        found, values = np.empty(room, np.int64), np.empty(room, table.dtype)
        total = scan(table, items, threshold, counts, found, values, 0, len(items))
        if total + table.shape[1] + 64 <= room:
            return Firing(np.concatenate([[0], np.cumsum(counts)]), found[:total], values[:total])
        room = total + table.shape[1] + 64
