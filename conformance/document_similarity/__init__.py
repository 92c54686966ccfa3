"""Document similarity for the judge: :data:`SUITE`."""

from __future__ import annotations

from assay.conformance.document_similarity.combinations import AXES, COVERING, FEATURES, resized
from assay.conformance.document_similarity.families import TABLE, TYPICAL
from assay.conformance.document_similarity.interface import INTERFACE, criteria
from assay.conformance.document_similarity.meanings import MEANINGS
from assay.conformance.document_similarity.options import CHANGES, built
from assay.conformance.document_similarity.questions import QUESTIONS
from assay.conformance.document_similarity.targets import TARGETS
from assay.conformance.interface.suite import Suite
from assay.spec import document_similarity

__all__ = ["SUITE"]

SUITE = Suite(
    problem="document_similarity",
    spec=document_similarity,
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
