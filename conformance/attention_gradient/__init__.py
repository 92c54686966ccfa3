"""The backward pass of attention for the judge: :data:`SUITE`, and :func:`instances` for property tests of your own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.attention.other_calls import CHANGES as ATTENTION_CHANGES
from assay.conformance.attention.sizes import AXES, resized
from assay.conformance.attention_gradient.combinations import COVERING
from assay.conformance.attention_gradient.families import TABLE, TYPICAL
from assay.conformance.attention_gradient.features import FEATURES
from assay.conformance.attention_gradient.interface import INTERFACE, criteria
from assay.conformance.attention_gradient.meanings import MEANINGS
from assay.conformance.attention_gradient.options import built
from assay.conformance.attention_gradient.questions import QUESTIONS
from assay.conformance.attention_gradient.targets import TARGETS
from assay.conformance.interface.suite import Suite
from assay.spec import attention_gradient

if TYPE_CHECKING:
    from collections.abc import Set

    from hypothesis.strategies import SearchStrategy

    from assay.conformance.attention_gradient.strategies import instances
    from assay.spec.attention_gradient import Instance
    from assay.spec.precision import Precision

__all__ = ["SUITE", "instances"]


def _other_gradient(instance: Instance) -> Instance:
    """Only the gradient that comes in changes: backwards, and negated."""
    grad_output = -instance.grad_output.astype(np.float64)[..., ::-1, ::-1]
    return instance.replace(grad_output=np.ascontiguousarray(grad_output).astype(instance.grad_output.dtype))


def _strategy(precision: Precision, capabilities: Set[str]) -> SearchStrategy[Instance]:
    from assay.conformance.attention_gradient.strategies import instances  # Hypothesis, only where something is drawn

    return instances(precision, capabilities)


SUITE = Suite(
    problem="attention_gradient",
    spec=attention_gradient,
    interface=INTERFACE,
    criteria=criteria,
    table=TABLE,
    build=built,
    changes={**ATTENTION_CHANGES, "gradient": _other_gradient},
    meanings=MEANINGS,
    questions=QUESTIONS,
    typical=TYPICAL,
    strategy=_strategy,
    targets=TARGETS,
    axes=AXES,
    resized=resized,
    covering=COVERING,
    features=FEATURES,
    factors=("scale", "softcap"),
)


def __getattr__(name: str) -> Any:
    if name == "instances":
        from assay.conformance.attention_gradient.strategies import instances

        return instances
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
