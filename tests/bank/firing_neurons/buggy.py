"""Wrong structures: defects that shipped, and planted ones.  Each overrides a step of a right structure."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from bank.entry import Entry
from bank.firing_neurons.correct import Cached, Deferred, Incremental, Slots, Sorted, StaleEntries
from bank.firing_neurons.engine import Array, Heap, Table, Tree, Wide, work

__all__ = ["BUGGY"]

F32 = ("float32",)
NEW = "assay's bank"


def updating(change: Any, base: type[Table] = Table) -> type[Table]:
    """A structure that is handed another batch than it was given: change(structure, neurons, weights) → batch."""

    class Updating(base):  # type: ignore[valid-type,misc]
        def update(self, neurons: Array, weights: Array) -> None:
            super().update(*change(self, np.array(neurons), np.array(weights)))

    return Updating


def firing(change: Any, base: type[Table] = Table) -> type[Table]:
    """A structure that compares otherwise: change(products, threshold) → answers."""

    class Firing(base):  # type: ignore[valid-type,misc]
        def fires(self, products: Array, threshold: float) -> Array:
            return np.asarray(change(products, threshold))

    return Firing


def answering(change: Any, base: type[Table] = Table) -> type[Table]:
    """A structure whose ``fired`` is changed before it is returned: change(structure, points, answer) → answer."""

    class Answering(base):  # type: ignore[valid-type,misc]
        def fired(self, points: Array, *, threshold: float | None = None) -> Array:
            return np.asarray(change(self, points, super().fired(points, threshold=threshold)))

    return Answering


def multiplying(change: Any) -> type[Table]:
    """A structure of other products: change(data, weights) → (n, m)."""

    class Multiplying(Table):
        def products(self, data: Array, weights: Array) -> Array:
            with np.errstate(all="ignore"):
                return np.asarray(change(data, weights))

    return Multiplying


# --- updates ----------------------------------------------------------------------------------------------------------


class DirtyOnce(Deferred):
    """A query clears the mark of change, and no later update sets it again."""

    settled = False

    def settle(self) -> None:
        if not self.settled:
            super().settle()
        self.settled = self.settled or not self.waiting


class TwoCopies(Table):
    """An update adds a second entry under the same id: a query reports the id if any of them fires."""

    def made(self) -> None:
        super().made()
        self.copies = self.table.copy()

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons, weights)
        self.copies[:, neurons] = np.maximum(self.copies[:, neurons], self.table[:, neurons])

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        return self.fires(self.copies[points], self.bar(threshold))


class ComeBack(Table):
    """At every fifth update the first weights that a neuron ever had are found again."""

    def made(self) -> None:
        super().made()
        self.first, self.round = self.weights.copy(), 0

    def update(self, neurons: Array, weights: Array) -> None:
        self.round += 1
        super().update(neurons, self.first[neurons] if self.round % 5 == 0 else weights)


class ShiftedIds(Table):
    """An update takes a row out and puts it in at the end; the ids of the rows behind it move up."""

    def update(self, neurons: Array, weights: Array) -> None:
        for neuron, weight in zip(neurons.tolist(), work(weights), strict=True):
            self.weights = np.vstack([np.delete(self.weights, neuron, 0), weight])
        self.made()


class PositionAsId(Slots):
    """The row of the index is taken for the id."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        return self.fires(self.products(self.data[points], self.rows[: len(self.slot)]), self.bar(threshold))


class ForgottenRow(Slots):
    """A row that was taken out still stands in the table of ids of the neuron that had it: both are reported."""

    def update(self, neurons: Array, weights: Array) -> None:
        old = self.rows[[self.slot[neuron] for neuron in neurons.tolist()]].copy()
        super().update(neurons, weights)
        self.before = getattr(self, "before", {}) | dict(zip(neurons.tolist(), old, strict=True))

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        answer = super().fired(points, threshold=threshold)
        for neuron, weight in getattr(self, "before", {}).items():
            answer[:, neuron] |= self.fires(self.data[points] @ weight, self.bar(threshold))
        return answer


