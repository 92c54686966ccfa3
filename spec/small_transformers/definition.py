"""What a simulation by a smaller transformer is to return: attention, evaluated with certainty.

The oracle is a means and changes nothing of what is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.spec import attention
from assay.spec.memory import OUTPUTS, require_evaluable

if TYPE_CHECKING:
    from assay.spec.attention.definition import Exact
    from assay.spec.enclosure import Enclosure
    from assay.spec.small_transformers.instance import Instance

__all__ = ["define", "evaluate"]


def define(instance: Instance, relative: float = 1e-12, output: str = "output") -> Enclosure:
    """The attention that is simulated, certified.

    ``output="output"``: shape (b, h_q, n_q, d_v), o_i = Σ_j p_ij v_j with radius at most ``relative``·Σ_j p_ij|v_jc|.
    ``output="log_sum_exp"``: shape (b, h_q, n_q), radius at most ``relative``·max(1, |lse|), −inf for an empty row.
    Source: proofs_notes/small_transformers.md.
    Raises ``ValueError`` for another output or a ``relative`` outside (0, 1).

    >>> import numpy as np
    >>> from assay.spec.small_transformers import Instance
    >>> x = np.arange(4.0).reshape(1, 1, 4, 1)
    >>> print(define(Instance(x, x, x, oracle_size=3, is_causal=True, window=1, sinks=1))[0, 0, 2, 0])
    1.9640275800758 ± 1e-14
    """
    require_evaluable(instance, OUTPUTS)
    return attention.define(instance.attention(), relative, output)


def evaluate(instance: Instance, relative: float = 1e-12) -> Exact:
    """The same with the scores and probabilities that lead to it: arrays of n_q × n_k, for moderate sizes."""
    require_evaluable(instance)
    return attention.evaluate(instance.attention(), relative)
