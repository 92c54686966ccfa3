"""How structures of firing neurons are made and asked: a script of several steps, each a call of a method."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.steps import Output, Step
from assay.conformance.interface.suite import CONCURRENT_CALLS, FRESH_OUTPUTS
from assay.spec.firing_neurons import Correlations, Instance
from assay.spec.firing_neurons import criteria as right

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.criterion import Criterion
    from assay.spec.precision import Precision

__all__ = ["CONVENTIONS", "INTERFACE", "criteria", "steps"]

_FORM = Form(
    ("data", "weights"),
    "(data, weights, *, threshold), which makes a structure with update(neurons, weights), fired(points) and "
    "data_of(neurons), the latter two with a keyword threshold only if it is supported",
)


def _asks(method: str) -> Callable[[Instance], bool]:
    return lambda instance: any(call.method == method for call in instance.calls())


def _asks_at(method: str) -> Callable[[Instance], bool]:
    """Whether a query of a method has a threshold of its own."""
    return lambda instance: any(call.method == method and call.threshold is not None for call in instance.calls())


_CAPABILITIES = (
    Capability("fired_threshold", _asks_at("fired"), ("fired.threshold",)),
    Capability("data_of_threshold", _asks_at("data_of"), ("data_of.threshold",)),
    Capability("updates", _asks("update")),
    Capability("data_of", _asks("data_of")),
    Capability("negative_thresholds", lambda i: any(b < 0 for b in _thresholds(i))),
    Capability(CONCURRENT_CALLS),
    Capability(FRESH_OUTPUTS),
)


def _thresholds(instance: Instance) -> set[float]:
    asked = {call.threshold for call in instance.calls() if call.threshold is not None}
    return {instance.threshold, *asked}


#: Conventions that ``options`` may declare.  ``refreshed_after``: in an incremental class, after how many updates of a
#: neuron a structure makes its products anew, the K of FN-6; left out, nothing is declared.
#: ``repeatable``: whether a query that is asked again is answered alike within the tolerance too.
CONVENTIONS: dict[str, tuple[str, ...]] = {"refreshed_after": (), "repeatable": ("yes", "no")}


def steps(instance: Instance) -> Script:
    """The structure is made in step 1, and every call of the instance is a step."""
    n, m = len(instance.data), len(instance.weights)
    made: list[Step] = [
        Step((("data", instance.data), ("weights", instance.weights)), {"threshold": instance.threshold}, method="new")
    ]
    for number, call in enumerate(instance.calls(), start=2):
        if call.weights is not None:
            made.append(Step((("neurons", call.operands), ("weights", call.weights)), method="update"))
            continue
        asked, others = ("points", "neurons") if call.method == "fired" else ("neurons", "points")
        shape = (len(call.operands), m if call.method == "fired" else n)
        keywords: dict[str, Any] = {} if call.threshold is None else {"threshold": call.threshold}
        output = Output(f"{call.method} at step {number}", shape, ("bool",), (asked, others))
        made.append(Step(((asked, call.operands),), keywords, (output,), call.method))
    return tuple(made)


def _script(instance: Instance, _kernel: Kernel, _precision: Precision) -> Script:
    return steps(instance)


def criteria(instance: Instance, kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """What every answer is held to, under what the kernel declares."""
    repeatable = kernel.conventions.get("repeatable", "yes") == "yes"
    return right(instance, _declared(kernel, precision), repeatable=repeatable)


def _declared(kernel: Kernel, precision: Precision) -> Precision:
    """The class of the structures that make products anew after so many updates as the kernel declares."""
    updates = kernel.conventions.get("refreshed_after")
    if updates is None or not math.isinf(precision.of(Correlations).updates):
        return precision
    number = float(updates)
    return precision.with_(f"{precision.name}-{number:.0f}", Correlations, updates=float(math.ceil(number)))


INTERFACE = Interface((_FORM,), _script, ("threshold",), _CAPABILITIES, CONVENTIONS)