class NotShortened(Slots):
    """The table of ids grows with every update, and the last slots are read in place of the first."""

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons, weights)
        self.slot.insert(0, self.slot[-1])
        self.slot = self.slot[: len(self.weights)]


class StillDeleted(Table):
    """A neuron that stopped firing on every point is marked as deleted, and an update does not clear the mark."""

    def made(self) -> None:
        super().made()
        self.deleted = np.zeros(len(self.weights), bool)

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons, weights)
        self.deleted[neurons] |= ~self.fires(self.table[:, neurons], self.threshold).any(axis=0)

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        return super().fired(points, threshold=threshold) & ~self.deleted


class NotReindexed(Table):
    """The weights change and the products of ``fired`` do not; the other side multiplies anew."""

    def update(self, neurons: Array, weights: Array) -> None:
        self.weights[neurons] = weights

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        return self.fires(self.products(self.data, self.weights[neurons]).T, self.bar(threshold))


class StaleData(Table):
    """The side of the neurons keeps the answers of the first weights."""

    def made(self) -> None:
        super().made()
        self.turned = self.table.copy()

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        return self.fires(self.turned[:, neurons].T, self.bar(threshold))


class StaleUntilFired(StaleData):
    """The side of the neurons is brought up to date by the next query of the other side alone."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        self.turned = self.table.copy()
        return super().fired(points, threshold=threshold)


class NeverLower(Table):
    """A maximum is kept when a product becomes smaller."""

    def update(self, neurons: Array, weights: Array) -> None:
        before = self.table[:, neurons]
        super().update(neurons, weights)
        self.table[:, neurons] = np.maximum(before, self.table[:, neurons])


class NeverHigher(Table):
    """A minimum is kept when a product becomes larger."""

    def update(self, neurons: Array, weights: Array) -> None:
        before = self.table[:, neurons]
        super().update(neurons, weights)
        self.table[:, neurons] = np.minimum(before, self.table[:, neurons])


class FirstPointOnly(Table):
    """The products of a neuron are made anew with the first point alone."""

    def update(self, neurons: Array, weights: Array) -> None:
        self.weights[neurons] = weights
        self.table[:1, neurons] = self.products(self.data[:1], self.weights[neurons])


class RebuiltFromFirst(Table):
    """After three updates the table is made anew, of the weights with which it was made first."""

    def made(self) -> None:
        super().made()
        self.first, self.updates = self.weights.copy(), 0

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons, weights)
        self.updates += 1
        if self.updates % 3 == 0:
            self.table = self.products(self.data, self.first)


class OneUpdateLate(Table):
    """An update is carried out when the next one comes."""

    waiting: Any = None

    def update(self, neurons: Array, weights: Array) -> None:
        if self.waiting is not None:
            super().update(*self.waiting)
        self.waiting = np.array(neurons), np.array(weights)


class KeepsTheBatch(Table):
    """A neuron is updated once; a second update of it is taken for known."""

    def made(self) -> None:
        super().made()
        self.known: set[int] = set()

    def update(self, neurons: Array, weights: Array) -> None:
        new = [place for place, neuron in enumerate(neurons.tolist()) if neuron not in self.known]
        self.known |= set(neurons.tolist())
        super().update(neurons[new], weights[new])


# --- trees and heaps --------------------------------------------------------------------------------------------------


class StopsEarly(Tree):
    """The repair of a path ends at the first node that stays as it is for the first point."""

    def set(self, neuron: int) -> None:
        node = self.width + neuron
        self.nodes[:, node] = self.table[:, neuron]
        while node > 1:
            node //= 2
            before = self.nodes[0, node]
            self.repaired(node)
            if self.nodes[0, node] == before:
                return


class OneLevel(Tree):
    """Only the node right above a leaf is repaired."""

    def set(self, neuron: int) -> None:
        node = self.width + neuron
        self.nodes[:, node] = self.table[:, neuron]
        if node > 1:
            self.repaired(node // 2)


class LeafOnly(Tree):
    """Only the leaf is brought up to date."""

    def set(self, neuron: int) -> None:
        self.nodes[:, self.width + neuron] = self.table[:, neuron]


class LeftChild(Tree):
    """A node above a right leaf takes that leaf, and not the larger of both."""

    def set(self, neuron: int) -> None:
        super().set(neuron)
        node = self.width + neuron
        if node > 1 and node % 2:
            self.nodes[:, node // 2] = self.nodes[:, node]
            while (node := node // 2) > 1:
                self.repaired(node // 2)


class LostSibling(Tree):
    """The link to the sibling is not set again when a leaf is moved: it stays out until its own update."""

    def set(self, neuron: int) -> None:
        super().set(neuron)
        if (neuron ^ 1) < len(self.weights):
            self.nodes[:, self.width + (neuron ^ 1)] = -np.inf


class ZeroPadding(Tree):
    """The tree is padded with zeros, and a padded leaf is reported as the last neuron."""

    padding = 0.0

    def found(self, point: int, threshold: float) -> list[int]:
        return [min(neuron, len(self.weights) - 1) for neuron in super().found(point, threshold)]


class RightOnce(Tree):
    """A descent that has found a neuron does not come back for the right child of the root."""

    def found(self, point: int, threshold: float) -> list[int]:
        found = super().found(point, threshold)
        half = [neuron for neuron in found if neuron < self.width // 2]
        return half or found


class RangeNotScaled(Table):
    """Differences of a batch wait at a node of the tree, and are given to its first leaf as often as to both."""

    def update(self, neurons: Array, weights: Array) -> None:
        before = self.table[:, neurons]
        super().update(neurons, weights)
        if len(neurons) > 1:
            self.table[:, neurons[1:]] = before[:, 1:] + (self.table[:, neurons[:1]] - before[:, :1])


class WrongChild(Table):
    """Of a batch of two or more the first two waiting values go to each other's leaf."""

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons, weights)
        if len(neurons) > 1:
            self.table[:, neurons[:2]] = self.table[:, neurons[1::-1]]


