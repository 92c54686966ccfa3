"""Sparsifiers of kernel graphs for the judge: :data:`SUITE`."""

from __future__ import annotations

from assay.conformance.interface.suite import Suite
from assay.conformance.kernel_graph.rows import resized
from assay.conformance.kernel_graph_sparsify.combinations import COVERING, FEATURES
from assay.conformance.kernel_graph_sparsify.families import TABLE, TYPICAL
from assay.conformance.kernel_graph_sparsify.interface import INTERFACE, criteria
from assay.conformance.kernel_graph_sparsify.meanings import MEANINGS
from assay.conformance.kernel_graph_sparsify.options import AXES, CHANGES, built
from assay.conformance.kernel_graph_sparsify.questions import QUESTIONS
from assay.conformance.kernel_graph_sparsify.targets import TARGETS
from assay.spec import kernel_graph_sparsify

__all__ = ["SUITE"]

SUITE = Suite(
    problem="kernel_graph_sparsify",
    spec=kernel_graph_sparsify,
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
