"""The backward pass of attention of order k for the judge: :data:`SUITE`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.suite import Suite
from assay.conformance.tensor_attention.combinations import AXES
from assay.conformance.tensor_attention.options import resized
from assay.conformance.tensor_attention.other_calls import CHANGES
from assay.conformance.tensor_attention_gradient.combinations import COVERING
from assay.conformance.tensor_attention_gradient.families import TABLE, TYPICAL
from assay.conformance.tensor_attention_gradient.features import FEATURES
from assay.conformance.tensor_attention_gradient.interface import INTERFACE, criteria
from assay.conformance.tensor_attention_gradient.meanings import MEANINGS
from assay.conformance.tensor_attention_gradient.options import built
from assay.conformance.tensor_attention_gradient.questions import QUESTIONS
from assay.conformance.tensor_attention_gradient.targets import TARGETS
from assay.spec import tensor_attention_gradient

if TYPE_CHECKING:
    from assay.spec.tensor_attention_gradient import Incoming

__all__ = ["SUITE"]


def _other_gradient(instance: Incoming) -> Incoming:
    """Only the gradient that comes in changes: backwards, and negated."""
    grad_output = -instance.grad_output.astype(np.float64)[..., ::-1, ::-1]
    return instance.replace(grad_output=np.ascontiguousarray(grad_output).astype(instance.grad_output.dtype))


SUITE = Suite(
    problem="tensor_attention_gradient",
    spec=tensor_attention_gradient,
    interface=INTERFACE,
    criteria=criteria,
    table=TABLE,
    build=built,
    changes={**CHANGES, "gradient": _other_gradient},
    meanings=MEANINGS,
    questions=QUESTIONS,
    typical=TYPICAL,
    targets=TARGETS,
    axes=AXES,
    resized=resized,
    covering=COVERING,
    features=FEATURES,
    factors=("scale",),
)
