"""What parts of attention make together, evaluated with certainty.

With the outputs o_t and log-sum-exps l_t of the parts, and the score of a sink where there is one,

    lse = ln(Σ_t e^(l_t) + e^sink),   o = Σ_t e^(l_t − lse) o_t.

This is attention in which every part is one key of score l_t, and that is how it is evaluated (MERGE-0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec import attention
from assay.spec.enclosure import Enclosure
from assay.spec.memory import OUTPUTS, require_evaluable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.attention.definition import Exact
    from assay.spec.small_transformers_merge.instance import Instance

__all__ = ["define", "evaluate", "restored"]


def define(instance: Instance, relative: float = 1e-12, output: str = "output") -> Enclosure:
    """The merge of the parts, certified.

    ``output="output"``: shape (b, h, n, d_v), with radius at most ``relative``·Σ_t e^(l_t − lse)|o_t|; 0 where all
    parts are empty.  ``output="log_sum_exp"``: shape (b, h, n), radius at most ``relative``·max(1, |lse|), −inf where
    all parts are empty and there is no sink.
    Source: proofs_notes/small_transformers.md, MERGE-0.
    Raises ``ValueError`` for another output or a ``relative`` outside (0, 1).

    >>> from assay.spec.small_transformers_merge import Instance
    >>> parts = np.array([1.0, 5.0, 7.0]).reshape(3, 1, 1, 1, 1)
    >>> print(define(Instance(parts, np.array([0.0, 0.0, -np.inf]).reshape(3, 1, 1, 1)))[0, 0, 0, 0])
    3 ± 8e-15
    """
    require_evaluable(instance, OUTPUTS)
    made = attention.define(instance.attention(), relative, output)
    return Enclosure(restored(instance, made.midpoint), restored(instance, made.radius))


def evaluate(instance: Instance, relative: float = 1e-12) -> Exact:
    """The attention that a merge is, with its scores and probabilities, in the shapes of that attention."""
    require_evaluable(instance)
    return attention.evaluate(instance.attention(), relative)


def restored(instance: Instance, x: NDArray[Any]) -> NDArray[Any]:
    """(b·n, h, 1, …) of the attention as (b, h, n, …) of the merge."""
    _, b, h, n, _ = instance.outputs.shape
    return np.moveaxis(x.reshape(b, n, h, *x.shape[3:]), 1, 2)
