"""Correct structures of unusual make: whatever they keep, they answer as the weights of now say."""

from __future__ import annotations

import bisect
import heapq
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np

from bank.entry import Entry
from bank.firing_neurons.engine import Array, Heap, Table, Tree, Wide, work

__all__ = ["CORRECT"]

FRESH = ("float32", "float64")
F32 = ("float32",)


class Lazy(Table):
    """Nothing is kept but the weights: every query multiplies."""

    def made(self) -> None:
        pass

    def update(self, neurons: Array, weights: Array) -> None:
        self.weights[neurons] = weights

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        return self.fires(self.products(self.data[points], self.weights), self.bar(threshold))

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        return self.fires(self.products(self.data, self.weights[neurons]).T, self.bar(threshold))


class OneByOne(Table):
    """Sums one coordinate after the other, the last one first."""

    def products(self, data: Array, weights: Array) -> Array:
        total = np.zeros((len(data), len(weights)), data.dtype)
        for column in range(data.shape[1])[::-1]:
            total += data[:, column, None] * weights[:, column]
        return total


class Folded(OneByOne):
    """The threshold as one more coordinate: −1 in the data and the threshold in the weights, summed first."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        return self.folded(self.data[points], self.weights, self.bar(threshold))

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        return self.folded(self.data, self.weights[neurons], self.bar(threshold)).T

    def folded(self, data: Array, weights: Array, threshold: float) -> Array:
        kind = data.dtype
        longer = np.hstack([data, np.full((len(data), 1), -1, kind)])
        return self.products(longer, np.hstack([weights, np.full((len(weights), 1), threshold, kind)])) > 0


class Wider(Table):
    """Products in float64, whatever the numbers are in."""

    def made(self) -> None:
        self.data, self.weights = self.data.astype(np.float64), self.weights.astype(np.float64)
        super().made()


class Blocks(Table):
    """Products by blocks of three coordinates, kept transposed."""

    def products(self, data: Array, weights: Array) -> Array:
        parts = [data[:, at : at + 3] @ weights[:, at : at + 3].T for at in range(0, data.shape[1], 3)]
        return np.asfortranarray(sum(parts[1:], parts[0]))


class Sorted(Table):
    """For every point a sorted list of (product, neuron): a query takes its end."""

    def made(self) -> None:
        super().made()
        self.lists = [sorted((value, j) for j, value in enumerate(row.tolist())) for row in self.table]

    def update(self, neurons: Array, weights: Array) -> None:
        old = self.table[:, neurons].tolist()
        super().update(neurons, weights)
        new = self.table[:, neurons].tolist()
        for entries, before, after in zip(self.lists, old, new, strict=True):
            for neuron, value, other in zip(neurons.tolist(), before, after, strict=True):
                del entries[bisect.bisect_left(entries, (value, neuron))]
                bisect.insort(entries, (other, neuron))

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        answer, bar = np.zeros((len(points), len(self.weights)), bool), self.bar(threshold)
        bar = float(self.table.dtype.type(bar))
        for row, point in zip(answer, points.tolist(), strict=True):
            entries = self.lists[point]
            row[[neuron for _, neuron in entries[bisect.bisect_right(entries, (bar, np.inf)) :]]] = True
        return answer


class StaleEntries(Table):
    """For every point a heap in which entries of old products stay until a query meets them."""

    def made(self) -> None:
        super().made()
        self.version = [0] * len(self.weights)
        self.heaps = [[(-value, j, 0) for j, value in enumerate(row.tolist())] for row in self.table]
        for heap in self.heaps:
            heapq.heapify(heap)

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons, weights)
        for neuron in neurons.tolist():
            self.version[neuron] += 1
            for heap, value in zip(self.heaps, self.table[:, neuron].tolist(), strict=True):
                heapq.heappush(heap, (-value, neuron, self.version[neuron]))

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        answer, bar = np.zeros((len(points), len(self.weights)), bool), self.bar(threshold)
        bar = float(self.table.dtype.type(bar))
        for row, point in zip(answer, points.tolist(), strict=True):
            heap, kept = self.heaps[point], []
            while heap and -heap[0][0] > bar:
                entry = heapq.heappop(heap)
                if entry[2] == self.version[entry[1]]:
                    row[entry[1]] = True
                    kept.append(entry)
            for entry in kept:
                heapq.heappush(heap, entry)
        return answer


class Slots(Table):
    """Rows of an index that are taken out and put in again elsewhere, with tables of ids in both directions."""

    def made(self) -> None:
        m = len(self.weights)
        room = m + 1 + m // 2
        self.rows = np.zeros((room, self.data.shape[1]), self.weights.dtype)
        self.rows[:m] = self.weights
        self.slot = list(range(m))
        self.free = list(range(m, room))

    def update(self, neurons: Array, weights: Array) -> None:
        for neuron, weight in zip(neurons.tolist(), weights, strict=True):
            old, new = self.slot[neuron], self.free.pop(0)
            self.rows[new], self.slot[neuron] = weight, new
            self.rows[old] = 0
            self.free.append(old)

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        return self.fires(self.products(self.data[points], self.rows[self.slot]), self.bar(threshold))

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        rows = self.rows[[self.slot[neuron] for neuron in neurons.tolist()]]
        return self.fires(self.products(self.data, rows).T, self.bar(threshold))


class Cached(Table):
    """Answers are kept until the next update."""

    def made(self) -> None:
        super().made()
        self.answers: dict[Any, Array] = {}

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons, weights)
        self.answers.clear()

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        key = points.tobytes(), self.bar(threshold)
        if key not in self.answers:
            self.answers[key] = super().fired(points, threshold=threshold)
        return self.answers[key].copy()


class Deferred(Table):
    """Updates wait until a query; a later one of the same neuron takes the place of the earlier."""

    def made(self) -> None:
        super().made()
        self.waiting: dict[int, Array] = {}

    def update(self, neurons: Array, weights: Array) -> None:
        self.waiting |= {int(neuron): np.array(weight) for neuron, weight in zip(neurons, weights, strict=True)}

    def settle(self) -> None:
        if self.waiting:
            super().update(np.array(list(self.waiting)), np.stack(list(self.waiting.values())))
            self.waiting = {}

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        self.settle()
        return super().fired(points, threshold=threshold)

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        self.settle()
        return super().data_of(neurons, threshold=threshold)


class Threads(Lazy):
    """Every point by a thread of its own."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        bar = self.bar(threshold)
        with ThreadPoolExecutor(2) as pool:
            found = pool.map(lambda point: self.fires(self.weights @ self.data[point], bar), points.tolist())
            return np.array(list(found), bool).reshape(len(points), len(self.weights))


