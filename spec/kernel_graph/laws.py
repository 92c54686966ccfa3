"""KTOL-4 as data: exact properties of products with kernel graphs (proofs_notes/kernel_graph.md)."""

from __future__ import annotations

from assay.spec.laws import additive
from assay.spec.problem import Law

__all__ = ["LAWS"]

#: The laws of products with kernel graphs.
LAWS: tuple[Law, ...] = (Law("linear", "KTOL-4", "the product is additive in the vectors", *additive("vectors")),)
