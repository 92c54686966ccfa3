"""Attention of order k for the judge: :data:`SUITE`."""

from __future__ import annotations

from assay.conformance.interface.suite import Suite
from assay.conformance.tensor_attention.combinations import AXES, COVERING
from assay.conformance.tensor_attention.families import TABLE, TYPICAL
from assay.conformance.tensor_attention.features import FEATURES
from assay.conformance.tensor_attention.interface import INTERFACE, criteria
from assay.conformance.tensor_attention.meanings import MEANINGS
from assay.conformance.tensor_attention.options import built, resized
from assay.conformance.tensor_attention.other_calls import CHANGES
from assay.conformance.tensor_attention.questions import QUESTIONS
from assay.conformance.tensor_attention.targets import TARGETS
from assay.spec import tensor_attention

__all__ = ["SUITE"]

SUITE = Suite(
    problem="tensor_attention",
    spec=tensor_attention,
    interface=INTERFACE,
    criteria=criteria,
    table=TABLE,
    build=built,
    changes=CHANGES,
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
