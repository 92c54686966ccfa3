"""How a training step of two layers is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.steps import Output, Step
from assay.conformance.interface.suite import CONCURRENT_CALLS, FRESH_OUTPUTS
from assay.spec.criterion import close
from assay.spec.firing_neurons_training import criteria as right
from assay.spec.firing_neurons_training import define, errors, evaluate, tolerance
from assay.spec.precision import reference_accuracy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.criterion import Criterion
    from assay.spec.firing_neurons_training import Instance
    from assay.spec.precision import Precision

__all__ = ["INTERFACE", "criteria"]

_FORM = Form(
    ("data", "targets", "weights", "outer"),
    '(data, targets, weights, outer, *, threshold, rate, loss="squared"), which returns (output, gradient, '
    "new_weights); loss only if it is supported",
)
_CAPABILITIES = (
    Capability("cross_entropy", lambda i: i.loss == "cross_entropy", ("loss",)),
    Capability("several_outputs", lambda i: i.targets.shape[1] > 1),
    Capability("negative_threshold", lambda i: i.threshold < 0),
    Capability(CONCURRENT_CALLS),
    Capability(FRESH_OUTPUTS),
)


def _script(instance: Instance, _kernel: Kernel, precision: Precision) -> Script:
    """One call; the loss is passed where it is not the squared one."""
    keywords: dict[str, Any] = {"threshold": instance.threshold, "rate": instance.rate}
    if instance.loss != "squared":
        keywords["loss"] = instance.loss
    shapes = {
        "output": (instance.targets.shape, ("points", "outputs")),
        "gradient": (instance.weights.shape, ("neurons", "dim")),
        "new_weights": (instance.weights.shape, ("neurons", "dim")),
    }
    outputs = tuple(Output(name, shape, (precision.result,), axes) for name, (shape, axes) in shapes.items())
    return (Step(tuple(instance.arrays().items()), keywords, outputs),)


def criteria(instance: Instance, _kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """What the output, the gradient and the new weights are held to, and the step from the returned gradient.

    The new weights of a neuron are close to the exact ones where all its pairs are decided; elsewhere it is the step
    alone that is judged.
    """
    held = dict(right(instance, precision))
    held["step"] = held.pop("new_weights")
    accuracy = reference_accuracy(precision)
    undecided = np.asarray(errors(instance, precision, evaluate(instance, accuracy)).undecided.any(axis=1))[:, None]
    allowed = np.where(undecided, np.inf, tolerance(instance, precision, "new_weights"))
    held["new_weights"] = close(define(instance, accuracy, output="new_weights"), allowed)
    return held


INTERFACE = Interface((_FORM,), _script, ("threshold", "rate"), _CAPABILITIES)
