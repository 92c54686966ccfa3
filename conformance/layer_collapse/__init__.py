"""Stacks of self-attention layers for the judge: :data:`SUITE`."""

from __future__ import annotations

from assay.conformance.interface.suite import Suite
from assay.conformance.layer_collapse.combinations import AXES, COVERING, FEATURES, resized
from assay.conformance.layer_collapse.families import TABLE, TYPICAL
from assay.conformance.layer_collapse.interface import INTERFACE, criteria
from assay.conformance.layer_collapse.meanings import MEANINGS
from assay.conformance.layer_collapse.options import CHANGES, built
from assay.conformance.layer_collapse.questions import QUESTIONS
from assay.conformance.layer_collapse.targets import TARGETS
from assay.spec import layer_collapse

__all__ = ["SUITE"]

SUITE = Suite(
    problem="layer_collapse",
    spec=layer_collapse,
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
    factors=("scale", "epsilon"),
)
