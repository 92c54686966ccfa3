"""The keys of an instance cut into parts, and what is made of the attention over each part, right or wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.small_transformers import Instance

    Array = NDArray[np.float64]
    Split = Callable[[Instance], list[range]]

__all__ = ["by_size", "evenly", "recombined"]


def _room(instance: Instance) -> int:
    assert instance.oracle_size is not None
    return instance.oracle_size if instance.oracle == "log_sum_exp" else instance.oracle_size - 1


def by_size(instance: Instance) -> list[range]:
    """Parts of as many keys as a call has room for, the last one shorter."""
    n_k, room = instance.key.shape[2], _room(instance)
    return [range(first, min(first + room, n_k)) for first in range(0, n_k, room)]


def evenly(instance: Instance) -> list[range]:
    """As few parts as there can be, whose sizes differ by one at most."""
    n_k = instance.key.shape[2]
    count = -(-n_k // _room(instance))
    return [range(part * n_k // count, (part + 1) * n_k // count) for part in range(count)]


def recombined(instance: Instance, cut: Split, weigh: Callable[[Array], Array]) -> Array:
    """Σ_t w_t o_t in float64, (b, h_q, n_q, d_v).

    weigh(log-sum-exps of the parts, (parts, b, h_q, n_q)): the weights w_t, of the same shape.
    """
    query, key, value = (getattr(instance, name).astype(np.float64) for name in ("query", "key", "value"))
    key, value = (np.repeat(x, instance.group, axis=1) for x in (key, value))
    assert instance.scale is not None
    score = np.where(instance.visible(), instance.scale * (query @ np.swapaxes(key, 2, 3)), -np.inf)
    logs, outputs = [], []
    for part in (slice(block.start, block.stop) for block in cut(instance)):
        log = np.logaddexp.reduce(score[..., part], axis=3)
        weight = np.exp(score[..., part] - np.where(np.isfinite(log), log, 0.0)[..., None])
        logs.append(log)
        outputs.append(weight @ value[:, :, part])
    with np.errstate(all="ignore"):
        made = weigh(np.stack(logs))
    return np.asarray((np.where(np.isfinite(made), made, 0.0)[..., None] * np.stack(outputs)).sum(axis=0))
