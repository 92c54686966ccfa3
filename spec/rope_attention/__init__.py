"""Attention that sees relative positions: rotary embeddings, and one matrix W for every offset (Alman and Song 2025).

The scores are s_ij = σ·q_i W_(i−j) k_jᵀ; everything after them is attention (proofs_notes/rope_attention.md).
"""

from __future__ import annotations

from assay.spec.rope_attention.criteria import criteria
from assay.spec.rope_attention.definition import define, evaluate
from assay.spec.rope_attention.instance import Instance, load
from assay.spec.rope_attention.laws import LAWS
from assay.spec.rope_attention.rounding import PRECISIONS
from assay.spec.rope_attention.symbolic import symbolic
from assay.spec.rope_attention.tolerance import tolerance

__all__ = [
    "LAWS",
    "NAME",
    "OUTPUTS",
    "PRECISIONS",
    "Instance",
    "criteria",
    "define",
    "evaluate",
    "load",
    "symbolic",
    "tolerance",
]

NAME = "rope_attention"
OUTPUTS: tuple[str, ...] = ("output", "log_sum_exp")
