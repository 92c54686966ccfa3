"""A script played on a structure of one's own: its answers, by the names of the queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.firing_neurons.instance import Instance

__all__ = ["played"]


def played(factory: Callable[..., Any], instance: Instance) -> dict[str, NDArray[np.bool_]]:
    """The answers of ``factory(data, weights, threshold=…)`` to the script of an instance.

    The structure has ``update(neurons, weights)``, ``fired(points)`` and ``data_of(neurons)``; a query that asks for a
    threshold of its own gives it as the keyword ``threshold``.  Nothing is judged here.

    >>> from assay.spec.firing_neurons import Instance, fired
    >>> from assay.spec.firing_neurons.extremes import Lazy
    >>> played(Lazy, Instance.of(np.array([[2.0]]), np.array([[1.0], [-1.0]]), [fired([0])], threshold=1.0))
    {'fired at step 2': array([[ True, False]])}
    """
    structure = factory(instance.data, instance.weights, threshold=instance.threshold)
    answers = {}
    for step, call in enumerate(instance.calls(), start=2):
        if call.method == "update":
            structure.update(call.operands, call.weights)
            continue
        keywords = {} if call.threshold is None else {"threshold": call.threshold}
        answer = getattr(structure, call.method)(call.operands, **keywords)
        answers[f"{call.method} at step {step}"] = np.asarray(answer).astype(bool)
    return answers
