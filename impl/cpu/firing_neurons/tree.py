"""A tree of maxima over the correlations of every point, and one over those of every neuron."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import threads as cpus
from assay.impl.cpu.firing_neurons import checks, kernels
from assay.impl.cpu.firing_neurons.structure import Firing, Structure, held
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from assay.impl.cpu.firing_neurons.structure import Change

    Ids = NDArray[np.int64]

__all__ = ["CorrelationTree", "level_sizes", "most_repaired", "most_visited"]

_MANY = 1 << 22  # nodes of the lowest level that are worth a second thread


class CorrelationTree(Structure):
    """All correlations and maxima above them: a query looks below a maximum only where that exceeds the threshold.

    fan_out: how many children a node has: 2, 4, … 64.  levels: how many levels of maxima there are; without it there
    is one level for a fan-out of 64, and for a smaller one there are as many as lead to a single root.

    A query that finds k of m leaves of a binary tree visits at most 1 + 2(2^(l+1) − 1 + k·max(0, h − l − 1)) nodes, m ≤
    2^h, l = min(⌊log₂ k⌋, h − 1) (FIRE-3).  ``update`` of k neurons is one product and the repair of the nodes above
    them.  The memory is n·m correlations and their maxima on both sides: 1 + 2/(fan_out − 1) times the table's.
    """

    kind = "tree"

    def __init__(
        self, data: NDArray[Any], weights: NDArray[Any], *, threshold: float, fan_out: int = kernels.BLOCK,
        levels: int | None = None, refresh: int | None = None, threads: int | None = None,
    ) -> None:  # fmt: skip
        self.fan_out = checks.positive(fan_out, "fan_out")
        if self.fan_out not in (2, 4, 8, 16, 32, 64):
            raise InvalidInstance(f"fan_out: {fan_out!r}, expected 2, 4, 8, 16, 32 or 64")
        levels = (1 if self.fan_out == kernels.BLOCK else 64) if levels is None else checks.positive(levels, "levels")
        self.levels = min(levels, 64)
        self._bits = self.fan_out.bit_length() - 1
        super().__init__(data, weights, threshold=threshold, refresh=refresh, threads=threads)

    @staticmethod
    def size(points: int, neurons: int, dim: int, dtype: np.dtype[Any]) -> int:
        """The bytes of data, weights and correlations, maxima apart."""
        return held(points, neurons, dim, dtype) + (points | 1) * -(-neurons // 64) * 64 * dtype.itemsize

    def nbytes(self) -> int:
        """The bytes that the structure holds now."""
        return super().nbytes() + self._nodes.nbytes + self._point_nodes.nbytes

    def settings(self) -> dict[str, Any]:
        """The keywords that make a structure like this one, ``threads`` apart."""
        return super().settings() | {"fan_out": self.fan_out, "levels": self.levels}

    def _prepare(self, tiles: Iterator[tuple[int, int, NDArray[Any]]]) -> None:
        blocks = -(-self.neurons // kernels.BLOCK)
        self._density = {True: 0.0, False: 0.0}  # found by an item of the last query: for how much the next has room
        self._offsets, self._point_offsets = (
            np.cumsum([0, *level_sizes(count, self.fan_out, self.levels)]) for count in (self.neurons, self.points)
        )
        # odd numbers of blocks and lines, so that equal places of different rows do not compete for places in the cache
        self._table = np.empty((blocks, self.points | 1, kernels.BLOCK), self.dtype)
        self._nodes, self._point_nodes = (
            np.full((rows, (-(-int(width) // 16) | 1) * 16), -np.inf, self.dtype)
            for rows, width in ((self.points, self._offsets[-1]), (self.neurons, self._point_offsets[-1]))
        )
        lay = kernels.lay(self.dtype.name)
        for i, j, tile in tiles:
            lay(tile, i, j, self._table, self.neurons, self._bits, self._nodes, self._point_nodes)
        for nodes, offsets in ((self._nodes, self._offsets), (self._point_nodes, self._point_offsets)):
            for level in range(1, len(offsets) - 1):
                under = nodes[:, offsets[level - 1] : offsets[level]]
                firsts = np.arange(0, under.shape[1], self.fan_out)
                nodes[:, offsets[level] : offsets[level + 1]] = np.maximum.reduceat(under, firsts, axis=1)

    def _put(self, change: Change) -> None:
        parents, bounds = self._above(change.neurons)
        kernels.commit(self.dtype.name)(
            change.columns, change.neurons, self._table, self.neurons, self._bits, parents, bounds, self._nodes,
            self._offsets, self._point_nodes, self._point_offsets, self.weights, change.weights, self._moves,
            change.moves, self._errors, change.errors,
        )  # fmt: skip

    def _above(self, neurons: Ids) -> tuple[Ids, Ids]:
        """The nodes above some ascending neurons, level by level, and where each level begins."""
        found, here = [], neurons
        for _ in range(len(self._offsets) - 1):
            here = here >> self._bits
            here = here[np.concatenate([[True], here[1:] != here[:-1]])]
            found.append(here)
        return np.concatenate(found), np.cumsum([0, *map(len, found)])

    def repaired(self, neurons: Any) -> int:
        """How many nodes of a point's tree, leaves among them, an update of these neurons may write."""
        which = checks.unique_ids(neurons, "neurons", self.neurons)
        return len(which) + len(self._above(np.sort(which))[0])

    def visited(self, points: Any, *, threshold: float | None = None) -> NDArray[np.int64]:
        """(len(points),): how many nodes and leaves the query of each point reads."""
        return self._counted(checks.ids(points, "points", self.points), self._below(threshold), True)

    def visited_data(self, neurons: Any, *, threshold: float | None = None) -> NDArray[np.int64]:
        """(len(neurons),): how many nodes and leaves the query of each neuron reads."""
        return self._counted(checks.ids(neurons, "neurons", self.neurons), self._below(threshold), False)

    def _columns(self, neurons: Ids) -> NDArray[Any]:
        return np.ascontiguousarray(self._table[neurons >> 6, : self.points, neurons & 63])

    def _rows(self, points: Ids) -> NDArray[Any]:
        rows = self._table[:, points].transpose(1, 0, 2).reshape(len(points), -1)
        return np.ascontiguousarray(rows[:, : self.neurons])

    def _fired(self, items: Ids, threshold: Any, *, of_points: bool) -> NDArray[np.bool_]:
        out = np.empty((len(items), self.neurons if of_points else self.points), np.bool_)
        none, counts, visited = np.empty(0, np.int64), np.empty(len(items), np.int64), np.empty(len(items), np.int64)

        def part(first: int, last: int) -> None:
            self._query(items, threshold, of_points, out, counts, none, np.empty(0, self.dtype), visited, first, last)

        self._shared(part, len(items), of_points)
        return out

    def _firing(self, items: Ids, threshold: Any, *, of_points: bool) -> Firing:
        counts, visited = np.empty(len(items), np.int64), np.empty(len(items), np.int64)
        parts: dict[int, tuple[Ids, NDArray[Any]]] = {}

        def part(first: int, last: int) -> None:
            room = 1024 + int(1.25 * self._density[of_points] * (last - first))
            while True:
                found, values = np.empty(room, np.int64), np.empty(room, self.dtype)
                total = self._query(items, threshold, of_points, None, counts, found, values, visited, first, last)
                if total + 128 <= room:
                    parts[first] = (found[:total], values[:total])
                    return
                room = total + 128

        self._shared(part, len(items), of_points)
        starts = np.zeros(len(items) + 1, np.int64)
        np.cumsum(counts, out=starts[1:])
        self._density[of_points] = float(starts[-1]) / max(len(items), 1)
        if len(parts) == 1:
            ((ids, numbers),) = parts.values()
            return Firing(starts, ids, numbers)
        ordered = [parts[first] for first in sorted(parts)] or [(counts[:0], np.empty(0, self.dtype))]
        return Firing(starts, *(np.concatenate(x) for x in zip(*ordered, strict=True)))

    def _counted(self, items: Ids, threshold: Any, of_points: bool) -> NDArray[np.int64]:
        counts, visited, none = np.empty(len(items), np.int64), np.empty(len(items), np.int64), np.empty(0, np.int64)
        numbers = np.empty(0, self.dtype)
        if len(items):
            self._query(items, threshold, of_points, None, counts, none, numbers, visited, 0, len(items))
        return visited

    def _query(
        self, items: Ids, threshold: Any, of_points: bool, marked: NDArray[np.bool_] | None, counts: Ids, found: Ids,
        values: NDArray[Any], visited: Ids, first: int, last: int,
    ) -> int:  # fmt: skip
        leaves, nodes, offsets = (
            (self.neurons, self._nodes, self._offsets)
            if of_points
            else (self.points, self._point_nodes, self._point_offsets)
        )
        return kernels.query(self.dtype.name)(
            self._table, of_points, leaves, nodes, offsets, self._bits, items, threshold, marked is not None,
            np.empty((0, 0), np.bool_) if marked is None else marked, counts, found, values, visited, first, last,
        )  # fmt: skip

    def _shared(self, part: Any, items: int, of_points: bool) -> None:
        """Share items among threads, where they are worth it."""
        width = (self._offsets if of_points else self._point_offsets)[-1]
        workers = min(self.threads, items, 1 + int(items * width) // _MANY)
        if workers <= 1:
            if items:
                part(0, items)
            return
        step = -(-items // (4 * workers))
        cpus.share(lambda i: part(i, min(i + step, items)), range(0, items, step), workers)


def level_sizes(leaves: int, fan_out: int, levels: int) -> list[int]:
    """How many nodes each level of maxima has, the lowest first: at least one level, and none above a single root."""
    found = [-(-leaves // fan_out)]
    while found[-1] > 1 and len(found) < levels:
        found.append(-(-found[-1] // fan_out))
    return found


def most_visited(leaves: int, found: int) -> int:
    """The most nodes and leaves of a binary tree that a query visits which finds ``found`` leaves (FIRE-3)."""
    height = max(leaves - 1, 1).bit_length()
    if not found:
        return 1
    level = min(found.bit_length() - 1, height - 1)
    return 1 + 2 * ((2 << level) - 1 + found * max(0, height - level - 1))


def most_repaired(leaves: int, changed: int) -> float:
    """The most nodes and leaves of a binary tree that a batch of ``changed`` leaves writes (FIRE-3)."""
    padded = 2 ** max(leaves - 1, 1).bit_length()
    return 2 * changed + changed * float(np.log2(padded / changed))
