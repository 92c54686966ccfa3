"""Named wrong answers of structures: each is a structure in float64 that plays the script in its own wrong way.

A meaning is a class that says, for every query, by how much each neuron fires.  Where that margin is within what the
class may err, either answer is one of this meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from assay.conformance.diagnosis.meanings import Meaning
from assay.spec.criterion import Criterion
from assay.spec.enclosure import Enclosure
from assay.spec.firing_neurons.criteria import fires

if TYPE_CHECKING:
    from assay.spec.firing_neurons import Instance

Array = NDArray[np.float64]
Whole = NDArray[np.int64]
Right = Callable[[Any], Mapping[str, Criterion] | None]

__all__ = ["MEANINGS", "Played"]


class Played:
    """A structure in float64 that is right; meanings override what they do otherwise.

    Every query gives margins: by how much a neuron fires, positive where it does.
    """

    def __init__(self, instance: Instance) -> None:
        self.data = instance.data.astype(np.float64)
        self.weights = instance.weights.astype(np.float64)
        self.first = self.weights.copy()
        self.threshold = instance.threshold
        self.updates = 0

    def update(self, neurons: Whole, weights: Array) -> None:
        self.weights[neurons] = weights

    def products(self, data: Array, weights: Array) -> Array:
        return np.asarray(data @ weights.T)

    def compared(self, products: Array, threshold: float) -> Array:
        return products - threshold

    def asked(self, threshold: float | None) -> float:
        """The threshold that a query is answered for."""
        return self.threshold if threshold is None else threshold

    def fired(self, points: Whole, threshold: float | None) -> Array:
        return self.compared(self.products(self.data[points], self.weights), self.asked(threshold))

    def data_of(self, neurons: Whole, threshold: float | None) -> Array:
        return self.compared(self.products(self.data, self.weights[neurons]).T, self.asked(threshold))


def _margins(kind: type[Played], instance: Instance) -> dict[str, Array]:
    """What a structure of a kind answers to every query, by name."""
    structure, found = kind(instance), {}
    for step, call in enumerate(instance.calls(), start=2):
        if call.weights is not None:
            structure.updates += 1
            structure.update(call.operands, call.weights.astype(np.float64))
        else:
            method = structure.fired if call.method == "fired" else structure.data_of
            found[f"{call.method} at step {step}"] = np.asarray(method(call.operands, call.threshold), np.float64)
    return found


def _plays(kind: type[Played]) -> Callable[[Instance, Right], Mapping[str, Criterion] | None]:
    """The criteria under which a structure of a kind is right; ``None`` where it answers as a right one does."""

    def criteria(instance: Instance, right: Right) -> Mapping[str, Criterion] | None:
        proper = right(instance)
        if proper is None:
            return None
        with np.errstate(all="ignore"):
            wrong, usual = _margins(kind, instance), _margins(Played, instance)
        if all(np.array_equal(wrong[name] > 0, margin > 0) for name, margin in usual.items()):
            return None
        return {
            name: fires(Enclosure(margin, np.zeros_like(margin)), np.broadcast_to(proper[name].allowed, margin.shape))
            for name, margin in wrong.items()
            if np.isfinite(margin).all() or np.isinf(margin).all()
        }

    return criteria


# --- updates ----------------------------------------------------------------------------------------------------------


class _Lost(Played):
    def update(self, neurons: Whole, weights: Array) -> None:
        pass


class _LostOfLast(Played):
    def update(self, neurons: Whole, weights: Array) -> None:
        kept = neurons != len(self.weights) - 1
        self.weights[neurons[kept]] = weights[kept]


class _LastOfBatch(Played):
    def update(self, neurons: Whole, weights: Array) -> None:
        self.weights[neurons[-1:]] = weights[-1:]


class _FirstOfBatch(Played):
    def update(self, neurons: Whole, weights: Array) -> None:
        self.weights[neurons[:1]] = weights[:1]


class _Sorted(Played):
    def update(self, neurons: Whole, weights: Array) -> None:
        self.weights[np.sort(neurons)] = weights


class _Backwards(Played):
    def update(self, neurons: Whole, weights: Array) -> None:
        self.weights[neurons] = weights[::-1]


class _Added(Played):
    def update(self, neurons: Whole, weights: Array) -> None:
        self.weights[neurons] += weights


class _Subtracted(Played):
    def update(self, neurons: Whole, weights: Array) -> None:
        self.weights[neurons] -= weights


class _Next(Played):
    def update(self, neurons: Whole, weights: Array) -> None:
        self.weights[(neurons + 1) % len(self.weights)] = weights


class _Before(Played):
    def update(self, neurons: Whole, weights: Array) -> None:
        self.weights[neurons - 1] = weights


class _FirstRow(Played):
    def update(self, neurons: Whole, weights: Array) -> None:
        self.weights[neurons] = weights[:1]


class _Close(Played):
    """A change of a neuron of at most a fiftieth in every coordinate is lost."""

    def update(self, neurons: Whole, weights: Array) -> None:
        new = (np.abs(weights - self.weights[neurons]) > 0.02 * np.abs(self.weights[neurons])).any(axis=1)
        self.weights[neurons[new]] = weights[new]


class _Negative(Played):
    """Weights that are those of before up to signs are taken for those of before."""

    def update(self, neurons: Whole, weights: Array) -> None:
        new = (np.abs(weights) != np.abs(self.weights[neurons])).any(axis=1)
        self.weights[neurons[new]] = weights[new]


class _SameSet(Played):
    """Weights that are those of before in another order are taken for those of before."""

    def update(self, neurons: Whole, weights: Array) -> None:
        new = (np.sort(weights, axis=1) != np.sort(self.weights[neurons], axis=1)).any(axis=1)
        self.weights[neurons[new]] = weights[new]


class _NoZeros(Played):
    def update(self, neurons: Whole, weights: Array) -> None:
        new = weights.any(axis=1)
        self.weights[neurons[new]] = weights[new]


class _LastCall(Played):
    """Updates wait for a query, and a further one takes the place of the one that waits."""

    waiting: tuple[Whole, Array] | None = None

    def update(self, neurons: Whole, weights: Array) -> None:
        self.waiting = neurons, weights

    def settle(self) -> None:
        if self.waiting is not None:
            super().update(*self.waiting)
        self.waiting = None

    def fired(self, points: Whole, threshold: float | None) -> Array:
        self.settle()
        return super().fired(points, threshold)

    def data_of(self, neurons: Whole, threshold: float | None) -> Array:
        self.settle()
        return super().data_of(neurons, threshold)


class _FirstCall(Played):
    """Of the updates of a neuron between two queries the first one is carried out."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self.known: set[int] = set()

    def update(self, neurons: Whole, weights: Array) -> None:
        new = np.array([neuron not in self.known for neuron in neurons.tolist()], bool)
        self.known |= set(neurons.tolist())
        self.weights[neurons[new]] = weights[new]

    def fired(self, points: Whole, threshold: float | None) -> Array:
        self.known = set()
        return super().fired(points, threshold)

    def data_of(self, neurons: Whole, threshold: float | None) -> Array:
        self.known = set()
        return super().data_of(neurons, threshold)