class ZeroRange(Table):
    """The products of a batch of two or more are 0 until the neurons are updated one by one."""

    def update(self, neurons: Array, weights: Array) -> None:
        super().update(neurons, weights)
        if len(neurons) > 1:
            self.table[:, neurons] = 0


class OnlyUp(Heap):
    """After a change of priority an entry moves towards the top and never away from it."""

    def moved(self, point: int, neuron: int) -> None:
        self.up(point, neuron)


class OnlyDown(Heap):
    """After a change of priority an entry moves away from the top and never towards it."""

    def moved(self, point: int, neuron: int) -> None:
        self.down(point, neuron)


class Removal(Heap):
    """An entry is taken out and the last one put in its place, which moves down and never up; then it is pushed."""

    def moved(self, point: int, neuron: int) -> None:
        heap, places = self.heaps[point], self.places[point]
        at, last = places.pop(neuron), heap.pop()
        if last != neuron:
            heap[at], places[last] = last, at
            self.down(point, last)
        heap.append(neuron)
        places[neuron] = len(heap) - 1
        self.up(point, neuron)


class OldEntries(StaleEntries):
    """Entries of old products are reported as if they were of now."""

    def update(self, neurons: Array, weights: Array) -> None:
        version = list(self.version)
        super().update(neurons, weights)
        self.version = version
        for heap in self.heaps:
            heap[:] = [(value, neuron, 0) for value, neuron, _ in heap]


