"""Solves with the Laplacian of a kernel graph (Alman, Chu, Schild and Song 2020)."""

from __future__ import annotations

from assay.spec.kernel_graph.rounding import PRECISIONS
from assay.spec.kernel_graph_solve.criteria import criteria, energy_error
from assay.spec.kernel_graph_solve.definition import define, solved, symbolic
from assay.spec.kernel_graph_solve.instance import Instance, load, orthogonal
from assay.spec.kernel_graph_solve.laws import LAWS
from assay.spec.kernel_graph_solve.tolerance import tolerance

__all__ = [
    "LAWS", "NAME", "OUTPUTS", "PRECISIONS", "Instance", "criteria", "define", "energy_error", "load", "orthogonal",
    "solved", "symbolic", "tolerance",
]  # fmt: skip

NAME = "kernel_graph_solve"
OUTPUTS: tuple[str, ...] = ("x",)
