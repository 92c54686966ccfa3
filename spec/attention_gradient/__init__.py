"""The backward pass of attention (Alman and Song 2024; proofs_notes/attention_gradient.md)."""

from __future__ import annotations

from assay.spec.attention_gradient.criteria import criteria
from assay.spec.attention_gradient.definition import define, evaluate
from assay.spec.attention_gradient.handed import handed
from assay.spec.attention_gradient.instance import Instance, load
from assay.spec.attention_gradient.laws import LAWS
from assay.spec.attention_gradient.loss import Loss, define_loss
from assay.spec.attention_gradient.rounding import PRECISIONS
from assay.spec.attention_gradient.symbolic import symbolic
from assay.spec.attention_gradient.tolerance import tolerance

__all__ = [
    "LAWS",
    "NAME",
    "OUTPUTS",
    "PRECISIONS",
    "Instance",
    "Loss",
    "criteria",
    "define",
    "define_loss",
    "evaluate",
    "handed",
    "load",
    "symbolic",
    "tolerance",
]

NAME = "attention_gradient"
OUTPUTS: tuple[str, ...] = ("grad_query", "grad_key", "grad_value", "grad_bias", "grad_sink")