class NotPushedBack(StaleEntries):
    """A query takes entries off the heap and does not put them back."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        answer = super().fired(points, threshold=threshold)
        for row, point in zip(answer, points.tolist(), strict=True):
            self.heaps[point] = sorted(entry for entry in self.heaps[point] if not row[entry[1]])
        return answer


class SortedLater(Sorted):
    """A new product is put in the place of the old one, whatever its order."""

    def update(self, neurons: Array, weights: Array) -> None:
        old = self.table[:, neurons].tolist()
        Table.update(self, neurons, weights)
        new = self.table[:, neurons].tolist()
        for entries, before, after in zip(self.lists, old, new, strict=True):
            for neuron, value, other in zip(neurons.tolist(), before, after, strict=True):
                entries[entries.index((value, neuron))] = (other, neuron)


class BlockOfFirst(Wide):
    """Of a batch only the block of the first neuron gets a new maximum."""

    def update(self, neurons: Array, weights: Array) -> None:
        Table.update(self, neurons, weights)
        for block in (np.asarray(neurons) // self.block).tolist()[:1]:
            self.set(block)


class BlockOnlyRises(Wide):
    """The maximum of a block rises with a neuron and does not fall with it: right; but it starts anew from 0."""

    def set(self, block: int) -> None:
        super().set(block)
        self.most[:, block] = np.minimum(self.most[:, block], 0) if block else self.most[:, block]


# --- thresholds and comparisons ---------------------------------------------------------------------------------------


class StickyThreshold(Table):
    """The threshold of a query is kept for the queries after it."""

    def bar(self, threshold: float | None) -> float:
        self.threshold = self.threshold if threshold is None else threshold
        return self.threshold


class ThresholdIgnored(Table):
    """The threshold of a query is ignored."""

    def bar(self, threshold: float | None) -> float:
        return self.threshold


class ThresholdAdded(Table):
    """The threshold of a query is added to the first one."""

    def bar(self, threshold: float | None) -> float:
        return self.threshold + (threshold or 0.0)


class ZeroThreshold(Table):
    """A threshold of 0 in a query is taken for none."""

    def bar(self, threshold: float | None) -> float:
        return threshold or self.threshold


class OneSideIgnores(Table):
    """The side of the neurons compares with 0."""

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        return self.table[:, neurons].T > 0


class CachedThreshold(Cached):
    """Answers are kept under the points alone, whatever the threshold."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        key = points.tobytes()
        if key not in self.answers:
            self.answers[key] = Table.fired(self, points, threshold=threshold)
        return self.answers[key].copy()


class CachedForEver(Cached):
    """Answers are kept through updates."""

    def update(self, neurons: Array, weights: Array) -> None:
        Table.update(self, neurons, weights)


class MostOfThem(Table):
    """At most three neurons are reported, those of the largest products."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        answer = super().fired(points, threshold=threshold)
        for row, point in zip(answer, points.tolist(), strict=True):
            row[np.argsort(-self.table[point], kind="stable")[3:]] = False
        return answer


class SortedIndex(Table):
    """Flags in the order of the products are returned as if they were in that of the neurons."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        order = np.argsort(-self.table[points], axis=1, kind="stable")
        return np.take_along_axis(super().fired(points, threshold=threshold), order, axis=1)


class Placeholders(Table):
    """Where fewer neurons fire than places were asked for, −1 is returned, which is the last neuron as an index."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        answer = super().fired(points, threshold=threshold)
        answer[answer.sum(axis=1) < (len(self.weights) + 1) // 2, -1] = True
        return answer


class ShortIds(Table):
    """Ids are kept in four bits: neurons from 16 on are reported as earlier ones."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        full = super().fired(points, threshold=threshold)
        answer = np.zeros_like(full)
        for row, ids in zip(answer, full, strict=True):
            row[np.flatnonzero(ids) % 16] = True
        return answer


class FlipFlop(Table):
    """A product within a rounding of the threshold is answered in turns."""

    turn = 0

    def fires(self, products: Array, threshold: float) -> Array:
        value = np.asarray(products)
        self.turn += 1
        near = np.abs(value - threshold) <= 2 * np.finfo(value.dtype).eps * np.abs(value)
        near &= value != np.rint(value)
        return np.where(near, self.turn % 2 == 0, value > threshold)


# --- numbers ----------------------------------------------------------------------------------------------------------


