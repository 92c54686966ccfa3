"""The merge of attention over parts of the keys, from outputs and log-sum-exps (proofs_notes/small_transformers.md)."""

from __future__ import annotations

from assay.spec.small_transformers_merge.criteria import criteria
from assay.spec.small_transformers_merge.definition import define, evaluate
from assay.spec.small_transformers_merge.instance import Instance, load
from assay.spec.small_transformers_merge.laws import LAWS
from assay.spec.small_transformers_merge.rounding import PRECISIONS
from assay.spec.small_transformers_merge.symbolic import symbolic
from assay.spec.small_transformers_merge.tolerance import tolerance

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

NAME = "small_transformers_merge"
OUTPUTS: tuple[str, ...] = ("output", "log_sum_exp")
