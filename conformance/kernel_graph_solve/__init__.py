"""Solves of kernel graphs for the judge: :data:`SUITE`."""

from __future__ import annotations

from assay.conformance.interface.suite import Suite
from assay.conformance.kernel_graph.graphs import FEATURES
from assay.conformance.kernel_graph.rows import resized
from assay.conformance.kernel_graph_solve.combinations import COVERING
from assay.conformance.kernel_graph_solve.families import TABLE, TYPICAL
from assay.conformance.kernel_graph_solve.interface import INTERFACE, criteria
from assay.conformance.kernel_graph_solve.meanings import MEANINGS
from assay.conformance.kernel_graph_solve.options import AXES, CHANGES, built
from assay.conformance.kernel_graph_solve.questions import QUESTIONS
from assay.conformance.kernel_graph_solve.targets import TARGETS
from assay.spec import kernel_graph_solve

__all__ = ["SUITE"]

SUITE = Suite(
    problem="kernel_graph_solve",
    spec=kernel_graph_solve,
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
