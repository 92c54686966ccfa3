"""Attention under a window and sinks as SymPy expressions: exact, for tiny sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec import attention
from assay.spec.attention.symbolic import symbolic_log_sum_exp as attention_log_sum_exp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.small_transformers.instance import Instance

__all__ = ["symbolic", "symbolic_log_sum_exp"]


def symbolic(instance: Instance) -> NDArray[np.object_]:
    """The output as an object array (b, h_q, n_q, d_v) of SymPy expressions in exp and rationals.

    Raises ``ValueError`` for more than 4,096 scores.

    >>> from assay.spec.small_transformers import Instance
    >>> x = np.arange(4.0).reshape(1, 1, 4, 1)
    >>> symbolic(Instance(x, x, x, is_causal=True, window=1, sinks=1))[0, 0, 2, 0]
    2*exp(4)/(1 + exp(4))
    """
    return attention.symbolic(_one_by_one(instance))


def symbolic_log_sum_exp(instance: Instance) -> NDArray[np.object_]:
    """The log-sum-exp as an object array (b, h_q, n_q); −oo for an empty row."""
    return attention_log_sum_exp(_one_by_one(instance))


def _one_by_one(instance: Instance) -> attention.Instance:
    """The attention with its mask written down one pair at a time, straight from what the options mean."""
    b, h, n_q, _ = instance.query.shape
    shape = (b, h, n_q, instance.key.shape[2])
    mask = np.zeros(shape, dtype=bool)
    for batch, head, i, j in np.ndindex(shape):
        seen = not (instance.is_causal and j > i)
        if instance.window is not None and i - j >= instance.window:
            seen = seen and j < instance.sinks
        if instance.mask is not None:
            seen = seen and bool(np.broadcast_to(instance.mask, shape)[batch, head, i, j])
        mask[batch, head, i, j] = seen
    return attention.Instance(instance.query, instance.key, instance.value, scale=instance.scale, mask=mask)
