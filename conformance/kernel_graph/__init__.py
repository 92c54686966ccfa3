"""Products with kernel graphs for the judge: :data:`SUITE`."""

from __future__ import annotations

from assay.conformance.interface.suite import Suite
from assay.conformance.kernel_graph.combinations import COVERING, FEATURES
from assay.conformance.kernel_graph.families import TABLE, TYPICAL
from assay.conformance.kernel_graph.interface import INTERFACE, criteria
from assay.conformance.kernel_graph.meanings import MEANINGS
from assay.conformance.kernel_graph.options import AXES, CHANGES, built, resized
from assay.conformance.kernel_graph.questions import QUESTIONS
from assay.conformance.kernel_graph.targets import TARGETS
from assay.spec import kernel_graph

__all__ = ["SUITE"]

SUITE = Suite(
    problem="kernel_graph",
    spec=kernel_graph,
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
