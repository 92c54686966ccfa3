"""The backward pass of attention of any order (Roy et al. 2025; proofs_notes/tensor_attention.md, TOLT-2)."""

from __future__ import annotations

from assay.spec.tensor_attention_gradient.criteria import criteria
from assay.spec.tensor_attention_gradient.definition import define, evaluate
from assay.spec.tensor_attention_gradient.handed import handed
from assay.spec.tensor_attention_gradient.instance import Incoming, Instance, load
from assay.spec.tensor_attention_gradient.laws import LAWS
from assay.spec.tensor_attention_gradient.rounding import PRECISIONS
from assay.spec.tensor_attention_gradient.symbolic import symbolic
from assay.spec.tensor_attention_gradient.tolerance import tolerance

__all__ = [
    "LAWS",
    "NAME",
    "OUTPUTS",
    "PRECISIONS",
    "Incoming",
    "Instance",
    "criteria",
    "define",
    "evaluate",
    "handed",
    "load",
    "symbolic",
    "tolerance",
]

NAME = "tensor_attention_gradient"
#: Those of order 3; order k has ``grad_key1`` … ``grad_key{k−1}`` and ``grad_value1`` … ``grad_value{k−1}``.
OUTPUTS: tuple[str, ...] = ("grad_query", "grad_key1", "grad_key2", "grad_value1", "grad_value2")
