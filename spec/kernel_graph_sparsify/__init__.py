"""Spectral sparsifiers of kernel graphs (Alman, Chu, Schild and Song 2020)."""

from __future__ import annotations

from assay.spec.kernel_graph_sparsify.instance import Instance, load

__all__ = ["NAME", "OUTPUTS", "Instance", "load"]

NAME = "kernel_graph_sparsify"
OUTPUTS: tuple[str, ...] = ("left", "right", "weight")
