"""Spectral sparsifiers of kernel graphs (Alman, Chu, Schild and Song 2020)."""

from __future__ import annotations

from assay.spec.kernel_graph.rounding import PRECISIONS
from assay.spec.kernel_graph_sparsify.criteria import criteria, interval
from assay.spec.kernel_graph_sparsify.definition import define, symbolic
from assay.spec.kernel_graph_sparsify.instance import Instance, load
from assay.spec.kernel_graph_sparsify.laws import LAWS
from assay.spec.kernel_graph_sparsify.tolerance import tolerance

__all__ = [
    "LAWS", "NAME", "OUTPUTS", "PRECISIONS", "Instance", "criteria", "define", "interval", "load",
    "symbolic", "tolerance",
]  # fmt: skip

NAME = "kernel_graph_sparsify"
OUTPUTS: tuple[str, ...] = ("left", "right", "weight")