class _Once(Played):
    """Only the first update of a neuron is carried out."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self.known = np.zeros(len(self.weights), bool)

    def update(self, neurons: Whole, weights: Array) -> None:
        new = ~self.known[neurons]
        self.weights[neurons[new]] = weights[new]
        self.known[neurons] = True


class _Late(Played):
    waiting: tuple[Whole, Array] | None = None

    def update(self, neurons: Whole, weights: Array) -> None:
        if self.waiting is not None:
            super().update(*self.waiting)
        self.waiting = neurons, weights


class _Third(Played):
    """Every third update all products are again those of the first weights."""

    def update(self, neurons: Whole, weights: Array) -> None:
        super().update(neurons, weights)
        if self.updates % 3 == 0:
            self.weights = self.first.copy()


class _AfterQuery(Played):
    """Updates after the first query that followed one are lost."""

    pending = settled = False

    def update(self, neurons: Whole, weights: Array) -> None:
        if not self.settled:
            super().update(neurons, weights)
            self.pending = True

    def asked(self, threshold: float | None) -> float:
        self.settled = self.settled or self.pending
        return super().asked(threshold)


class _Copies(Played):
    """Every weight that a neuron ever had counts, in a query of the neurons of a point or in both."""

    both = True

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self.most = self.products(self.data, self.weights)

    def update(self, neurons: Whole, weights: Array) -> None:
        super().update(neurons, weights)
        self.most[:, neurons] = np.maximum(self.most[:, neurons], self.products(self.data, self.weights[neurons]))

    def fired(self, points: Whole, threshold: float | None) -> Array:
        return self.compared(self.most[points], self.asked(threshold))

    def data_of(self, neurons: Whole, threshold: float | None) -> Array:
        if not self.both:
            return super().data_of(neurons, threshold)
        return self.compared(self.most[:, neurons].T, self.asked(threshold))


class _CopiesOfPoint(_Copies):
    both = False


class _CopyBefore(Played):
    """The weights that a neuron had before its last update count too, in a query of the neurons of a point."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self.before = self.weights.copy()

    def update(self, neurons: Whole, weights: Array) -> None:
        self.before[neurons] = self.weights[neurons]
        super().update(neurons, weights)

    def fired(self, points: Whole, threshold: float | None) -> Array:
        before = self.compared(self.products(self.data[points], self.before), self.asked(threshold))
        return np.maximum(super().fired(points, threshold), before)


