"""The rotary embedding of queries and keys, with every scaling of practice (Su et al. 2021; Peng et al. 2023)."""

from __future__ import annotations

from assay.spec.rope.definition import define, symbolic
from assay.spec.rope.instance import Instance, load
from assay.spec.rope.laws import LAWS
from assay.spec.rope.tolerance import criteria, tolerance
from assay.spec.rotary.rounding import PRECISIONS

__all__ = [
    "LAWS", "NAME", "OUTPUTS", "PRECISIONS", "Instance", "criteria", "define", "load", "symbolic", "tolerance",
]  # fmt: skip

NAME = "rope"
OUTPUTS: tuple[str, ...] = ("query", "key")
