"""Attention of any order, which attends to pairs, triples, … of keys (Alman and Song 2024; Roy et al. 2025).

Order 2 is attention, and order 3 has two keys and two values a position (proofs_notes/tensor_attention.md).
"""

from __future__ import annotations

from assay.spec.tensor_attention.criteria import criteria
from assay.spec.tensor_attention.definition import define, evaluate
from assay.spec.tensor_attention.instance import HigherOrder, Instance, load
from assay.spec.tensor_attention.laws import LAWS
from assay.spec.tensor_attention.rounding import PRECISIONS
from assay.spec.tensor_attention.symbolic import symbolic
from assay.spec.tensor_attention.tolerance import tolerance

__all__ = [
    "LAWS",
    "NAME",
    "OUTPUTS",
    "PRECISIONS",
    "HigherOrder",
    "Instance",
    "criteria",
    "define",
    "evaluate",
    "load",
    "symbolic",
    "tolerance",
]

NAME = "tensor_attention"
OUTPUTS: tuple[str, ...] = ("output", "log_sum_exp")
