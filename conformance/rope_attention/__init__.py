"""Attention with relative positions for the judge: :data:`SUITE`."""

from __future__ import annotations

from assay.conformance.attention.features import sums_to_one
from assay.conformance.interface.suite import Linear, Suite
from assay.conformance.rope_attention.combinations import AXES, COVERING, resized
from assay.conformance.rope_attention.families import TABLE, TYPICAL
from assay.conformance.rope_attention.features import FEATURES
from assay.conformance.rope_attention.interface import INTERFACE, criteria
from assay.conformance.rope_attention.meanings import MEANINGS
from assay.conformance.rope_attention.options import CHANGES, built
from assay.conformance.rope_attention.questions import QUESTIONS
from assay.conformance.rope_attention.targets import TARGETS
from assay.spec import rope_attention

__all__ = ["SUITE"]

SUITE = Suite(
    problem="rope_attention",
    spec=rope_attention,
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
    factors=("scale", "softcap", "base", "factor", "attention_factor"),
    linear_in=Linear("value", "output", sums_to_one),
)
