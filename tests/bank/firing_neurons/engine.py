"""Structures of which the bank's others are made: a table, trees of maxima and an indexed heap.

Every structure is made of ``(data, weights, *, threshold)``, data (n, d) and weights (m, d), and keeps what it needs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Heap", "Table", "Tree", "Wide", "work"]

Array = NDArray[Any]


def work(x: Array) -> Array:
    """The numbers in the type in which they are computed, as a copy."""
    return np.array(x, np.float64 if x.dtype == np.float64 else np.float32)


class Table:
    """All products are kept, and those of a neuron are made anew when its weights change."""

    def __init__(self, data: Array, weights: Array, *, threshold: float) -> None:
        self.data, self.weights, self.threshold = work(data), work(weights), threshold
        self.made()

    def made(self) -> None:
        self.table = self.products(self.data, self.weights)  # (n, m)

    def products(self, data: Array, weights: Array) -> Array:
        return np.asarray(data @ weights.T)

    def update(self, neurons: Array, weights: Array) -> None:
        self.weights[neurons] = weights
        self.table[:, neurons] = self.products(self.data, self.weights[neurons])

    def bar(self, threshold: float | None) -> float:
        return self.threshold if threshold is None else threshold

    def fires(self, products: Array, threshold: float) -> Array:
        return np.asarray(products > threshold)

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        return self.fires(self.table[points], self.bar(threshold))

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        return self.fires(self.table[:, neurons].T, self.bar(threshold))


class Tree(Table):
    """For every point a binary tree of maxima over the neurons, in an array; the leaves are padded with −∞."""

    padding = -np.inf

    def made(self) -> None:
        super().made()
        n, m = self.table.shape
        self.width = 1 << (m - 1).bit_length()
        self.nodes = np.full((n, 2 * self.width), self.padding, self.table.dtype)
        self.nodes[:, self.width : self.width + m] = self.table
        for node in range(self.width - 1, 0, -1):
            self.repaired(node)

    def repaired(self, node: int) -> None:
        self.nodes[:, node] = np.maximum(self.nodes[:, 2 * node], self.nodes[:, 2 * node + 1])

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons, weights)
        for neuron in neurons:
            self.set(int(neuron))

    def set(self, neuron: int) -> None:
        """Bring a leaf up to date and every node above it."""
        node = self.width + neuron
        self.nodes[:, node] = self.table[:, neuron]
        while node > 1:
            node //= 2
            self.repaired(node)

    def found(self, point: int, threshold: float) -> list[int]:
        """The neurons that fire on a point, by a descent into nodes above the threshold."""
        found, waiting = [], [1]
        while waiting:
            node = waiting.pop()
            if not self.fires(self.nodes[point, node], threshold):
                continue
            if node >= self.width:
                found.append(node - self.width)
            else:
                waiting += [2 * node, 2 * node + 1]
        return found

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        answer = np.zeros((len(points), len(self.weights)), bool)
        for row, point in zip(answer, points, strict=True):
            row[self.found(int(point), self.bar(threshold))] = True
        return answer


class Wide(Table):
    """For every point one level of maxima over blocks of neurons."""

    block = 4

    def made(self) -> None:
        super().made()
        self.starts = np.arange(0, len(self.weights), self.block)
        self.most = np.maximum.reduceat(self.table, self.starts, axis=1)

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons, weights)
        for block in set((np.asarray(neurons) // self.block).tolist()):
            self.set(block)

    def set(self, block: int) -> None:
        self.most[:, block] = self.table[:, block * self.block : (block + 1) * self.block].max(axis=1)

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        bar = self.bar(threshold)
        answer = np.zeros((len(points), len(self.weights)), bool)
        for row, point in zip(answer, points, strict=True):
            for block in np.flatnonzero(self.fires(self.most[point], bar)):
                at = slice(block * self.block, (block + 1) * self.block)
                row[at] = self.fires(self.table[point, at], bar)
        return answer


class Heap(Table):
    """For every point an indexed heap of the neurons, the largest product first; a query walks down from the top."""

    def made(self) -> None:
        super().made()
        self.heaps = [sorted(range(len(row)), key=lambda j, row=row: -row[j]) for row in self.table]
        self.places = [{neuron: place for place, neuron in enumerate(heap)} for heap in self.heaps]

    def update(self, neurons: Array, weights: Array) -> None:
        for neuron, weight in zip(neurons, weights, strict=True):
            super().update(np.array([neuron]), weight[None])
            for point in range(len(self.data)):
                self.moved(point, int(neuron))

    def moved(self, point: int, neuron: int) -> None:
        """Restore the heap of a point after the product of a neuron changed."""
        self.up(point, neuron)
        self.down(point, neuron)

    def above(self, point: int, one: int, other: int) -> bool:
        return bool(self.table[point, one] > self.table[point, other])

    def exchange(self, point: int, i: int, j: int) -> None:
        heap, places = self.heaps[point], self.places[point]
        heap[i], heap[j] = heap[j], heap[i]
        places[heap[i]], places[heap[j]] = i, j

    def up(self, point: int, neuron: int) -> None:
        heap, places = self.heaps[point], self.places[point]
        while (at := places[neuron]) and self.above(point, neuron, heap[(at - 1) // 2]):
            self.exchange(point, at, (at - 1) // 2)

    def down(self, point: int, neuron: int) -> None:
        heap, places = self.heaps[point], self.places[point]
        while True:
            at = places[neuron]
            children = [child for child in (2 * at + 1, 2 * at + 2) if child < len(heap)]
            most = max(children, key=lambda child: self.table[point, heap[child]], default=at)
            if most == at or not self.above(point, heap[most], neuron):
                return
            self.exchange(point, at, most)

    def walked(self, point: int, threshold: float) -> list[int]:
        heap, found, waiting = self.heaps[point], [], [0]
        while waiting:
            at = waiting.pop()
            if at < len(heap) and self.fires(self.table[point, heap[at]], threshold):
                found.append(heap[at])
                waiting += [2 * at + 1, 2 * at + 2]
        return found

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        answer = np.zeros((len(points), len(self.weights)), bool)
        for row, point in zip(answer, points, strict=True):
            row[self.walked(int(point), self.bar(threshold))] = True
        return answer
