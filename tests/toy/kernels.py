"""Kernels of the toy problems, right and wrong, that another process finds by their names."""

from __future__ import annotations

from typing import Any

import numpy as np

from assay.conformance.interface.kernel import Kernel

Array = np.ndarray[Any, Any]


def doubled(points: Array, *, factor: float = 2.0) -> tuple[Array, Array]:
    y = points * points.dtype.type(factor)
    return y, np.asarray(y.sum(), points.dtype)


def ignores_the_factor(points: Array, *, factor: float = 2.0) -> tuple[Array, Array]:
    return doubled(points)


def built_in() -> Kernel:
    return Kernel("toy:doubling", doubled, keywords=frozenset({"factor"}))


class Products:
    """Every product is kept, and those of a neuron are made anew when its weight changes."""

    def __init__(self, data: Array, weights: Array, *, threshold: float) -> None:
        self.data, self.threshold = data.copy(), threshold
        self.products = np.outer(data, weights)

    def update(self, weight: Array, *, neuron: int) -> None:
        self.products[:, neuron] = self.data * weight

    def fired(self, *, point: int) -> Array:
        return self.products[point] > self.threshold


class LosesUpdates(Products):
    def update(self, weight: Array, *, neuron: int) -> None:
        pass


def chained(numbers: Array, *, adder: Any, most: int = 4) -> Array:
    total = adder(numbers[:most])
    for start in range(most, len(numbers), most - 1):
        total = adder(np.concatenate([total, numbers[start : start + most - 1]]))
    return total


def asks_for_all(numbers: Array, *, adder: Any) -> Array:
    return adder(numbers)


def asks_for_all_and_goes_on(numbers: Array, *, adder: Any) -> Array:
    try:
        return adder(numbers)
    except Exception:
        return chained(numbers, adder=adder)


def loops(labels: Array, degrees: Array) -> tuple[Array, Array, Array]:
    return labels.copy(), labels.copy(), degrees.copy()


def through_floats(labels: Array, degrees: Array) -> tuple[Array, Array, Array]:
    return labels.astype(np.float64).astype(np.int64), labels.copy(), degrees.copy()
