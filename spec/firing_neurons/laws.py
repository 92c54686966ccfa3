"""FN-11 as data: exact properties of what fires (proofs_notes/firing_neurons.md).

Outputs are margins here, by the names of the queries.  A prediction is made for every query of the instance.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.firing_neurons.definition import queries
from assay.spec.firing_neurons.instance import Call, data_of, fired, update
from assay.spec.problem import Law, Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from assay.spec.firing_neurons.instance import Instance

    Array = NDArray[np.float64]
    Instances = tuple[Instance, ...]
    Outputs = tuple[Mapping[str, Array], ...]
    Relation = Callable[[Instance, Instances, Outputs], Mapping[str, Prediction]]

__all__ = ["LAWS"]


def _names(instance: Instance) -> list[str]:
    return [query.name for query in queries(instance)]


def _rewritten(
    instance: Instance,
    calls: Iterable[Call],
    *,
    data: NDArray[Any] | None = None,
    weights: NDArray[Any] | None = None,
) -> Instance:
    """The instance with other calls, and perhaps other data or weights."""
    return type(instance).of(
        instance.data if data is None else data,
        instance.weights if weights is None else weights,
        calls,
        threshold=instance.threshold,
        provenance=instance.provenance,
    )


def _query_by_query(
    back: Callable[[Instance, Instance, Call, Array], Array] = lambda instance, other, call, margins: margins,
    factor: Callable[[Instance, Instance], float] = lambda instance, other: 1.0,
    every: int = 1,
) -> Relation:
    """Query k of the instance is query ``every``·k of the transformed one, rearranged by ``back``, times ``factor``."""

    def relate(instance: Instance, transformed: Instances, outputs: Outputs) -> Mapping[str, Prediction]:
        other, found = transformed[0], outputs[0]
        names, times = _names(other), factor(instance, other)
        predictions = {}
        for k, query in enumerate(queries(instance)):
            value = found.get(names[every * k])
            if value is not None:
                value = back(instance, other, query.call, value)
                predictions[query.name] = Prediction(times * value, (np.full_like(value, times),))
        return predictions

    return relate


def _permuted(method: str) -> Callable[[Instance, np.random.Generator], Instances]:
    """Neurons (for ``update`` and ``data_of``) or points (for ``fired``) in reverse order."""

    def transform(instance: Instance, rng: np.random.Generator) -> Instances:
        points = method == "fired"
        last = len(instance.data if points else instance.weights) - 1
        calls = [
            dataclasses.replace(call, operands=last - call.operands) if (call.method == "fired") is points else call
            for call in instance.calls()
        ]
        changes = {"data": instance.data[::-1]} if points else {"weights": instance.weights[::-1]}
        return (_rewritten(instance, calls, **changes),)

    return transform


def _backwards(method: str) -> Callable[[Instance, Instance, Call, Array], Array]:
    """The other axis of an answer is that of the neurons or points that were reversed."""
    return lambda instance, other, call, margins: margins[:, ::-1] if call.method == method else margins


def _coordinates(instance: Instance, rng: np.random.Generator) -> Instances:
    return (instance.part(dim=range(instance.data.shape[1])[::-1]),)


def _negated(instance: Instance, rng: np.random.Generator) -> Instances:
    negative = {name: -getattr(instance, name) for name in ("data", "weights", "new_weights")}
    return (instance.replace(**negative),)


_POWERS = (2, -1)  # of two, by which data and weights are multiplied


def _scaled(instance: Instance, rng: np.random.Generator) -> Instances:
    """Data, weights and thresholds times powers of two; no number may be lost."""
    changes: dict[str, Any] = {}
    for name, power in (("data", _POWERS[0]), ("weights", _POWERS[1]), ("new_weights", _POWERS[1])):
        array = getattr(instance, name)
        wide = array.astype(np.float64)
        with np.errstate(over="ignore", under="ignore"):
            scaled = (wide * 2.0**power).astype(array.dtype)
            back = scaled.astype(np.float64) * 2.0**-power
        if not (back == wide).all():
            return ()
        changes[name] = scaled
    total = 2.0 ** sum(_POWERS)
    given = np.array(
        [instance.threshold] if instance.thresholds is None else [instance.threshold, *instance.thresholds]
    )
    if not ((given * total / total == given) | np.isnan(given)).all():
        return ()
    threshold, thresholds = float(given[0]) * total, None if instance.thresholds is None else given[1:] * total
    return (instance.replace(**changes, threshold=threshold, thresholds=thresholds),)


def _again(instance: Instance, rng: np.random.Generator) -> Instances:
    """Every query twice."""
    calls = [call for call in instance.calls() for _ in range(1 if call.method == "update" else 2)]
    return (_rewritten(instance, calls),)


def _one_by_one(instance: Instance, rng: np.random.Generator) -> Instances:
    return (instance.replace(joined=np.zeros_like(instance.joined), thresholds=_thresholds(instance)),)


def _thresholds(instance: Instance) -> NDArray[np.float64] | None:
    """The threshold of its call at every step, NaN where it has none."""
    asked = [np.nan if call.threshold is None else call.threshold for call in instance.calls()]
    counts = [len(call.operands) for call in instance.calls()]
    return None if np.isnan(asked).all() else np.repeat(asked, counts)


def _rows(instance: Instance, transformed: Instances, outputs: Outputs) -> Mapping[str, Prediction]:
    """The answer of a batch is made of those of its queries."""
    names, found = iter(_names(transformed[0])), outputs[0]
    predictions = {}
    for query in queries(instance):
        rows = [found.get(next(names)) for _ in query.call.operands]
        if all(row is not None for row in rows):
            value = np.concatenate([row for row in rows if row is not None])
            predictions[query.name] = Prediction(value, (np.ones_like(value),))
    return predictions


def _unchanged(instance: Instance, rng: np.random.Generator) -> Instances:
    """Before every query an update of some neurons to the weights that they have."""
    weights, calls = instance.weights.copy(), []
    for call in instance.calls():
        if call.weights is not None:
            weights[call.operands] = call.weights
        else:
            some = rng.permutation(len(weights))[: 1 + int(rng.integers(len(weights)))]
            calls.append(update(some.tolist(), weights[some]))
        calls.append(call)
    return (_rewritten(instance, calls),)


def _other_way(instance: Instance, rng: np.random.Generator) -> Instances:
    """The question which neurons fire on some points, asked as on which points every neuron fires, and the reverse."""
    calls = []
    for call in instance.calls():
        if call.method == "fired":
            calls.append(data_of(range(len(instance.weights)), threshold=call.threshold))
        elif call.method == "data_of":
            calls.append(fired(range(len(instance.data)), threshold=call.threshold))
        else:
            calls.append(call)
    return (_rewritten(instance, calls),)


def _anew(instance: Instance, rng: np.random.Generator) -> Instances:
    """A structure made of the weights of its time for every query."""
    if sum(call.method != "update" for call in instance.calls()) > 8:
        return ()
    weights, made = instance.weights.copy(), []
    for call in instance.calls():
        if call.weights is not None:
            weights = weights.copy()
            weights[call.operands] = call.weights
        else:
            made.append(_rewritten(instance, [call], weights=weights))
    return tuple(made)


def _each_from_its_own(instance: Instance, transformed: Instances, outputs: Outputs) -> Mapping[str, Prediction]:
    predictions = {}
    for k, (query, found) in enumerate(zip(queries(instance), outputs, strict=True)):
        (value,) = found.values()
        weights = tuple(np.full_like(value, float(k == number)) for number in range(len(outputs)))
        predictions[query.name] = Prediction(value, weights)
    return predictions


def _folded(instance: Instance, rng: np.random.Generator) -> Instances:
    """The threshold as one more coordinate, 1 of the data and −threshold of the weights; the rest asks for 0."""
    if instance.thresholds is not None:
        return ()
    column = np.full((1, 1), -instance.threshold).astype(instance.data.dtype)
    if float(column[0, 0]) != -instance.threshold:
        return ()

    def with_column(rows: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([rows, np.repeat(column, len(rows), axis=0)], axis=1)

    data = np.concatenate([instance.data, np.ones((len(instance.data), 1), instance.data.dtype)], axis=1)
    changed = {name: with_column(getattr(instance, name)) for name in ("weights", "new_weights")}
    return (instance.replace(data=data, **changed, threshold=0.0),)


#: The laws of firing neurons.
LAWS: tuple[Law, ...] = (
    Law("neurons", "FN-11", "the order of the neurons does not matter",
        _permuted("data_of"), _query_by_query(_backwards("fired"))),
    Law("points", "FN-11", "the order of the points does not matter",
        _permuted("fired"), _query_by_query(_backwards("data_of"))),
    Law("coordinates", "FN-11", "the order of the coordinates does not matter", _coordinates, _query_by_query()),
    Law("negate", "FN-11", "negated data and weights fire alike", _negated, _query_by_query()),
    Law("scale", "FN-11", "powers of two times data, weights and thresholds change nothing",
        _scaled, _query_by_query(factor=lambda instance, other: 2.0 ** -sum(_POWERS))),
    Law("again", "FN-11", "a query that is asked again is answered alike", _again, _query_by_query(every=2)),
    Law("batch", "FN-11", "a batch is what its operations are one by one", _one_by_one, _rows),
    Law("same-weights", "FN-11", "an update to the weights that a neuron has changes nothing",
        _unchanged, _query_by_query()),
    Law("transpose", "FN-11", "the neurons of a point and the points of a neuron are one relation", _other_way,
        _query_by_query(lambda instance, other, call, margins: margins[:, call.operands].T)),
    Law("history", "FN-11", "only the current weights matter", _anew, _each_from_its_own),
    Law("threshold", "FN-11", "the threshold is one more coordinate", _folded, _query_by_query()),
)  # fmt: skip
