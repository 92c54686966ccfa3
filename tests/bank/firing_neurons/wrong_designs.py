"""Wrong structures of unusual design: stale answers under poor keys, updates taken for none, numbers too short."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from bank.entry import Entry
from bank.firing_neurons.designs import IntegerKeys, RunningMargins, Versioned
from bank.firing_neurons.engine import Array, Table

__all__ = ["WRONG_DESIGNS"]

F32 = ("float32",)
NEW = "assay's bank"


def keyed(key: Any) -> type[Table]:
    """Answers are kept under key(structure, method, ids, threshold)."""

    class Keyed(Versioned):
        def once(self, method: Any, ids: Array, threshold: float | None) -> Array:
            at = key(self, method.__name__, ids, self.bar(threshold))
            if at not in self.kept:
                self.kept[at] = method(ids, threshold=threshold)
            return np.array(self.kept[at])

    return Keyed


def unless(alike: Any) -> type[Table]:
    """The rows of an update are left out that are alike(new, old) to those that they would replace."""

    class Unless(Table):
        def update(self, neurons: Array, weights: Array) -> None:
            new = ~alike(np.asarray(weights), self.weights[neurons])
            if new.any():
                super().update(neurons[new], np.asarray(weights)[new])

    return Unless


def named(kind: Any, of_update: bool = False, of_points: bool = False, of_neurons: bool = False) -> type[Table]:
    """Ids pass through a short type."""

    class Named(Table):
        def update(self, neurons: Array, weights: Array) -> None:
            super().update(neurons.astype(kind) if of_update else neurons, weights)

        def fired(self, points: Array, *, threshold: float | None = None) -> Array:
            return super().fired(points.astype(kind) if of_points else points, threshold=threshold)

        def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
            return super().data_of(neurons.astype(kind) if of_neurons else neurons, threshold=threshold)

    return Named


def kept_threshold(change: Any) -> type[Table]:
    """The threshold that the structure is made with is changed, and those of queries are not."""

    class KeptThreshold(Table):
        def made(self) -> None:
            super().made()
            self.threshold = float(change(self.threshold))

    return KeptThreshold


class KeptByNeuron(Versioned):
    """An update drops the answers on just the neurons that it names."""

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons, weights)
        self.version = 0
        self.kept = {k: v for k, v in self.kept.items() if k[0] == "data_of" and k[1] != neurons.tobytes()}


class NoZeroRows(Table):
    """A row of zeros is taken for none, and is never reported."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        there = self.data[points].any(axis=1)[:, None] & self.weights.any(axis=1)
        return super().fired(points, threshold=threshold) & there

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        there = self.weights[neurons].any(axis=1)[:, None] & self.data.any(axis=1)
        return super().data_of(neurons, threshold=threshold) & there


class NoZeroData(Table):
    """A data point of zeros is taken for none."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        return super().fired(points, threshold=threshold) & self.data[points].any(axis=1)[:, None]


class TiesOfPoints(Table):
    """Ties fire among the neurons of a point alone."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        return np.asarray(self.table[points] >= self.bar(threshold))


class TiesOfNeurons(Table):
    """Ties fire among the points of a neuron alone."""

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        return np.asarray(self.bar(threshold) <= self.table[:, neurons].T)


class TiesOfQueries(Table):
    """Ties fire at the threshold of a query alone."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        return super().fired(points) if threshold is None else np.asarray(self.table[points] >= threshold)


class IgnoredOfPoints(Table):
    """The threshold of a query is ignored on one side."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        return super().fired(points)


class IgnoredOfNeurons(Table):
    """The threshold of a query is ignored on the other side."""

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        return super().data_of(neurons)


class StickyAcross(Table):
    """The threshold of a query of points is kept for those of neurons."""

    last: float | None = None

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        self.last = self.last if threshold is None else threshold
        return super().fired(points, threshold=threshold)

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        return super().data_of(neurons, threshold=self.last if threshold is None else threshold)


class Largest(Table):
    """The larger of two thresholds is used."""

    def bar(self, threshold: float | None) -> float:
        return self.threshold if threshold is None else max(threshold, self.threshold)


class FirstRow(Table):
    """All neurons of a batch get the weights of its first row."""

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons, np.repeat(weights[:1], len(neurons), axis=0))


