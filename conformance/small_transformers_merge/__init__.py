"""Merges of parts of attention for the judge: :data:`SUITE`."""

from __future__ import annotations

from assay.conformance.interface.suite import Suite
from assay.conformance.small_transformers_merge.combinations import AXES, COVERING
from assay.conformance.small_transformers_merge.families import TABLE, TYPICAL
from assay.conformance.small_transformers_merge.features import FEATURES
from assay.conformance.small_transformers_merge.interface import INTERFACE, criteria
from assay.conformance.small_transformers_merge.meanings import MEANINGS
from assay.conformance.small_transformers_merge.options import CHANGES, built, resized
from assay.conformance.small_transformers_merge.questions import QUESTIONS
from assay.conformance.small_transformers_merge.targets import TARGETS
from assay.spec import small_transformers_merge

__all__ = ["SUITE"]

SUITE = Suite(
    problem="small_transformers_merge",
    spec=small_transformers_merge,
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
)
