"""Correct structures of unusual design: other orders, other storage, and what is kept is kept rightly."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from bank.entry import Entry
from bank.firing_neurons.engine import Array, Table, work

__all__ = ["DESIGNS"]

F32 = ("float32",)


class Scanned(Table):
    """Nothing but the weights is kept; ``products`` says how a query multiplies."""

    def made(self) -> None:
        pass

    def update(self, neurons: Array, weights: Array) -> None:
        self.weights[neurons] = weights

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        return self.fires(self.products(self.data[points], self.weights), self.bar(threshold))

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        return self.fires(self.products(self.data, self.weights[neurons]).T, self.bar(threshold))


class Versioned(Table):
    """Answers are kept under all that was asked and the number of updates."""

    def made(self) -> None:
        super().made()
        self.version, self.kept = 0, {}  # type: ignore[var-annotated]

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons, weights)
        self.version += 1

    def once(self, method: Any, ids: Array, threshold: float | None) -> Array:
        key = method.__name__, ids.tobytes(), self.bar(threshold), self.version
        if key not in self.kept:
            self.kept[key] = method(ids, threshold=threshold)
        return np.array(self.kept[key])

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        return self.once(super().fired, points, threshold)

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        return self.once(super().data_of, neurons, threshold)


class FromThreshold(Scanned):
    """The sum begins at the negative threshold, and its sign is the answer."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        return self.positive(self.data[points], self.weights, threshold)

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        return self.positive(self.weights[neurons], self.data, threshold)

    def positive(self, rows: Array, columns: Array, threshold: float | None) -> Array:
        total = np.full((len(rows), len(columns)), -self.bar(threshold), rows.dtype)
        for k in range(rows.shape[1]):
            total += rows[:, k, None] * columns[:, k]
        return total > 0


class Coordinates(Scanned):
    """Numbers are stored by coordinate, and multiplied by einsum."""

    def products(self, data: Array, weights: Array) -> Array:
        return np.einsum("ci,cj->ij", np.array(data.T, order="C"), np.asfortranarray(weights.T))


class TwoOrders(Scanned):
    """Either side sums in an order of its own."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        x = self.data[points][:, None, ::-1] * self.weights[None, :, ::-1]
        return self.fires(np.cumsum(x, axis=2)[:, :, -1], self.bar(threshold))

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        x = self.weights[neurons][:, None] * self.data[None]
        return self.fires(np.cumsum(x, axis=2)[:, :, -1], self.bar(threshold))


class IntegerKeys(Table):
    """Products and thresholds as integers in the order of the numbers; −0 is made 0 first."""

    def products(self, data: Array, weights: Array) -> Array:
        return self.key(super().products(data, weights))

    def key(self, x: Array) -> Array:
        bits = (np.asarray(x, np.float32) + np.float32(0)).view(np.int32)
        return np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)

    def fires(self, products: Array, threshold: float) -> Array:
        return np.asarray(products > self.key(np.array(threshold, np.float32)))


class Scaled(Scanned):
    """The weights of a neuron and the threshold are divided by a power of two that is near their largest."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        return self.over(self.data[points], self.weights, threshold)

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        return self.over(self.data, self.weights[neurons], threshold).T

    def over(self, data: Array, weights: Array, threshold: float | None) -> Array:
        power = -np.frexp(np.abs(weights).max(axis=1))[1]
        return data @ np.ldexp(weights, power[:, None]).T > np.ldexp(float(self.bar(threshold)), power)


class Tuples(Scanned):
    """Rows that are never changed, in a tuple that is made anew; answers are views of turned arrays."""

    def made(self) -> None:
        self.rows = tuple(map(tuple, self.weights.tolist()))

    def update(self, neurons: Array, weights: Array) -> None:
        new = dict(zip(neurons.tolist(), map(tuple, weights.tolist()), strict=True))
        self.rows = tuple(new.get(k, row) for k, row in enumerate(self.rows))
        self.weights = np.array(self.rows, self.weights.dtype)


class FullSums(Scanned):
    """Sums that are rounded once."""

    def products(self, data: Array, weights: Array) -> Array:
        if len(data) * len(weights) > 2000:
            return super().products(data, weights)
        sums = [math.fsum(x * w) for x in data.astype(np.float64) for w in weights.astype(np.float64)]
        return np.array(sums).reshape(len(data), len(weights))


class Both(Table):
    """Both bounds of norms are used, and products only between them."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        norms = [np.linalg.norm(x.astype(np.float64), axis=1) for x in (self.data[points], self.weights)]
        reach = np.outer(*norms) * (1 + 1e-6)
        answer = super().fired(points, threshold=threshold)
        return (answer & (reach > self.bar(threshold))) | (-reach > self.bar(threshold))


class RunningMargins(Table):
    """Margins and weights move by the same differences, and everything is made anew at every fifth update."""

    def made(self) -> None:
        self.count = 0
        self.table = self.products(self.data, self.weights) - self.weights.dtype.type(self.threshold)

    def update(self, neurons: Array, weights: Array) -> None:
        difference = work(weights) - self.weights[neurons]
        self.weights[neurons] += difference
        self.table[:, neurons] += self.products(self.data, difference)
        self.count += 1
        if self.count % 5 == 0:
            self.table = self.products(self.data, self.weights) - self.weights.dtype.type(self.threshold)

    def bar(self, threshold: float | None) -> float:
        kind = self.weights.dtype.type
        return 0.0 if threshold is None else kind(threshold) - kind(self.threshold)


def shortened(kind: Any) -> type[Table]:
    """A structure whose numbers, stored products and thresholds are of a short type; sums are in float32."""

    class Shortened(Table):
        def products(self, data: Array, weights: Array) -> Array:
            x, w = (x.astype(kind).astype(np.float32) for x in (data, weights))
            with np.errstate(over="ignore"):
                return (x @ w.T).astype(kind).astype(np.float32)

        def fires(self, products: Array, threshold: float) -> Array:
            with np.errstate(over="ignore"):
                return np.asarray(products > np.float32(kind(threshold)))

    return Shortened


class Truncated(Scanned):
    """Inputs are cut to ten bits, as TF32 units cut them."""

    def products(self, data: Array, weights: Array) -> Array:
        x, w = (
            (np.ascontiguousarray(x, np.float32).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
            for x in (data, weights)
        )
        return x @ w.T


DESIGNS: tuple[Entry, ...] = (
    Entry("versioned", Versioned, F32, "answers kept under the number of updates"),
    Entry("from-threshold", FromThreshold, ("float32", "float64"), "a sum that begins at the negative threshold"),
    Entry("coordinates", Coordinates, F32, "turned storage"),
    Entry("two-orders", TwoOrders, F32, "either side in its own order"),
    Entry("integer-keys", IntegerKeys, F32, "numbers compared as integers"),
    Entry("scaled", Scaled, F32, "rows and thresholds over powers of two"),
    Entry("tuples", Tuples, F32, "rows that are never changed"),
    Entry("full-sums", FullSums, ("float64", "float32"), "sums rounded once"),
    Entry("both-bounds", Both, F32, "bounds of norms from both sides"),
    Entry("running-margins", RunningMargins, ("float32-incremental",), "margins that move, made anew after five updates of any", options={"refreshed_after": "5"}),
    Entry("in-bfloat16", shortened(ml_dtypes.bfloat16), ("bfloat16",), "numbers and products in bfloat16"),
    Entry("in-float16", shortened(np.float16), ("float16",), "numbers and products in float16"),
    Entry("in-tf32", Truncated, ("tf32",), "inputs cut to ten bits"),
)  # fmt: skip
