"""Hypothesis strategies of the backward pass: instances of attention with gradients that come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from assay.conformance.attention.strategies import instances as attentions
from assay.conformance.attention_gradient.interface import INTERFACE
from assay.conformance.attention_gradient.options import GRADIENTS, differentiated
from assay.spec.attention_gradient.rounding import PRECISIONS
from assay.spec.precision import precision as precision_named

if TYPE_CHECKING:
    from collections.abc import Set

    from assay.spec.attention_gradient import Instance
    from assay.spec.precision import Precision

__all__ = ["instances"]

_EVERY = frozenset(capability.name for capability in INTERFACE.capabilities)


def instances(precision: str | Precision = "float32", capabilities: Set[str] = _EVERY) -> st.SearchStrategy[Instance]:
    """Instances in the storage type of a class, with the options that ``capabilities`` names.

    They shrink towards one head, one query, one key, one column, no options, and normal numbers as gradients.
    """
    able = set(capabilities) | ({"return_lse"} if "grad_log_sum_exp" in capabilities else set())
    forward = attentions(precision_named(precision, PRECISIONS), able)
    return st.builds(differentiated, forward, st.sampled_from(tuple(GRADIENTS)), st.integers(0, 2**32 - 1))
