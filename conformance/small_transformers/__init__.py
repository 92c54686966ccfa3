"""Attention by a smaller transformer for the judge: :data:`SUITE`."""

from __future__ import annotations

from assay.conformance.interface.families import CHANGES
from assay.conformance.interface.suite import Linear, Suite
from assay.conformance.small_transformers.combinations import COVERING, FEATURES
from assay.conformance.small_transformers.families import TABLE, TYPICAL, build
from assay.conformance.small_transformers.interface import INTERFACE, criteria
from assay.conformance.small_transformers.meanings import MEANINGS
from assay.conformance.small_transformers.questions import QUESTIONS
from assay.conformance.small_transformers.targets import TARGETS
from assay.spec import small_transformers

__all__ = ["SUITE"]


def _sums_to_one(instance: small_transformers.Instance) -> bool:
    return bool(instance.visible().any(axis=3).all())


SUITE = Suite(
    problem="small_transformers",
    spec=small_transformers,
    interface=INTERFACE,
    criteria=criteria,
    table=TABLE,
    build=build,
    changes=CHANGES,
    meanings=MEANINGS,
    questions=QUESTIONS,
    typical=TYPICAL,
    targets=TARGETS,
    covering=COVERING,
    features=FEATURES,
    factors=("scale",),
    linear_in=Linear("value", "output", _sums_to_one),
)