class _Least(Played):
    """Products of a neuron never rise."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self.table = self.products(self.data, self.weights)

    def update(self, neurons: Whole, weights: Array) -> None:
        super().update(neurons, weights)
        self.table[:, neurons] = np.minimum(self.table[:, neurons], self.products(self.data, self.weights[neurons]))

    def fired(self, points: Whole, threshold: float | None) -> Array:
        return self.compared(self.table[points], self.asked(threshold))

    def data_of(self, neurons: Whole, threshold: float | None) -> Array:
        return self.compared(self.table[:, neurons].T, self.asked(threshold))


class _FirstPoint(_Least):
    """An update reaches the products of the first point alone."""

    def update(self, neurons: Whole, weights: Array) -> None:
        Played.update(self, neurons, weights)
        self.table[:1, neurons] = self.products(self.data[:1], self.weights[neurons])


class _ZeroBatch(_Least):
    """The products of a batch of two or more neurons are 0."""

    def update(self, neurons: Whole, weights: Array) -> None:
        Played.update(self, neurons, weights)
        made = self.products(self.data, self.weights[neurons])
        self.table[:, neurons] = made if len(neurons) == 1 else 0.0


class _Exchanged(_Least):
    """Of a batch the products of the first two neurons are exchanged."""

    def update(self, neurons: Whole, weights: Array) -> None:
        Played.update(self, neurons, weights)
        self.table[:, neurons] = self.products(self.data, self.weights[neurons])
        if len(neurons) > 1:
            self.table[:, neurons[:2]] = self.table[:, neurons[1::-1]]


class _SameDifference(_Least):
    """All products of a batch change by as much as those of its first neuron."""

    def update(self, neurons: Whole, weights: Array) -> None:
        Played.update(self, neurons, weights)
        before = self.table[:, neurons]
        self.table[:, neurons] = self.products(self.data, self.weights[neurons])
        if len(neurons) > 1:
            self.table[:, neurons[1:]] = before[:, 1:] + (self.table[:, neurons[:1]] - before[:, :1])


class _ComeBack(Played):
    """At every fifth update a neuron gets the weights that it had first."""

    def update(self, neurons: Whole, weights: Array) -> None:
        super().update(neurons, self.first[neurons] if self.updates % 5 == 0 else weights)


class _Shifted(Played):
    """An update takes a row out, and ids behind it move."""

    def update(self, neurons: Whole, weights: Array) -> None:
        for neuron, row in zip(neurons.tolist(), weights, strict=True):
            self.weights = np.vstack([np.delete(self.weights, neuron, 0), row])


class _Places(Played):
    """New rows stand in the first free slot of an index with half as many slots more; a place is read as an id."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        m, d = self.weights.shape
        self.rows = np.vstack([self.weights, np.zeros((1 + m // 2, d))])
        self.slot, self.free = list(range(m)), list(range(m, len(self.rows)))

    def update(self, neurons: Whole, weights: Array) -> None:
        super().update(neurons, weights)
        for neuron, row in zip(neurons.tolist(), weights, strict=True):
            old, new = self.slot[neuron], self.free.pop(0)
            self.rows[new], self.slot[neuron] = row, new
            self.rows[old] = 0
            self.free.append(old)

    def fired(self, points: Whole, threshold: float | None) -> Array:
        rows = self.rows[: len(self.weights)]
        return self.compared(self.products(self.data[points], rows), self.asked(threshold))


class _StillDeleted(Played):
    """A neuron that stopped firing on every point is not reported any more."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self.deleted = np.zeros(len(self.weights), bool)

    def update(self, neurons: Whole, weights: Array) -> None:
        super().update(neurons, weights)
        fires = self.compared(self.products(self.data, self.weights[neurons]), self.threshold) > 0
        self.deleted[neurons] |= ~fires.any(axis=0)

    def fired(self, points: Whole, threshold: float | None) -> Array:
        return np.where(self.deleted, -np.abs(1 + super().fired(points, threshold)), super().fired(points, threshold))


class _FirstOnPoints(Played):
    """The neurons of a point are those of the first weights."""

    def fired(self, points: Whole, threshold: float | None) -> Array:
        return self.compared(self.products(self.data[points], self.first), self.asked(threshold))


class _FirstOfNeurons(Played):
    """The points of a neuron are those of the first weights."""

    def data_of(self, neurons: Whole, threshold: float | None) -> Array:
        return self.compared(self.products(self.data, self.first[neurons]).T, self.asked(threshold))


class _AsOfLastFired(_FirstOfNeurons):
    """The points of a neuron are those of the last query of the other side."""

    def fired(self, points: Whole, threshold: float | None) -> Array:
        self.first = self.weights.copy()
        return super().fired(points, threshold)


class _Sibling(Played):
    """The neuron that shares a node with an updated one is not reported until its own update."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self.out = np.zeros(len(self.weights), bool)

    def update(self, neurons: Whole, weights: Array) -> None:
        super().update(neurons, weights)
        for neuron in neurons.tolist():
            self.out[neuron] = False
            if (neuron ^ 1) < len(self.out):
                self.out[neuron ^ 1] = True

    def fired(self, points: Whole, threshold: float | None) -> Array:
        margin = super().fired(points, threshold)
        return np.where(self.out, -np.abs(margin) - abs(self.threshold), margin)


class _Kept(Played):
    """The answer to a query is kept, through updates, under what was asked."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self.kept: dict[Any, Array] = {}

    def fired(self, points: Whole, threshold: float | None) -> Array:
        return self.kept.setdefault((points.tobytes(), self.asked(threshold)), super().fired(points, threshold))


class _KeptOfNeurons(_Kept):
    """The answer to a query of the points of a neuron is kept, through updates."""

    def fired(self, points: Whole, threshold: float | None) -> Array:
        return Played.fired(self, points, threshold)

    def data_of(self, neurons: Whole, threshold: float | None) -> Array:
        return self.kept.setdefault((neurons.tobytes(), self.asked(threshold)), super().data_of(neurons, threshold))


class _KeptByNumbers(_Kept):
    """The answer to a query is kept until the next update, in whatever order it is asked."""

    def update(self, neurons: Whole, weights: Array) -> None:
        super().update(neurons, weights)
        self.kept.clear()

    def fired(self, points: Whole, threshold: float | None) -> Array:
        return self.kept.setdefault(
            (np.sort(points).tobytes(), self.asked(threshold)), Played.fired(self, points, threshold)
        )


class _KeptByPoints(_Kept):
    """The answer to a query is kept until the next update, whatever the threshold."""

    def update(self, neurons: Whole, weights: Array) -> None:
        super().update(neurons, weights)
        self.kept.clear()

    def fired(self, points: Whole, threshold: float | None) -> Array:
        return self.kept.setdefault(points.tobytes(), Played.fired(self, points, threshold))


class _ReportedOnce(Played):
    """What a query of the neurons of a point reported is not reported again before the next update of the neuron."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self.gone = np.zeros((len(self.data), len(self.weights)), bool)

    def update(self, neurons: Whole, weights: Array) -> None:
        super().update(neurons, weights)
        self.gone[:, neurons] = False

    def fired(self, points: Whole, threshold: float | None) -> Array:
        margin = super().fired(points, threshold)
        made = np.where(self.gone[points], -np.abs(margin), margin)
        self.gone[points] |= margin > 0
        return made


# --- comparisons ------------------------------------------------------------------------------------------------------


def _compares(change: Callable[[Array, float], Array]) -> type[Played]:
    class Compares(Played):
        def compared(self, products: Array, threshold: float) -> Array:
            return np.asarray(change(products, threshold), np.float64)

    return Compares


def _thresholds(change: Callable[[Played, float | None], float]) -> type[Played]:
    class Thresholds(Played):
        def asked(self, threshold: float | None) -> float:
            return change(self, threshold)

    return Thresholds


def _sticky(structure: Played, threshold: float | None) -> float:
    structure.threshold = structure.threshold if threshold is None else threshold
    return structure.threshold


class _ZeroOfNeurons(Played):
    def data_of(self, neurons: Whole, threshold: float | None) -> Array:
        return self.products(self.data, self.weights[neurons]).T


class _ZeroOfPoints(Played):
    def fired(self, points: Whole, threshold: float | None) -> Array:
        return self.products(self.data[points], self.weights)


class _IgnoredOfPoints(Played):
    def fired(self, points: Whole, threshold: float | None) -> Array:
        return super().fired(points, None)


class _IgnoredOfNeurons(Played):
    def data_of(self, neurons: Whole, threshold: float | None) -> Array:
        return super().data_of(neurons, None)


class _TiesOfPoints(Played):
    def fired(self, points: Whole, threshold: float | None) -> Array:
        return _tied(super().fired(points, threshold))


class _TiesOfNeurons(Played):
    def data_of(self, neurons: Whole, threshold: float | None) -> Array:
        return _tied(super().data_of(neurons, threshold))


class _ZeroRows(Played):
    """Rows of zeros are taken for none, and nothing fires there."""

    def products(self, data: Array, weights: Array) -> Array:
        return np.where(
            np.asarray(data.any(axis=1))[:, None] & weights.any(axis=1), super().products(data, weights), -1e300
        )


def _tied(margin: Array) -> Array:
    """A margin of 0 counts as positive."""
    return np.where(margin == 0, np.finfo(np.float64).tiny, margin)


# --- products ---------------------------------------------------------------------------------------------------------


def _multiplies(change: Callable[[Array, Array], Array]) -> type[Played]:
    class Multiplies(Played):
        def products(self, data: Array, weights: Array) -> Array:
            return np.asarray(change(data, weights), np.float64)

    return Multiplies


def _unit(x: Array) -> Array:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300))


def _by_distance(x: Array, w: Array) -> Array:
    """1 − ‖w − x‖²/2, as if both were of norm 1."""
    return np.asarray(1 - ((x[:, None] - w[None]) ** 2).sum(axis=2) / 2)


def _half(x: Array) -> Array:
    return x.astype(np.float16).astype(np.float64)


# --- answers ----------------------------------------------------------------------------------------------------------


def _answers(change: Callable[[Played, Whole, Array], Array], *, points: bool = True) -> type[Played]:
    """The margins of one side are changed before they are returned: change(structure, operands, margins)."""

    class Answers(Played):
        def fired(self, points_asked: Whole, threshold: float | None) -> Array:
            margin = super().fired(points_asked, threshold)
            return change(self, points_asked, margin) if points else margin

        def data_of(self, neurons: Whole, threshold: float | None) -> Array:
            margin = super().data_of(neurons, threshold)
            return margin if points else change(self, neurons, margin)

    return Answers


def _never_last(_structure: Played, _operands: Whole, margin: Array) -> Array:
    made = margin.copy()
    made[:, -1] = -np.abs(made[:, -1])
    return made


def _never_first(_structure: Played, _operands: Whole, margin: Array) -> Array:
    made = margin.copy()
    made[:, 0] = -np.abs(made[:, 0])
    return made


def _at_most_three(_structure: Played, _operands: Whole, margin: Array) -> Array:
    third = np.sort(margin, axis=1)[:, ::-1][:, :3][:, -1:]
    return np.where(margin >= third, margin, -np.abs(margin))


def _placeholder(_structure: Played, _operands: Whole, margin: Array) -> Array:
    made = margin.copy()
    few = (margin > 0).sum(axis=1) < (margin.shape[1] + 1) // 2
    made[few, -1] = np.abs(made[few, -1])
    return made


class _Padding(Played):
    """Below 0, the last neuron is reported for the padding of a tree of which there is some."""

    def fired(self, points: Whole, threshold: float | None) -> Array:
        margin = super().fired(points, threshold)
        if self.asked(threshold) < 0 and len(self.weights) & (len(self.weights) - 1):
            margin[:, -1] = np.abs(margin[:, -1])
        return margin


MEANINGS: tuple[Meaning, ...] = tuple(
    Meaning(name, sentence, _plays(kind))
    for name, sentence, kind in (
        ("lost", "updates are lost", _Lost),
        ("lost-of-last", "updates of the last neuron are lost", _LostOfLast),
        ("last-of-batch", "only the last neuron of a batch is updated", _LastOfBatch),
        ("first-of-batch", "only the first neuron of a batch is updated", _FirstOfBatch),
        ("sorted", "the ids of a batch are sorted and its weights are not", _Sorted),
        ("backwards", "the weights of a batch are taken in reverse order", _Backwards),
        ("added", "new weights are added to the old ones", _Added),
        ("subtracted", "new weights are subtracted from the old ones", _Subtracted),
        ("next", "the next neuron is updated in place of the one that was named", _Next),
        ("before", "the neuron before the one that was named is updated", _Before),
        ("first-row-of-batch", "all neurons of a batch get the weights of the first", _FirstRow),
        ("close", "a small change of weights is lost", _Close),
        ("negative", "weights that changed their signs alone are not taken", _Negative),
        ("same-set", "weights that changed their order alone are not taken", _SameSet),
        ("no-zeros", "new weights that are all 0 are not taken", _NoZeros),
        ("last-call", "of the updates between two queries the last call alone is carried out", _LastCall),
        ("first-call", "of the updates of a neuron between two queries the first is carried out", _FirstCall),
        ("zero-rows", "rows of zeros are taken for none", _ZeroRows),
        ("first-update", "only the first update of a neuron is carried out", _Once),
        ("late", "updates come one update late", _Late),
        ("third", "every third update brings all first weights back", _Third),
        ("after-query", "updates after the first query are lost", _AfterQuery),
        ("copies", "old entries stay beside the new ones: products never fall", _Copies),
        ("copies-points", "old entries stay beside the new ones in the neurons of a point", _CopiesOfPoint),
        ("copy-before", "the entry of before stays beside the new one in the neurons of a point", _CopyBefore),
        ("least", "products never rise", _Least),
        ("first-point", "an update reaches the first point alone", _FirstPoint),
        ("zero-batch", "the products of a batch are 0", _ZeroBatch),
        ("exchanged", "the first two neurons of a batch get the products of each other", _Exchanged),
        ("same-difference", "all neurons of a batch get the difference of the first", _SameDifference),
        ("come-back", "first weights come back at every fifth update", _ComeBack),
        ("shifted", "ids shift when a row is taken out", _Shifted),
        ("places", "the place of a row is taken for its id", _Places),
        ("still-deleted", "a neuron that stopped firing is still marked as deleted after an update", _StillDeleted),
        ("first-on-points", "updates do not reach the neurons of a point", _FirstOnPoints),
        ("first-of-neurons", "updates do not reach the points of a neuron", _FirstOfNeurons),
        ("as-of-fired", "the points of a neuron are as of the last query of the other side", _AsOfLastFired),
        ("sibling", "the sibling of an updated neuron is not reported", _Sibling),
        ("kept", "answers are kept through updates", _Kept),
        ("kept-of-neurons", "answers on the points of a neuron are kept through updates", _KeptOfNeurons),
        ("kept-by-numbers", "an answer is kept for the same points in another order", _KeptByNumbers),
        ("kept-by-points", "answers are kept whatever the threshold", _KeptByPoints),
        ("reported-once", "what fires is reported once, and not again before its next update", _ReportedOnce),
        ("ties", "a product at the threshold fires", _compares(lambda c, b: _tied(c - b))),
        ("ties-of-points", "a product at the threshold fires among the neurons of a point", _TiesOfPoints),
        ("ties-of-neurons", "a product at the threshold fires among the points of a neuron", _TiesOfNeurons),
        ("absolute", "the absolute value of a product is compared", _compares(lambda c, b: np.abs(c) - b)),
        ("less", "neurons below the threshold are reported", _compares(lambda c, b: b - c)),
        ("zero", "the threshold is taken for 0", _compares(lambda c, b: c)),
        ("negated", "the threshold has the wrong sign", _compares(lambda c, b: c + b)),
        ("distance", "the threshold is compared with the distance 1 − product", _compares(lambda c, b: b - 1 + c)),
        ("everything", "every neuron fires", _compares(lambda c, b: np.full_like(c, np.inf))),
        ("nothing", "no neuron fires", _compares(lambda c, b: np.full_like(c, -np.inf))),
        ("sticky", "the threshold of a query is kept for later queries", _thresholds(_sticky)),
        ("ignored", "the threshold of a query is ignored", _thresholds(lambda s, b: s.threshold)),
        ("ignored-of-points", "the threshold of a query is ignored for the neurons of a point", _IgnoredOfPoints),
        ("ignored-of-neurons", "the threshold of a query is ignored for the points of a neuron", _IgnoredOfNeurons),
        ("threshold-added", "the threshold of a query is added to the first", _thresholds(lambda s, b: s.threshold + (b or 0.0))),
        ("zero-is-none", "a threshold of 0 is taken for none", _thresholds(lambda s, b: b or s.threshold)),
        ("zero-of-neurons", "the points of a neuron are compared with 0", _ZeroOfNeurons),
        ("zero-of-points", "the neurons of a point are compared with 0", _ZeroOfPoints),
        ("cosine", "cosines are compared, and not products", _multiplies(lambda x, w: _unit(x) @ _unit(w).T)),
        ("unit-weights", "weights are brought to norm 1", _multiplies(lambda x, w: x @ _unit(w).T)),
        ("unit-data", "data are brought to norm 1", _multiplies(lambda x, w: _unit(x) @ w.T)),
        ("by-distance", "products are read off a distance, as if norms were 1", _multiplies(_by_distance)),
        ("last-coordinate", "the last coordinate is left out", _multiplies(lambda x, w: x[:, :-1] @ w[:, :-1].T)),
        ("whole", "numbers are cut to integers", _multiplies(lambda x, w: np.trunc(x) @ np.trunc(w).T)),
        ("half", "numbers are cut to float16", _multiplies(lambda x, w: _half(x) @ _half(w).T)),
        ("never-last", "the last neuron is never reported", _answers(_never_last)),
        ("never-first", "the first neuron is never reported", _answers(_never_first)),
        ("never-last-point", "the last point is never reported", _answers(_never_last, points=False)),
        ("never-first-point", "the first point is never reported", _answers(_never_first, points=False)),
        ("first-row", "every row is that of the first point", _answers(lambda s, p, c: np.repeat(c[:1], len(c), axis=0))),
        ("by-number", "rows are in the order of the points, and not as they were asked for", _answers(lambda s, p, c: c[np.argsort(p, kind="stable")])),
        ("by-product", "flags are in the order of their products", _answers(lambda s, p, c: -np.sort(-c, axis=1))),
        ("three", "at most three neurons of a point are reported", _answers(_at_most_three)),
        ("placeholder", "a placeholder is reported as the last neuron", _answers(_placeholder)),
        ("padding", "padding is reported as the last neuron", _Padding),
    )
)  # fmt: skip