class EightOfBatch(Table):
    """Eight neurons of a batch are updated."""

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons[:8], weights[:8])


class LastCall(Table):
    """An update that waits for a query is replaced by the next one."""

    waiting: Any = None

    def update(self, neurons: Array, weights: Array) -> None:
        self.waiting = np.array(neurons), np.array(weights)

    def settle(self) -> None:
        if self.waiting is not None:
            super().update(*self.waiting)
        self.waiting = None

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        self.settle()
        return super().fired(points, threshold=threshold)

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        self.settle()
        return super().data_of(neurons, threshold=threshold)


class FirstCall(Table):
    """Of the updates of a neuron that wait for a query the first one wins."""

    def made(self) -> None:
        super().made()
        self.waiting: dict[int, Array] = {}

    def update(self, neurons: Array, weights: Array) -> None:
        for neuron, row in zip(neurons.tolist(), weights, strict=True):
            self.waiting.setdefault(neuron, np.array(row))

    def settle(self) -> None:
        for neuron, row in self.waiting.items():
            super().update(np.array([neuron]), row[None])
        self.waiting.clear()

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        self.settle()
        return super().fired(points, threshold=threshold)

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        self.settle()
        return super().data_of(neurons, threshold=threshold)


class SharedMarks(Table):
    """Either side brings its own table up to date, and the marks of what changed are shared."""

    def made(self) -> None:
        super().made()
        self.turned, self.marked = self.table.T.copy(), set()  # type: ignore[var-annotated]

    def update(self, neurons: Array, weights: Array) -> None:
        self.weights[neurons] = weights
        self.marked |= set(neurons.tolist())

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        for neuron in self.marked:
            self.table[:, neuron] = self.data @ self.weights[neuron]
        self.marked = set()
        return super().fired(points, threshold=threshold)

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        for neuron in self.marked:
            self.turned[neuron] = self.data @ self.weights[neuron]
        self.marked = set()
        return self.fires(self.turned[neurons], self.bar(threshold))


class MarksOfSome(Table):
    """A query brings its own points up to date, and takes the marks off for all."""

    def made(self) -> None:
        super().made()
        self.marked: set[int] = set()

    def update(self, neurons: Array, weights: Array) -> None:
        self.weights[neurons] = weights
        self.marked |= set(neurons.tolist())

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        for neuron in self.marked:
            self.table[points, neuron] = self.data[points] @ self.weights[neuron]
        self.marked = set()
        return super().fired(points, threshold=threshold)


class OneRowStale(Table):
    """A query of a single neuron takes another way, with the first weights."""

    def made(self) -> None:
        super().made()
        self.first = self.table.copy()

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        if len(neurons) == 1:
            return self.fires(self.first[:, neurons].T, self.bar(threshold))
        return super().data_of(neurons, threshold=threshold)


class MinusZero(IntegerKeys):
    """Integers in the order of the numbers, of which −0 is below 0."""

    def key(self, x: Array) -> Array:
        bits = np.asarray(x, np.float32).view(np.int32)
        return np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)


class BitsInOrder(IntegerKeys):
    """The bits of numbers are compared as they are, and negative ones are in reverse order."""

    def key(self, x: Array) -> Array:
        return (np.asarray(x, np.float32) + np.float32(0)).view(np.int32)


class ShortIntegers(Table):
    """Whole numbers are multiplied in sixteen bits."""

    def products(self, data: Array, weights: Array) -> Array:
        if all((x == np.trunc(x)).all() and np.abs(x).max(initial=0) < 200 for x in (data, weights)):
            x, w = (x.astype(np.int16) for x in (data, weights))
            return (x[:, None] * w[None]).sum(axis=2, dtype=np.int16).astype(np.float32)
        return super().products(data, weights)