class FixedLength(Table):
    """The extra coordinate of an inner product by distances is of the longest weights at first; longer ones are cut."""

    def made(self) -> None:
        self.longest = float(np.linalg.norm(self.weights, axis=1).max())
        super().made()

    def update(self, neurons: Array, weights: Array) -> None:
        norms = np.linalg.norm(work(weights), axis=1, keepdims=True)
        super().update(neurons, work(weights) * np.minimum(1, self.longest / np.maximum(norms, 1e-30)))


class ExtraForgotten(Table):
    """A value is read off a distance, 1 − ‖w − x‖²/2, as if both were of norm 1."""

    def products(self, data: Array, weights: Array) -> Array:
        return 1 - ((data[:, None] - weights[None]) ** 2).sum(axis=2) / 2


class Drifting(Incremental):
    """Differences are added for ever, and no product is made anew."""

    every = 1 << 60


class SumOfDifferences(Incremental):
    """The class that makes products anew is claimed, and differences are added to the products."""


class NormBound(Table):
    """Neurons are left out by a bound that forgets the norm of the point."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        near = np.linalg.norm(self.weights, axis=1) >= self.bar(threshold)
        return super().fired(points, threshold=threshold) & near


class StaleNorms(Table):
    """Neurons are left out by the norms that they had at first."""

    def made(self) -> None:
        super().made()
        self.norms = np.linalg.norm(self.weights, axis=1)

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        reach = np.linalg.norm(self.data[points], axis=1)[:, None] * self.norms * 1.0001
        return super().fired(points, threshold=threshold) & (reach >= self.bar(threshold))


class KeepsWeights(Table):
    """The rows of an update are written into the caller's array of weights."""

    def __init__(self, data: Array, weights: Array, *, threshold: float) -> None:
        self.data, self.weights, self.threshold = work(data), weights, threshold
        self.made()


class SharedTable(Table):
    """Products are kept for all structures of the same sizes."""

    tables: ClassVar[dict[Any, Array]] = {}

    def made(self) -> None:
        self.table = self.tables.setdefault(
            (self.data.shape, self.weights.shape), self.products(self.data, self.weights)
        )


class AllAlike(Table):
    """All rows of a query are those of its first point."""

    def fired(self, points: Array, *, threshold: float | None = None) -> Array:
        return super().fired(np.repeat(points[:1], len(points)), threshold=threshold)


class LastDataLost(Table):
    """The last data point is never reported."""

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        answer = super().data_of(neurons, threshold=threshold)
        answer[:, -1] = False
        return answer


class Turned(Table):
    """Neurons and points are exchanged where both are as many."""

    def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
        if len(self.data) == len(self.weights):
            return self.fires(self.table[neurons], self.bar(threshold))
        return super().data_of(neurons, threshold=threshold)


def _half(x: Array) -> Array:
    return x.astype(np.float16).astype(x.dtype)


def _bytes(x: Array) -> Array:
    """Eight bits and a scale a row."""
    scale = np.maximum(np.abs(x).max(axis=1, keepdims=True), 1e-30) / 127
    return np.rint(x / scale) * scale


def _unit(x: Array) -> Array:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)


def _sorted_points(structure: Any, points: Array, answer: Array) -> Array:
    return answer[np.argsort(points, kind="stable")]


def _without_last(structure: Any, points: Array, answer: Array) -> Array:
    answer[:, -1] = False
    return answer


def _not_last_neuron(structure: Any, neurons: Array, weights: Array) -> tuple[Array, Array]:
    kept = neurons != len(structure.weights) - 1
    return neurons[kept], weights[kept]


def _by_id(structure: Any, neurons: Array, weights: Array) -> tuple[Array, Array]:
    return np.sort(neurons), weights


