"""Solves with the Laplacian of a kernel graph (Alman, Chu, Schild and Song 2020)."""

from __future__ import annotations

from assay.spec.kernel_graph_solve.instance import Instance, load, orthogonal

__all__ = ["NAME", "OUTPUTS", "Instance", "load", "orthogonal"]

NAME = "kernel_graph_solve"
OUTPUTS: tuple[str, ...] = ("x",)
