"""What the answers of a structure are held to: the right sets, and the same answer to the same question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.criterion import Criterion, decided
from assay.spec.firing_neurons.definition import margins, queries
from assay.spec.firing_neurons.rounding import PRECISIONS
from assay.spec.firing_neurons.tolerance import errors
from assay.spec.memory import require_evaluable
from assay.spec.precision import precision as precision_named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.spec.enclosure import Enclosure
    from assay.spec.firing_neurons.instance import Instance
    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["asked_again", "criteria", "fires"]


def criteria(instance: Instance, precision: str | Precision, *, repeatable: bool = True) -> Mapping[str, Criterion]:
    """What every answer is held to, by the name of its query (FN-5, FN-6).

    A neuron that fires by more than δ is in the answer, and one that does not by more than δ is not.  Where δ is 0 a
    tie does not fire.
    repeatable: a query that is asked again before the next update must be answered alike, also within δ; that criterion
    is named like ``"fired at step 4 as at step 3"``.

    >>> from assay.spec.firing_neurons import Instance, fired
    >>> instance = Instance.of(np.array([[1.0]]), np.array([[2.0], [1.0]]), [fired([0])], threshold=1.0)
    >>> held_to = criteria(instance, "float32")["fired at step 2"]
    >>> held_to.ratio(np.array([[True, True]])), held_to.expected((0, 1))
    (array([[ 0., inf]]), 'expected no: it is a tie')
    """
    require_evaluable(instance)
    u = precision_named(precision, PRECISIONS)
    allowed = errors(instance, u)
    held_to = {query.name: fires(margins(query), allowed[query.name]) for query in queries(instance)}
    if repeatable:
        for name, first in asked_again(instance):
            held_to[f"{name} as at {first.partition(' at ')[2]}"] = _alike(first, name)
    return held_to


def fires(margin: Enclosure, tolerance: Array) -> Criterion:
    """A decision by a margin of which 0 is no: where nothing may be off, a tie does not fire."""
    told = decided(margin, tolerance)
    tie = (margin.midpoint == 0.0) & (margin.radius == 0.0) & (tolerance == 0.0)

    def error(value: NDArray[Any]) -> Array:
        answer = np.broadcast_to(np.asarray(value).astype(bool), margin.shape)
        return np.where(tie & answer, np.inf, told.error(value))

    def expected(index: tuple[int, ...]) -> str:
        return "expected no: it is a tie" if margin.midpoint[index] == 0.0 else told.expected(index)

    return Criterion(error, tolerance, expected)


def asked_again(instance: Instance) -> list[tuple[str, str]]:
    """The queries that are asked once more before the next update: (name, name of the first time)."""
    seen: dict[Any, str] = {}
    again = []
    for step, call in enumerate(instance.calls(), start=2):
        if call.method == "update":
            seen = {}
            continue
        name = f"{call.method} at step {step}"
        threshold = instance.threshold if call.threshold is None else call.threshold
        key = (call.method, tuple(call.operands.tolist()), threshold)
        if key in seen:
            again.append((name, seen[key]))
        else:
            seen[key] = name
    return again


def _alike(first: str, second: str) -> Criterion:
    """Two answers are equal."""

    def error(one: NDArray[Any], other: NDArray[Any]) -> Array:
        if np.shape(one) != np.shape(other):
            return np.asarray(np.inf)
        return np.where(np.asarray(one).astype(bool) == np.asarray(other).astype(bool), 0.0, np.inf)

    return Criterion(
        error,
        np.asarray(1.0),
        lambda _: "expected the answer of before: no update came between",
        (first, second),
    )