BUGGY: tuple[Entry, ...] = (
    # updates
    Entry("lost", updating(lambda s, r, w: (r[:0], w[:0])), F32, "updates are lost", NEW, diagnosis="updates are lost"),
    Entry("last-neuron-lost", updating(_not_last_neuron), F32, "updates of the last neuron are lost", NEW, diagnosis="updates of the last neuron are lost"),
    Entry("last-of-batch", updating(lambda s, r, w: (r[-1:], w[-1:])), F32, "only the last neuron of a batch is updated", NEW, diagnosis="only the last neuron of a batch"),
    Entry("first-of-batch", updating(lambda s, r, w: (r[:1], w[:1])), F32, "only the first neuron of a batch is updated", NEW, diagnosis="only the first neuron of a batch"),
    Entry("by-id", updating(_by_id), F32, "ids of a batch are sorted, and its weights are not", NEW, diagnosis="sorted"),
    Entry("added", updating(lambda s, r, w: (r, s.weights[r] + w)), F32, "new weights are added to the old ones", NEW, diagnosis="added to the old"),
    Entry("next-neuron", updating(lambda s, r, w: ((r + 1) % len(s.weights), w)), F32, "the neuron after the one that was named is updated", NEW, diagnosis="next neuron"),
    Entry("first-update", KeepsTheBatch, F32, "a second update of a neuron is lost", NEW, diagnosis="only the first update of a neuron"),
    Entry("one-late", OneUpdateLate, F32, "an update is carried out when the next one comes", NEW, diagnosis="one update late"),
    Entry("first-weights-again", RebuiltFromFirst, F32, "made anew of the first weights after three updates", NEW, diagnosis="third update"),
    Entry("dirty-once", DirtyOnce, F32, "updates after the first query are lost", NEW, diagnosis="updates after the first query are lost"),
    Entry("two-copies", TwoCopies, F32, "two entries under one id", "nmslib/hnswlib#487; valkey-io/valkey-search#1291", diagnosis="old entries stay"),
    Entry("come-back", ComeBack, F32, "deleted weights come back after many rounds", "chroma-core/chroma#2621", diagnosis="come back"),
    Entry("shifted-ids", ShiftedIds, F32, "ids move up on removal", "facebookresearch/faiss#1379, #4656, #4535", diagnosis="ids shift"),
    Entry("position-as-id", PositionAsId, F32, "the place of a row is taken for its id", "facebookresearch/faiss#1643, #4655", diagnosis="place of a row"),
    Entry("not-shortened", NotShortened, F32, "the table of ids grows", "facebookresearch/faiss#255, #1134, #282"),
    Entry("forgotten-row", ForgottenRow, F32, "the row of before is reported too", "facebookresearch/faiss#1379"),
    Entry("still-deleted", StillDeleted, F32, "a neuron that was updated is still marked as deleted", "nmslib/hnswlib#487", diagnosis="still marked as deleted"),
    Entry("not-reindexed", NotReindexed, F32, "an old entry is never indexed again", "sipyourdrink-ltd/bernstein#864", diagnosis="updates do not reach the neurons of a point"),
    Entry("stale-data", StaleData, F32, "the side of the neurons keeps the first weights", NEW, diagnosis="updates do not reach the points of a neuron"),
    Entry("stale-until-fired", StaleUntilFired, F32, "the side of the neurons is as of the last query of the other", NEW, diagnosis="last query of the other side"),
    Entry("never-lower", NeverLower, F32, "a maximum stays when a product falls", NEW, diagnosis="products never fall"),
    Entry("never-higher", NeverHigher, F32, "a minimum stays when a product rises", NEW, diagnosis="products never rise"),
    Entry("first-point-only", FirstPointOnly, F32, "an update reaches the first point alone", NEW, diagnosis="first point alone"),
    # trees and heaps
    Entry("stops-early", StopsEarly, F32, "a repair ends where nothing changes for the first point", NEW),
    Entry("one-level", OneLevel, F32, "one level of the tree is repaired", NEW),
    Entry("leaf-only", LeafOnly, F32, "no node above a leaf is repaired", NEW),
    Entry("left-child", LeftChild, F32, "a node takes its right leaf in place of the larger", NEW),
    Entry("lost-sibling", LostSibling, F32, "the link to the sibling is not set again", "SkeletOSS/ccc#117", diagnosis="sibling"),
    Entry("zero-padding", ZeroPadding, F32, "padding is reported where the threshold is negative", NEW, diagnosis="padding"),
    Entry("right-once", RightOnce, F32, "a descent does not come back for the right half", NEW),
    Entry("range-not-scaled", RangeNotScaled, F32, "the difference of the first of a batch is given to all", "cheran-senthil/PyRival#73", diagnosis="difference of the first"),
    Entry("wrong-child", WrongChild, F32, "values of a batch go to each other's leaf", "cp-algorithms/cp-algorithms#209", diagnosis="each other"),
    Entry("zero-range", ZeroRange, F32, "0 for the neurons of a batch", "LuchoBazz/cpp-algorithm-snippets#72", diagnosis="products of a batch are 0"),
    Entry("only-up", OnlyUp, F32, "a heap is not restored when a priority falls", "garro95/priority-queue#1, #42"),
    Entry("only-down", OnlyDown, F32, "a heap is not restored when a priority rises", "luciopaiva/heapify#39"),
    Entry("removal", Removal, F32, "the entry that takes a removed one's place moves down alone", "boostorg/heap#49; garro95/priority-queue#42"),
    Entry("old-entries", OldEntries, F32, "old entries of a heap are reported", "sipyourdrink-ltd/bernstein#864", diagnosis="old entries stay"),
    Entry("not-pushed-back", NotPushedBack, F32, "a query empties the heap", "boostorg/heap#49", diagnosis="reported once"),
    Entry("sorted-later", SortedLater, F32, "a sorted list is not in order after an update", NEW),
    Entry("block-of-first", BlockOfFirst, F32, "of a batch one block gets a new maximum", NEW),
    Entry("block-below", BlockOnlyRises, F32, "a maximum is cut at 0", NEW),
    # thresholds
    Entry("ties", firing(lambda c, b: c >= b), F32, "ties fire", NEW, diagnosis="at the threshold fires"),
    Entry("absolute", firing(lambda c, b: abs(c) > b), F32, "absolute values are compared", "FMInference/DejaVu#13", diagnosis="absolute value"),
    Entry("less", firing(lambda c, b: c < b), F32, "neurons below the threshold are reported", NEW, diagnosis="below the threshold"),
    Entry("positive", firing(lambda c, b: c > 0), F32, "the threshold is taken for 0", "facebookresearch/faiss#3684", diagnosis="the threshold is taken for 0"),
    Entry("negated", firing(lambda c, b: c > -b), F32, "the threshold has the wrong sign", NEW, diagnosis="wrong sign"),
    Entry("distance", firing(lambda c, b: 1 - c < b), F32, "the threshold is taken for that of a distance 1 − product", "facebookresearch/faiss#3684", diagnosis="distance"),
    Entry("everything", firing(lambda c, b: c > -np.inf), F32, "all neurons are named: a recall of 100 %", "FMInference/DejaVu#13, #22; Tiiny-AI/PowerInfer#165", diagnosis="every neuron fires"),
    Entry("nothing", firing(lambda c, b: c > np.inf), F32, "no neuron is named", NEW, diagnosis="no neuron fires"),
    Entry("most-of-them", MostOfThem, F32, "at most three neurons are reported", "Tiiny-AI/PowerInfer#165", diagnosis="at most"),
    Entry("sticky-threshold", StickyThreshold, F32, "the threshold of a query is kept", NEW, diagnosis="kept for later queries"),
    Entry("threshold-ignored", ThresholdIgnored, F32, "the threshold of a query is ignored", "facebookresearch/faiss#3684", diagnosis="threshold of a query is ignored"),
    Entry("threshold-added", ThresholdAdded, F32, "the threshold of a query is added to the first", NEW, diagnosis="added to the first"),
    Entry("zero-threshold", ZeroThreshold, F32, "a threshold of 0 is taken for none", NEW, diagnosis="threshold of 0"),
    Entry("one-side-ignores", OneSideIgnores, F32, "one side ignores the threshold", "facebookresearch/faiss#3684", diagnosis="points of a neuron are compared with 0"),
    Entry("cached-threshold", CachedThreshold, F32, "answers are kept whatever the threshold", NEW),
    Entry("cached-for-ever", CachedForEver, F32, "answers are kept through updates", NEW, diagnosis="answers are kept"),
    # answers
    Entry("sorted-index", SortedIndex, F32, "an index does not belong to its value", "pytorch/pytorch#95455; tensorflow/tensorflow#21173, #22383", diagnosis="order of their products"),
    Entry("placeholders", Placeholders, F32, "placeholders are reported as the last neuron", "facebookresearch/faiss#1571", diagnosis="placeholder"),
    Entry("short-ids", ShortIds, F32, "ids in four bits", NEW),
    Entry("flip-flop", FlipFlop, F32, "a query that is asked again is answered otherwise", NEW),
    Entry("sorted-points", answering(_sorted_points), F32, "rows in the order of the points' numbers", NEW, diagnosis="rows are in the order"),
    Entry("all-alike", AllAlike, F32, "every row is that of the first point", NEW, diagnosis="every row is that of the first"),
    Entry("last-neuron", answering(_without_last), F32, "the last neuron is never reported", NEW, diagnosis="last neuron is never"),
    Entry("last-data", LastDataLost, F32, "the last point is never reported", NEW, diagnosis="last point is never"),
    Entry("turned", Turned, F32, "points and neurons exchanged where they are as many", NEW),
    # numbers
    Entry("float16", multiplying(lambda x, w: (_half(x) @ _half(w).T)), F32, "numbers cut to float16", NEW, diagnosis="float16"),
    Entry("eight-bits", multiplying(lambda x, w: x @ _bytes(w).T), F32, "weights in eight bits", NEW),
    Entry("cosine", multiplying(lambda x, w: _unit(x) @ _unit(w).T), F32, "cosines in place of products: poor recall where norms differ, and no word of it", "nmslib/hnswlib#74", diagnosis="cosine"),
    Entry("unit-weights", multiplying(lambda x, w: x @ _unit(w).T), F32, "weights of norm 1", "nmslib/hnswlib#74", diagnosis="weights are brought to norm 1"),
    Entry("fixed-length", FixedLength, F32, "longer weights than at first are cut", "microsoft/DiskANN#539"),
    Entry("extra-forgotten", ExtraForgotten, F32, "a value read off a distance as if norms were 1", "microsoft/DiskANN#539", diagnosis="distance"),
    Entry("last-coordinate", multiplying(lambda x, w: x[:, :-1] @ w[:, :-1].T), F32, "the last coordinate is left out", NEW, diagnosis="last coordinate is left out"),
    Entry("eight-coordinates", multiplying(lambda x, w: x[:, :8] @ w[:, :8].T), F32, "coordinates beyond the first eight are left out", NEW),
    Entry("whole", multiplying(lambda x, w: np.trunc(x) @ np.trunc(w).T), F32, "numbers cut to integers", NEW, diagnosis="cut to integers"),
    Entry("squares", multiplying(lambda x, w: x @ w.T / np.sqrt((w * w).sum(axis=1)) * np.sqrt((w * w).sum(axis=1))), F32, "a norm divided out and multiplied again: it overflows", NEW),
    Entry("drifting", Drifting, ("float32-incremental",), "differences are added for ever, and a refresh after four updates is declared", "hhenson/hgraph#941", options={"refreshed_after": "4"}),
    Entry("sum-of-differences", SumOfDifferences, F32, "products kept by adding and subtracting", "hhenson/hgraph#941"),
    Entry("norm-bound", NormBound, F32, "a bound without the norm of the point", NEW),
    Entry("stale-norms", StaleNorms, F32, "a bound of the norms of before", NEW),
    Entry("keeps-weights", KeepsWeights, F32, "the caller's weights are written to", NEW),
    Entry("shared-table", SharedTable, F32, "products of another structure of the same sizes", NEW),
)  # fmt: skip