class Squares(Table):
    """A bound of norms, whose squares are flushed to zero."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        with np.errstate(all="ignore"):
            x, w = ((x**2).sum(axis=1) for x in (self.data[points], self.weights))
            reach = np.sqrt(x)[:, None] * np.sqrt(w)
        return super().fired(points, threshold=threshold) & (reach >= self.bar(threshold))


class ShortProducts(Table):
    """Products are stored in float16: they are rounded, and overflow."""

    def products(self, data: Array, weights: Array) -> Array:
        with np.errstate(over="ignore"):
            return super().products(data, weights).astype(np.float16).astype(np.float32)


class ShortUpdates(Table):
    """New weights pass through bfloat16, and the first ones do not."""

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons, weights.astype(ml_dtypes.bfloat16).astype(np.float32))


class FromFirst(RunningMargins):
    """The difference of an update is taken from the first weights."""

    def update(self, neurons: Array, weights: Array) -> None:
        self.first = getattr(self, "first", self.weights.copy())
        self.table[:, neurons] += self.products(self.data, weights - self.first[neurons])


class SharedThreshold(Table):
    """The threshold of a query stands where queries of all threads read it."""

    of_query: ClassVar[list[float]] = [0.0]

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        self.of_query[0] = self.bar(threshold)
        time.sleep(1e-5)  # another thread has its turn
        return self.fires(self.table[points], self.of_query[0])


def _close(new: Array, old: Array) -> Array:
    return np.isclose(new, old, rtol=1e-2, atol=0).all(axis=1)


def _very_close(new: Array, old: Array) -> Array:
    return np.isclose(new, old, rtol=1e-4, atol=0).all(axis=1)


def _same_norm(new: Array, old: Array) -> Array:
    return np.isclose(*((x.astype(np.float64) ** 2).sum(axis=1) for x in (new, old)), rtol=1e-6, atol=0)


WRONG_DESIGNS: tuple[Entry, ...] = (
    # kept answers
    Entry("keyed-without-order", keyed(lambda s, k, i, b: (k, tuple(sorted(i)), b, s.version)), F32, "an answer is kept for its ids in any order", NEW),
    Entry("keyed-by-ends", keyed(lambda s, k, i, b: (k, len(i), i[0], i[-1], b, s.version)), F32, "an answer is kept under its first and last id", NEW),
    Entry("keyed-by-sum", keyed(lambda s, k, i, b: (k, len(i), int(i.sum()), b, s.version)), F32, "an answer is kept under the sum of its ids", NEW),
    Entry("keyed-without-side", keyed(lambda s, k, i, b: (i.tobytes(), b, s.version, len(s.data) == len(s.weights) or k)), F32, "both sides keep answers in one place", NEW),
    Entry("keyed-by-rounded-threshold", keyed(lambda s, k, i, b: (k, i.tobytes(), round(float(b), 2), s.version)), F32, "thresholds that differ little are one key", NEW),
    Entry("keyed-by-three-bits", keyed(lambda s, k, i, b: (k, i.tobytes(), b, s.version % 8)), F32, "the number of updates is kept in three bits", NEW),
    Entry("keyed-by-total", keyed(lambda s, k, i, b: (k, i.tobytes(), b, float(np.sort(s.weights, axis=None).astype(np.float64).sum()))), F32, "the sum of all weights tells whether they changed", NEW),
    Entry("keyed-by-norm", keyed(lambda s, k, i, b: (k, i.tobytes(), b, float((np.sort(np.abs(s.weights), axis=None).astype(np.float64) ** 2).sum()))), F32, "the norm of all weights tells whether they changed", NEW),
    Entry("kept-of-neurons", keyed(lambda s, k, i, b: (k, i.tobytes(), b, s.version if k == "fired" else 0)), F32, "answers of one side are kept through updates", NEW, diagnosis="answers on the points of a neuron are kept"),
    Entry("kept-by-neuron", KeptByNeuron, F32, "an update drops the answers on just its neurons", NEW),
    # updates that are taken for none
    Entry("unless-close", unless(_close), F32, "a change of a hundredth is lost", NEW, diagnosis="small change"),
    Entry("unless-very-close", unless(_very_close), F32, "a change of a ten-thousandth is lost", NEW),
    Entry("unless-same-norm", unless(_same_norm), F32, "weights of the same norm are taken for the same", NEW),
    Entry("unless-same-set", unless(lambda new, old: (np.sort(new, axis=1) == np.sort(old, axis=1)).all(axis=1)), F32, "weights in another order are taken for the same", NEW, diagnosis="changed their order alone"),
    Entry("unless-negated", unless(lambda new, old: (np.abs(new) == np.abs(old)).all(axis=1)), F32, "weights of other signs are taken for the same", NEW, diagnosis="changed their signs alone"),
    Entry("unless-all-change", unless(lambda new, old: (new == old).any(axis=1)), F32, "a row of which a coordinate stays is taken for the same", NEW),
    Entry("unless-zero", unless(lambda new, old: ~new.any(axis=1)), F32, "new weights that are all 0 are not taken", NEW, diagnosis="all 0 are not taken"),
    Entry("no-zero-rows", NoZeroRows, F32, "rows of zeros are taken for none", NEW, diagnosis="rows of zeros"),
    Entry("no-zero-data", NoZeroData, F32, "data points of zeros are taken for none", NEW),
    # batches and what waits
    Entry("first-row", FirstRow, F32, "all neurons of a batch get its first row", NEW, diagnosis="the weights of the first"),
    Entry("eight-of-batch", EightOfBatch, F32, "eight neurons of a batch are updated", NEW),
    Entry("last-call", LastCall, F32, "of waiting updates the last call is carried out", NEW, diagnosis="last call alone"),
    Entry("first-call", FirstCall, F32, "of waiting updates of a neuron the first is carried out", NEW, diagnosis="first is carried out"),
    Entry("shared-marks", SharedMarks, F32, "both sides share the marks of what changed", NEW),
    Entry("marks-of-some", MarksOfSome, F32, "a query takes the marks off of points that it was not asked for", NEW),
    Entry("one-row-stale", OneRowStale, F32, "a query of one neuron takes another way", NEW),
    # ids
    Entry("points-in-seven-bits", named(np.int8, of_points=True), F32, "points in int8", NEW),
    Entry("points-in-eight-bits", named(np.uint8, of_points=True), F32, "points in uint8", NEW),
    Entry("neurons-in-eight-bits", named(np.uint8, of_update=True), F32, "updated neurons in uint8", NEW),
    Entry("asked-neurons-in-eight-bits", named(np.uint8, of_neurons=True), F32, "neurons of a query in uint8", NEW),
    # thresholds
    Entry("ties-of-points", TiesOfPoints, F32, "ties fire on one side", NEW, diagnosis="fires among the neurons of a point"),
    Entry("ties-of-neurons", TiesOfNeurons, F32, "ties fire on the other side", NEW, diagnosis="fires among the points of a neuron"),
    Entry("ties-of-queries", TiesOfQueries, F32, "ties fire at the threshold of a query", NEW),
    Entry("ignored-of-points", IgnoredOfPoints, F32, "one side ignores the threshold of a query", NEW, diagnosis="ignored for the neurons of a point"),
    Entry("ignored-of-neurons", IgnoredOfNeurons, F32, "the other side ignores the threshold of a query", NEW, diagnosis="ignored for the points of a neuron"),
    Entry("sticky-across", StickyAcross, F32, "the threshold of a query is kept for the other side", NEW),
    Entry("largest-threshold", Largest, F32, "the larger threshold is used", NEW),
    Entry("short-threshold", kept_threshold(ml_dtypes.bfloat16), F32, "the threshold of the structure is kept in bfloat16", NEW),
    Entry("threshold-in-float32", kept_threshold(np.float32), ("float64",), "the threshold of the structure is kept in float32", NEW),
    Entry("shared-threshold", SharedThreshold, F32, "queries of all threads read one threshold", NEW),
    # numbers
    Entry("minus-zero", MinusZero, F32, "0 is above −0", NEW),
    Entry("bits-in-order", BitsInOrder, F32, "bits of negative numbers are compared as they are", NEW),
    Entry("short-integers", ShortIntegers, F32, "whole numbers are multiplied in sixteen bits", NEW),
    Entry("flushed-squares", Squares, F32, "squares of norms are flushed to zero", NEW),
    Entry("short-products", ShortProducts, F32, "products are stored in float16", NEW),
    Entry("short-updates", ShortUpdates, F32, "new weights pass through bfloat16", NEW),
    Entry("from-first", FromFirst, ("float32-incremental",), "differences are taken from the first weights", NEW),
)  # fmt: skip