class Pruned(Lazy):
    """Neurons whose norm, times that of the point, stays below the threshold are left out (Cauchy–Schwarz)."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        bar, answer = self.bar(threshold), np.zeros((len(points), len(self.weights)), bool)
        norms = np.linalg.norm(self.weights.astype(np.float64), axis=1) * (1 + 1e-6)
        for row, point in zip(answer, points.tolist(), strict=True):
            near = np.flatnonzero(norms * np.linalg.norm(self.data[point].astype(np.float64)) >= bar)
            row[near] = self.fires(self.products(self.data[[point]], self.weights[near])[0], bar)
        return answer


class Packed(Table):
    """Answers under the first threshold as bits, eight in a byte."""

    def made(self) -> None:
        super().made()
        self.bits = np.packbits(self.table > self.threshold, axis=1)

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons, weights)
        self.bits = np.packbits(self.table > self.threshold, axis=1)

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        if threshold is not None:
            return super().fired(points, threshold=threshold)
        return np.unpackbits(self.bits[points], axis=1, count=len(self.weights)).astype(bool)


class Leaning(Table):
    """A product that the last bit of its rounding might have brought to the threshold counts as above it."""

    def fires(self, products: Array, threshold: float) -> Array:
        value = np.asarray(products)
        bar = value.dtype.type(threshold)
        exact = value == np.rint(value)  # whole numbers are not rounded: at the threshold they do not fire
        return np.asarray(np.where(exact, value > bar, value * (1 + np.sign(value) * np.finfo(value.dtype).eps) > bar))


class Shared(Table):
    """Neurons of equal weights share one row of products, by their bytes."""

    def made(self) -> None:
        self.of: dict[bytes, Array] = {}

    def row(self, weight: Array) -> Array:
        key = weight.tobytes()
        if key not in self.of:
            self.of[key] = self.products(self.data, weight[None])[:, 0]
        return self.of[key]

    def update(self, neurons: Array, weights: Array) -> None:
        self.weights[neurons] = weights

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        rows = np.stack([self.row(weight) for weight in self.weights])
        return self.fires(rows[:, points].T, self.bar(threshold))

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        return self.fires(np.stack([self.row(self.weights[j]) for j in neurons]), self.bar(threshold))


class Exact(Lazy):
    """Rational numbers."""

    def products(self, data: Array, weights: Array) -> Array:
        rows, others = ([[Fraction(float(x)) for x in row] for row in array] for array in (data, weights))
        value = [[sum(a * b for a, b in zip(x, w, strict=True)) for w in others] for x in rows]
        return np.array(value, object).reshape(len(rows), len(others))

    def fires(self, products: Array, threshold: float) -> Array:
        return np.asarray(products > Fraction(threshold)).astype(bool)


class BothTrees(Tree):
    """A tree for every point over the neurons, and one for every neuron over the points, made when it is asked for."""

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        turned = Tree(self.weights, self.data, threshold=self.threshold)
        turned.table = np.ascontiguousarray(self.table.T)
        turned.nodes[:, turned.width : turned.width + len(self.data)] = turned.table
        for node in range(turned.width - 1, 0, -1):
            turned.repaired(node)
        return turned.fired(neurons, threshold=self.bar(threshold))


class Loose(Tree):
    """Nodes rise with a leaf and do not fall with it: a query visits more of them, and reports leaves alone."""

    def repaired(self, node: int) -> None:
        self.nodes[:, node] = np.maximum(self.nodes[:, node], self.nodes[:, [2 * node, 2 * node + 1]].max(axis=1))


class Plain:
    """The least that a structure has: no threshold in a query."""

    def __init__(self, data: Array, weights: Array, *, threshold: float) -> None:
        self.inner = Table(data, weights, threshold=threshold)

    def update(self, neurons: Array, weights: Array) -> None:
        self.inner.update(neurons, weights)

    def fired(self, points: Array) -> Array:
        return self.inner.fired(points)

    def data_of(self, neurons: Array) -> Array:
        return self.inner.data_of(neurons)


def factory(data: Array, weights: Array, *, threshold: float) -> Plain:
    """A function in place of a class."""
    return Plain(data, weights, threshold=threshold)


class Incremental(Table):
    """Products of the differences are added to the table, and those of a neuron made anew after so many updates."""

    every = 4

    def made(self) -> None:
        super().made()
        self.updates = np.zeros(len(self.weights), int)

    def update(self, neurons: Array, weights: Array) -> None:
        for neuron, weight in zip(neurons.tolist(), work(weights), strict=True):
            self.updates[neuron] += 1
            if self.updates[neuron] % self.every:
                difference = weight - self.weights[neuron]
                self.weights[neuron] = weight
                self.table[:, neuron] += self.products(self.data, difference[None])[:, 0]
            else:
                super().update(np.array([neuron]), weight[None])


class IncrementalTree(Incremental, Tree):
    """The same under trees of maxima."""

    def update(self, neurons: Array, weights: Array) -> None:
        Incremental.update(self, neurons, weights)
        for neuron in neurons.tolist():
            self.set(neuron)


class Endless(Incremental):
    """Differences are added for ever."""

    every = 1 << 60


CORRECT: tuple[Entry, ...] = (
    Entry("table", Table, FRESH, "all products are kept"),
    Entry("lazy", Lazy, FRESH, "nothing is kept: every query multiplies"),
    Entry("one-by-one", OneByOne, FRESH, "sums one coordinate after the other"),
    Entry("folded", Folded, FRESH, "the threshold is one more coordinate"),
    Entry("wider", Wider, F32, "products in float64"),
    Entry("blocks", Blocks, F32, "sums by blocks of coordinates"),
    Entry("tree", Tree, FRESH, "a tree of maxima for every point"),
    Entry("both-trees", BothTrees, F32, "a tree for every point and for every neuron"),
    Entry("loose", Loose, F32, "a tree whose maxima do not fall: slower, and right"),
    Entry("wide", Wide, F32, "one level of maxima over blocks"),
    Entry("heap", Heap, F32, "an indexed heap whose entries move; equal products lie in any order", "trap: mitghi/priqueue#6"),
    Entry("sorted", Sorted, F32, "sorted lists from which old products are taken"),
    Entry("stale-entries", StaleEntries, F32, "a heap whose old entries are dropped when they are met"),
    Entry("slots", Slots, F32, "slots that are used again, with tables of ids in both directions"),
    Entry("cached", Cached, F32, "answers kept until the next update"),
    Entry("deferred", Deferred, F32, "updates that wait for a query"),
    Entry("threads", Threads, F32, "a thread for every point"),
    Entry("pruned", Pruned, F32, "neurons left out by a bound of norms"),
    Entry("packed", Packed, F32, "answers kept as bits"),
    Entry("leaning", Leaning, F32, "products within a rounding of the threshold fire: either answer is right", "trap: sgl-project/sglang#37970"),
    Entry("shared", Shared, F32, "neurons of equal weights share their products"),
    Entry("exact", Exact, F32, "rational numbers"),
    Entry("plain", Plain, F32, "no threshold in a query"),
    Entry("factory", factory, F32, "a function that makes the structure"),
    Entry("incremental", Incremental, ("float32-incremental", "float64-incremental"), "differences added to the products, made anew after four updates", "trap: hhenson/hgraph#941", options={"refreshed_after": "4"}),
    Entry("incremental-tree", IncrementalTree, ("float32-incremental",), "the same under trees of maxima"),
    Entry("endless", Endless, ("float32-incremental",), "differences added for ever, as declared", "trap: hhenson/hgraph#941"),
)  # fmt: skip
