"""Large transformers from small ones: attention by an oracle that takes few tokens (Alman and Yu 2025).

The definition is that of attention; the instance says what the oracle can do.  ``plan`` is how many calls that takes,
and ``assay.spec.small_transformers_merge`` how their results are put together (proofs_notes/small_transformers.md).
"""

from __future__ import annotations

from assay.spec.small_transformers.criteria import criteria
from assay.spec.small_transformers.definition import define, evaluate
from assay.spec.small_transformers.instance import Instance, load, sees
from assay.spec.small_transformers.laws import LAWS
from assay.spec.small_transformers.rounding import PRECISIONS
from assay.spec.small_transformers.symbolic import symbolic
from assay.spec.small_transformers.tolerance import tolerance

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
    "sees",
    "symbolic",
    "tolerance",
]

NAME = "small_transformers"
OUTPUTS: tuple[str, ...] = ("output", "log_sum_exp")
