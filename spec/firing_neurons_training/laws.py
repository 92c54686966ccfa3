"""FN-14 as data: exact properties of a training step (proofs_notes/firing_neurons.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec.problem import Law, Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.firing_neurons_training.instance import Instance

    Array = NDArray[np.float64]
    Instances = tuple[Instance, ...]
    Outputs = tuple[Mapping[str, Array], ...]
    Transform = Callable[[Instance, np.random.Generator], Instances]
    Relation = Callable[[Instance, Instances, Outputs], Mapping[str, Prediction]]

__all__ = ["LAWS"]


def _backwards(axis: str, flips: Mapping[str, int]) -> tuple[Transform, Relation]:
    """The indices of an axis in reverse order; flips: which axis of an output that is, for those that have it."""

    def transform(instance: Instance, rng: np.random.Generator) -> Instances:
        return (instance.part(**{axis: range(instance.lengths()[axis])[::-1]}),)

    def relate(instance: Instance, transformed: Instances, outputs: Outputs) -> Mapping[str, Prediction]:
        found = {name: np.flip(x, flips[name]) if name in flips else x for name, x in outputs[0].items()}
        return {name: Prediction(x, (np.ones_like(x),)) for name, x in found.items()}

    return transform, relate


def _one_by_one(instance: Instance, rng: np.random.Generator) -> Instances:
    count = len(instance.data)
    return tuple(instance.part(points=[i]) for i in range(count)) if count <= 8 else ()


def _summed(instance: Instance, transformed: Instances, outputs: Outputs) -> Mapping[str, Prediction]:
    """Outputs are those of the points, one after another, and gradients add up."""
    predictions = {}
    if all("output" in each for each in outputs):
        value = np.concatenate([each["output"] for each in outputs])
        rows = np.arange(len(outputs))[:, None]
        weights = tuple(np.broadcast_to(1.0 * (rows == number), value.shape) for number in range(len(outputs)))
        predictions["output"] = Prediction(value, weights)
    if all("gradient" in each for each in outputs):
        value = np.sum([each["gradient"] for each in outputs], axis=0)
        predictions["gradient"] = Prediction(value, tuple(np.ones_like(value) for _ in outputs))
    return predictions


def _without_rate(instance: Instance, rng: np.random.Generator) -> Instances:
    return (instance.replace(rate=0.0),)


def _moved(instance: Instance, transformed: Instances, outputs: Outputs) -> Mapping[str, Prediction]:
    """Without a rate nothing moves, and the output and the gradient are the same."""
    found = {name: outputs[0][name] for name in ("output", "gradient") if name in outputs[0]}
    predictions = {name: Prediction(x, (np.ones_like(x),)) for name, x in found.items()}
    if {"gradient", "new_weights"} <= set(outputs[0]):
        value = outputs[0]["new_weights"] - instance.rate * outputs[0]["gradient"]
        predictions["new_weights"] = Prediction(value, (np.full_like(value, 1.0 + abs(instance.rate)),))
    return predictions


def _doubled(instance: Instance, rng: np.random.Generator) -> Instances:
    """Every point twice."""
    return (instance.part(points=np.repeat(np.arange(len(instance.data)), 2)),)


def _halved(instance: Instance, transformed: Instances, outputs: Outputs) -> Mapping[str, Prediction]:
    predictions = {}
    if "output" in outputs[0]:
        value = outputs[0]["output"][::2]
        predictions["output"] = Prediction(value, (np.ones_like(value),))
    if "gradient" in outputs[0]:
        value = outputs[0]["gradient"] / 2
        predictions["gradient"] = Prediction(value, (np.full_like(value, 0.5),))
    return predictions


#: The laws of a training step.
LAWS: tuple[Law, ...] = (
    Law("neurons", "FN-14", "the order of the neurons does not matter",
        *_backwards("neurons", {"gradient": 0, "new_weights": 0})),
    Law("points", "FN-14", "the order of the points does not matter", *_backwards("points", {"output": 0})),
    Law("coordinates", "FN-14", "the order of the coordinates does not matter",
        *_backwards("dim", {"gradient": 1, "new_weights": 1})),
    Law("outputs", "FN-14", "the order of the outputs does not matter", *_backwards("outputs", {"output": 1})),
    Law("sum", "FN-14", "the gradient is the sum of those of the points", _one_by_one, _summed),
    Law("twice", "FN-14", "points that occur twice double the gradient", _doubled, _halved),
    Law("rate", "FN-14", "the step is the rate times the gradient", _without_rate, _moved),
)  # fmt: skip
