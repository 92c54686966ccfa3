"""Named wrong answers of training steps: other instances, and gradients that leave something out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis.meanings import Meaning, solves
from assay.spec.criterion import close
from assay.spec.enclosure import Enclosure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.criterion import Criterion
    from assay.spec.firing_neurons_training import Instance

    Array = NDArray[np.float64]
    Criteria = Mapping[str, Criterion]
    Right = Callable[[Instance], Criteria | None]

__all__ = ["MEANINGS"]

_FACTOR = 16.0


def _softmax(x: Array) -> Array:
    power = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(power / power.sum(axis=1, keepdims=True))


def _slope(instance: Instance, output: Array) -> Array:
    targets = instance.targets.astype(np.float64)
    if instance.loss == "squared":
        return output - targets
    return np.asarray(targets.sum(axis=1, keepdims=True) * _softmax(output) - targets)


def _gradient(
    instance: Instance,
    output: Array,
    fires: Callable[[Array, float], NDArray[Any]] = lambda c, b: c > b,
    outer: bool = True,
) -> Array:
    """The gradient of a step whose output is this one and whose neurons count where ``fires`` says, in float64."""
    data, weights, second = (x.astype(np.float64) for x in (instance.data, instance.weights, instance.outer))
    mask = np.asarray(fires(data @ weights.T, instance.threshold), np.float64)
    return np.asarray((mask * (_slope(instance, output) @ (second if outer else np.ones_like(second)).T)).T @ data)


def _output(instance: Instance, value: Callable[[Array, float], Array]) -> Array:
    data, weights, outer = (x.astype(np.float64) for x in (instance.data, instance.weights, instance.outer))
    return np.asarray(value(data @ weights.T, instance.threshold) @ outer)


def _wrong(**functions: Callable[[Instance, Array], Array]) -> Callable[[Instance, Right], Criteria | None]:
    """The meaning of a step whose outputs are functions of the instance and the right outputs.

    New weights follow from the gradient.  A wrong output may err by some times the most that a right one may anywhere,
    because its errors are of that size and not bounded by it.
    """

    def criteria(instance: Instance, right: Right) -> Criteria | None:
        proper = right(instance)
        if proper is None:
            return None
        made = dict(proper)
        for name, function in functions.items():
            value = proper[name].value
            assert value is not None, "outputs of a step are close to a value"
            made[name] = _close(function(instance, value.midpoint), proper[name])
        if "gradient" in functions and (gradient := made["gradient"].value) is not None:
            new = instance.weights.astype(np.float64) - instance.rate * gradient.midpoint
            made["new_weights"] = _close(new, made["new_weights"])
        return made

    return criteria


def _close(value: Array, proper: Criterion) -> Criterion:
    most = float(np.max(proper.allowed, where=np.isfinite(proper.allowed), initial=0.0))
    size = float(np.abs(value).max(initial=0.0))
    return close(Enclosure(value, np.full_like(value, 2.0**-48 * size)), np.full_like(value, _FACTOR * most))


def _counts(sentence_id: str, sentence: str, fires: Callable[[Array, float], NDArray[Any]]) -> Meaning:
    """A wrong set of pairs counts in the gradient; the output is right."""
    wrong = _wrong(gradient=lambda i, _: _gradient(i, _usual(i), fires))
    return Meaning(sentence_id, sentence, wrong)


def _usual(instance: Instance) -> Array:
    return _output(instance, lambda c, b: np.maximum(c - b, 0))


def _times(name: str, sentence: str, factor: Callable[[Instance], float]) -> Meaning:
    return Meaning(name, sentence, _wrong(gradient=lambda i, g: g * factor(i)))


def _forward(name: str, sentence: str, value: Callable[[Array, float], Array]) -> Meaning:
    """Another output, and the gradient that follows from it on the pairs that fire."""
    wrong = _wrong(output=lambda i, _: _output(i, value), gradient=lambda i, _: _gradient(i, _output(i, value)))
    return Meaning(name, sentence, wrong)


def _other_loss(instance: Instance) -> Instance | None:
    if instance.loss == "cross_entropy":
        return instance.replace(loss="squared")
    return instance.replace(loss="cross_entropy") if (instance.targets >= 0).all() else None


def _without_last_point(_instance: Instance, x: Array) -> Array:
    made = x.copy()
    made[-1] = 0
    return made


MEANINGS: tuple[Meaning, ...] = (
    Meaning("threshold", "the threshold is ignored", solves(lambda i: i.replace(threshold=0.0) if i.threshold else None)),
    Meaning("negated", "the threshold has the wrong sign", solves(lambda i: i.replace(threshold=-i.threshold) if i.threshold else None)),
    Meaning("ascent", "the step is taken uphill", solves(lambda i: i.replace(rate=-i.rate) if i.rate else None)),
    Meaning("no-step", "the new weights are the old ones", solves(lambda i: i.replace(rate=0.0) if i.rate else None)),
    Meaning("twice", "the step is taken twice", solves(lambda i: i.replace(rate=2 * i.rate) if i.rate else None)),
    Meaning("rate-one", "the rate is taken for 1", solves(lambda i: i.replace(rate=1.0) if i.rate != 1 else None)),
    Meaning("loss", "the gradient of the other loss", solves(_other_loss)),
    Meaning("no-targets", "the targets are ignored", solves(lambda i: i.replace(targets=0 * i.targets) if i.targets.any() else None)),
    _times("mean", "the mean over the points in place of the sum", lambda i: 1 / len(i.data)),
    _times("mean-outputs", "the mean over points and outputs in place of the sum", lambda i: 1 / i.targets.size),
    _times("double", "the gradient of a squared loss without its half", lambda i: 2.0),
    _times("uphill", "the gradient has the wrong sign", lambda i: -1.0),
    _counts("ties", "a correlation at the threshold counts", lambda c, b: c >= b),
    _counts("all", "neurons that do not fire count in the gradient", lambda c, b: np.ones_like(c)),
    _counts("zero", "the backward pass compares with 0", lambda c, b: c > 0),
    _forward("unshifted", "what fires gives its correlation, without the threshold taken off", lambda c, b: np.where(c > b, c, 0)),
    _forward("linear", "the forward pass has no rectifier", lambda c, b: c - b),
    Meaning("no-outer", "the outer weights are left out of the gradient", _wrong(gradient=lambda i, _: _gradient(i, _usual(i), outer=False))),
    Meaning("last-neuron", "the gradient of the last neuron is left out", _wrong(gradient=_without_last_point)),
    Meaning("last-output", "the output of the last point is left out", _wrong(output=_without_last_point)),
    Meaning("last-point", "the last point is left out of the gradient", _wrong(gradient=lambda i, _: _gradient(i.part(points=range(len(i.data) - 1)), _usual(i)[:-1]) if len(i.data) > 1 else 0 * i.weights.astype(np.float64))),
)  # fmt: skip
