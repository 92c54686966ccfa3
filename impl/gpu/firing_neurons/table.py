"""The two structures of a GPU: :class:`Table` keeps all correlations and scans them, :class:`Recomputed` keeps none."""

from __future__ import annotations

from typing import Any

import numpy as np

from assay.impl.gpu.firing_neurons.structure import Structure
from assay.impl.gpu.machine import view

__all__ = ["Recomputed", "Table"]


class Table(Structure):
    """All correlations, a row a point: a query of a point reads m numbers, one of a neuron n numbers m apart.

    The memory is n·m correlations, data and weights, and 16 bytes a neuron and 8 a point.
    """

    kind = "table"

    def _prepare(self) -> None:
        self._table = self.machine.empty((self.points, self.neurons), self.dtype)
        self._changed(self.weights, {})

    def _changed(self, weights: Any, named: dict[str, Any]) -> None:
        table = view(self.machine, self._table, (1, 1, self.points, self.neurons))
        arguments, blocks = self._products(self.data, weights, table=table, **named)
        self._multiply(arguments, blocks)

    def _rows(self, items: Any, *, of_points: bool) -> tuple[Any, Any]:
        return (self._table if of_points else self._table.T), items


class Recomputed(Structure):
    """No correlations at all: every query is a product of its own, and ``update`` writes weights.

    The memory is that of data and weights, and 16 bytes a neuron and 8 a point.  ``fired`` and ``data_of`` take that of
    their items' coordinates besides, the other queries that of their items' correlations too.  Numbers of points and
    neurons that are not there give undefined answers.
    """

    kind = "recomputed"

    def _prepare(self) -> None:
        pass

    def _changed(self, weights: Any, named: dict[str, Any]) -> None:
        pass

    def _rows(self, items: Any, *, of_points: bool) -> tuple[Any, Any]:
        left, right = self._factors(items, of_points=of_points)
        table = self.machine.empty((len(items), right.shape[0]), self.dtype)
        place = view(self.machine, table, (1, 1, *table.shape))
        arguments, blocks = self._products(left, right, table=place)
        self._multiply(arguments, blocks)
        return table, self.machine.laid(np.arange(len(items)))

    def _fired(self, items: Any, limit: Any, *, of_points: bool) -> Any:
        left, right = self._factors(items, of_points=of_points)
        out = self.machine.empty((len(items), right.shape[0]), np.bool_)
        arguments, blocks = self._products(left, right, out=self.machine.address(out), limit=float(limit))
        self._multiply(arguments, blocks)
        return out

    def _factors(self, items: Any, *, of_points: bool) -> tuple[Any, Any]:
        return (self.data[items], self.weights) if of_points else (self.weights[items], self.data)
