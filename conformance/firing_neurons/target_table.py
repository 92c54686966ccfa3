"""Structures of NumPy, torch, sorted lists and heaps: what people write who keep products between updates."""

from __future__ import annotations

import heapq
import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["BOTH_THRESHOLDS", "heaps", "numpy_scan", "numpy_table", "sorted_lists", "torch_table"]

#: The keywords of a structure whose queries take a threshold of their own.
BOTH_THRESHOLDS = frozenset({"threshold", "fired.threshold", "data_of.threshold"})


def numpy_table(name: str) -> Kernel:
    return Kernel(name, Table, keywords=BOTH_THRESHOLDS, version=np.__version__)


def numpy_scan(name: str) -> Kernel:
    return Kernel(name, Scan, keywords=BOTH_THRESHOLDS, version=np.__version__)


def heaps(name: str) -> Kernel:
    return Kernel(name, Heaps, keywords=BOTH_THRESHOLDS)


def sorted_lists(name: str) -> Kernel:
    importlib.import_module("sortedcontainers")
    version = importlib.metadata.version("sortedcontainers")
    return Kernel(name, SortedLists, keywords=BOTH_THRESHOLDS, version=version)


def torch_table(name: str) -> Kernel:
    torch = importlib.import_module("torch")
    return Kernel(name, TorchTable, "torch", BOTH_THRESHOLDS, version=torch.__version__)


def _wide(x: Array) -> Array:
    """Short types are multiplied in float32, because NumPy has no product of them."""
    return np.array(x, x.dtype if x.dtype in (np.float64, np.float32) else np.float32)


class Table:
    """All products are kept; an update multiplies anew."""

    def __init__(self, data: Array, weights: Array, *, threshold: float) -> None:
        self.data, self.weights, self.threshold = _wide(data), _wide(weights), threshold
        self.products = self.data @ self.weights.T

    def update(self, neurons: Array, weights: Array) -> None:
        self.weights[neurons] = weights
        self.products[:, neurons] = self.data @ self.weights[neurons].T

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        fires: Array = self.products[points] > (self.threshold if threshold is None else threshold)
        return fires

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        bar = self.threshold if threshold is None else threshold
        products = self.products[:, neurons].T
        return np.asarray(products > bar)


class Scan:
    """Nothing is kept but the weights: a query multiplies."""

    def __init__(self, data: Array, weights: Array, *, threshold: float) -> None:
        self.data, self.weights, self.threshold = _wide(data), _wide(weights), threshold

    def update(self, neurons: Array, weights: Array) -> None:
        self.weights[neurons] = weights

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        fires: Array = self.data[points] @ self.weights.T > (self.threshold if threshold is None else threshold)
        return fires

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        fires: Array = self.weights[neurons] @ self.data.T > (self.threshold if threshold is None else threshold)
        return fires


class SortedLists(Table):
    """For every point a list of (product, neuron) that ``sortedcontainers`` keeps in order."""

    def __init__(self, data: Array, weights: Array, *, threshold: float) -> None:
        from sortedcontainers import SortedList

        super().__init__(data, weights, threshold=threshold)
        self.lists = [SortedList(zip(row, range(len(row)), strict=True)) for row in self.products.tolist()]

    def update(self, neurons: Array, weights: Array) -> None:
        before = self.products[:, neurons].tolist()
        super().update(neurons, weights)
        after = self.products[:, neurons].tolist()
        for entries, old, new in zip(self.lists, before, after, strict=True):
            for neuron, value, other in zip(neurons.tolist(), old, new, strict=True):
                entries.remove((value, neuron))
                entries.add((other, neuron))

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        answer = np.zeros((len(points), len(self.weights)), bool)
        bar = float(self.products.dtype.type(self.threshold if threshold is None else threshold))
        for row, point in zip(answer, points.tolist(), strict=True):
            row[[neuron for _, neuron in self.lists[point].irange((bar, np.inf))]] = True
        return answer


class Heaps(Table):
    """For every point a heap of ``heapq``, in which old entries stay until they come to the top, as it documents."""

    def __init__(self, data: Array, weights: Array, *, threshold: float) -> None:
        super().__init__(data, weights, threshold=threshold)
        self.versions = [0] * len(self.weights)
        self.heaps = [[(-value, neuron, 0) for neuron, value in enumerate(row)] for row in self.products.tolist()]
        for heap in self.heaps:
            heapq.heapify(heap)

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons, weights)
        for neuron in neurons.tolist():
            self.versions[neuron] += 1
            for heap, value in zip(self.heaps, self.products[:, neuron].tolist(), strict=True):
                heapq.heappush(heap, (-value, neuron, self.versions[neuron]))

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        answer = np.zeros((len(points), len(self.weights)), bool)
        bar = float(self.products.dtype.type(self.threshold if threshold is None else threshold))
        for row, point in zip(answer, points.tolist(), strict=True):
            heap, kept = self.heaps[point], []
            while heap and -heap[0][0] > bar:
                entry = heapq.heappop(heap)
                if entry[2] == self.versions[entry[1]]:
                    kept.append(entry)
            row[[neuron for _, neuron, _ in kept]] = True
            for entry in kept:
                heapq.heappush(heap, entry)
        return answer


class TorchTable:
    """All products in a tensor, in the type of the arrays."""

    def __init__(self, data: Any, weights: Any, *, threshold: float) -> None:
        self.data, self.weights, self.threshold = data.clone(), weights.clone(), threshold
        self.products = self.data @ self.weights.T

    def update(self, neurons: Any, weights: Any) -> None:
        self.weights[neurons] = weights
        self.products[:, neurons] = self.data @ weights.T

    def fired(self, points: Any, *, threshold: float | None = None) -> Any:
        return self.products[points] > (self.threshold if threshold is None else threshold)

    def data_of(self, neurons: Any, *, threshold: float | None = None) -> Any:
        bar = self.threshold if threshold is None else threshold
        products = self.products[:, neurons].T
        return products > bar
