"""Attention, softmax(σ Q Kᵀ) V with every option of practice (Alman and Song 2023; proofs_notes/attention.md)."""

from __future__ import annotations

from assay.spec.attention.criteria import criteria
from assay.spec.attention.definition import define, evaluate
from assay.spec.attention.instance import Instance, load
from assay.spec.attention.laws import LAWS
from assay.spec.attention.symbolic import symbolic
from assay.spec.attention.tolerance import tolerance
from assay.spec.precision import PRECISIONS

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

NAME = "attention"
OUTPUTS: tuple[str, ...] = ("output", "log_sum_exp")
