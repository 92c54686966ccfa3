"""Products with the matrix of a kernel graph (Alman, Chu, Schild and Song 2020): Σ_j f(‖x_i − x_j‖²)·v_j."""

from __future__ import annotations

from assay.spec.kernel_graph import functions
from assay.spec.kernel_graph.criteria import criteria
from assay.spec.kernel_graph.definition import define, distances, symbolic, weights
from assay.spec.kernel_graph.functions import Function, named
from assay.spec.kernel_graph.instance import Instance, Weighted, load
from assay.spec.kernel_graph.laws import LAWS
from assay.spec.kernel_graph.rounding import PRECISIONS, Distances
from assay.spec.kernel_graph.tolerance import entries, tolerance

__all__ = [
    "LAWS", "NAME", "OUTPUTS", "PRECISIONS", "Distances", "Function", "Instance", "Weighted", "criteria", "define",
    "distances", "entries", "functions", "load", "named", "symbolic", "tolerance", "weights",
]  # fmt: skip

NAME = "kernel_graph"
OUTPUTS: tuple[str, ...] = ("output",)
