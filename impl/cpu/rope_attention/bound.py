"""A bound on the error of the exact kernel from norms alone, without its scores (ATT-8, ROPE-7)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from assay.impl.cpu.attention.bound import exact_bound
from assay.impl.cpu.attention.certificate import STORED
from assay.impl.cpu.attention.plan import SLACK
from assay.impl.cpu.rope_attention.jobs import longest, operator_norm
from assay.impl.cpu.rope_attention.turned import OFF

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.cpu.rope_attention.turned import Turned
    from assay.spec.precision import Precision
    from assay.spec.rope_attention.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["exact_error"]


def exact_error(instance: Instance, scores: Turned, machine: Precision) -> Array:
    """(b, h_q, 1, d_v): a bound on the error of the exact kernel of a class, for ``scores`` in its arithmetic.

    It contains the rounding to the dtype of the instance, where that is shorter.  +inf where nothing is certain.
    """
    b, h_q, _, d_v = (*instance.query.shape[:3], instance.value.shape[3])
    n_k, d = instance.key.shape[2:]
    found = np.full((b, h_q, 1, d_v), math.inf)
    norm, places = 1.0, d
    if scores.relative is not None:
        norm, places = operator_norm(scores.relative.astype(np.float64), scores), len(scores.relative)
    bias = np.zeros(h_q)
    if instance.relative_bias is not None:
        rows = instance.relative_bias.astype(np.float64)
        bias[:] = np.abs(np.where(np.isfinite(rows), rows, 0.0)).max(axis=1)
    assert instance.scale is not None
    unit, least = STORED[instance.query.dtype.name] if machine.name != instance.query.dtype.name else (0.0, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        for batch in range(b):
            for number in range(instance.key.shape[1]):
                value = instance.value[batch, number].astype(np.float64)
                low, high = value.min(axis=0), value.max(axis=0)
                size, spread = np.maximum(np.abs(low), np.abs(high)), (high - low) * SLACK
                key = longest(scores.key[batch, number].astype(np.float64).T)
                for head in range(number * instance.group, (number + 1) * instance.group):
                    query = longest(scores.query[batch, head].astype(np.float64).T)
                    # a product of W and a key may be larger than both, and meets what a scaled query lost
                    reach = norm * key if scores.relative is not None else 0.0
                    norms = places * (query + reach) if scores.relative is not None else None
                    here = exact_bound(
                        machine, n_k, places, instance.scale, query * max(norm, 1.0), key, size, spread,
                        float(bias[head]), norms, reach,
                    )  # fmt: skip
                    if scores.rotary:
                        shifted = OFF[machine.name] * machine.product * abs(instance.scale) * query * key * 1.01
                        here = here + math.tanh(shifted / 2.0) * spread
                    here = (here + unit * (size + here)) * SLACK + least
                    found[batch, head, 0] = np.where(np.isnan(here), math.inf, here)
    return found
