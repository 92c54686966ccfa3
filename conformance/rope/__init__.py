"""The rotary embedding for the judge: :data:`SUITE`."""

from __future__ import annotations

from assay.conformance.interface.suite import Suite
from assay.conformance.rope.combinations import AXES, COVERING, FEATURES, resized
from assay.conformance.rope.families import TABLE, TYPICAL
from assay.conformance.rope.interface import INTERFACE, criteria
from assay.conformance.rope.meanings import MEANINGS
from assay.conformance.rope.options import CHANGES, built
from assay.conformance.rope.questions import QUESTIONS
from assay.conformance.rope.stages import stages
from assay.conformance.rope.targets import TARGETS
from assay.spec import rope

__all__ = ["SUITE"]

SUITE = Suite(
    problem="rope",
    spec=rope,
    interface=INTERFACE,
    criteria=criteria,
    table=TABLE,
    build=built,
    changes=CHANGES,
    meanings=MEANINGS,
    stages=stages,
    questions=QUESTIONS,
    typical=TYPICAL,
    targets=TARGETS,
    axes=AXES,
    resized=resized,
    covering=COVERING,
    features=FEATURES,
    factors=("base", "factor", "attention_factor"),
)
