"""What kernels get wrong in the online softmax: sums that are not rescaled when the running maximum grows.

Instances have the fields of attention's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.attention import evaluate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.attention import Instance

__all__ = [
    "denominator_unscaled",
    "denominator_unscaled_lse",
    "excess_of_maximum",
    "more_weight",
    "needs_rescaling",
    "numerator_unscaled",
    "unscaled",
]

Altered = Callable[["Instance", "NDArray[np.float64]"], "NDArray[np.float64]"]


def excess_of_maximum(instance: Instance, tile: int) -> NDArray[np.float64]:
    """The final maximum less the running maximum after a key's tile, m − m_t ≥ 0: (b, h_q, n_q, n_k).

    It is 0 where no key was read before.
    """
    score = np.where(instance.visible(), evaluate(instance).score.midpoint, -np.inf)
    running = np.maximum.accumulate(score, axis=3)
    n_k = score.shape[3]
    last = np.minimum(np.arange(n_k) // tile * tile + tile, n_k) - 1
    running = running[..., last]
    if instance.sink is not None:
        running = np.maximum(running, instance.sink.astype(np.float64)[None, :, None, None])
    with np.errstate(invalid="ignore"):
        above = running[..., -1:] - running
    return np.where(np.isfinite(above), above, 0.0)


def unscaled(instance: Instance, tile: int) -> Instance | None:
    """Neither numerator nor denominator is rescaled, so the weight of a key is e^(s − m_t)."""
    excess = excess_of_maximum(instance, tile)
    if not excess.any() or instance.sink is not None:
        return None
    bias = np.zeros_like(excess)
    if instance.bias is not None:
        bias = np.broadcast_to(instance.bias.astype(np.float64), excess.shape)
    return instance.replace(bias=bias + excess)


def more_weight(instance: Instance, tile: int) -> NDArray[np.float64]:
    """The logarithm of the factor by which a denominator that is not rescaled is too large: (b, h_q, n_q)."""
    score = np.where(instance.visible(), evaluate(instance).score.midpoint, -np.inf)
    top = score.max(axis=3, keepdims=True)
    weight = np.exp(score - np.where(np.isfinite(top), top, 0.0))
    total = weight.sum(axis=3)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        more: NDArray[np.float64] = np.log((weight * np.exp(excess_of_maximum(instance, tile))).sum(axis=3) / total)
    return np.where(total > 0, more, 0.0)


def numerator_unscaled(tile: int) -> Altered:
    """The output if the numerator is not rescaled, but the denominator is."""

    def output(instance: Instance, value: NDArray[np.float64]) -> NDArray[np.float64]:
        return value * np.exp(more_weight(instance, tile))[..., None]

    return output


def denominator_unscaled(tile: int) -> Altered:
    """The output if the denominator is not rescaled, but the numerator is."""

    def output(instance: Instance, value: NDArray[np.float64]) -> NDArray[np.float64]:
        return value * np.exp(-more_weight(instance, tile))[..., None]

    return output


def denominator_unscaled_lse(tile: int) -> Altered:
    """The log-sum-exp if the denominator is not rescaled."""

    def log_sum_exp(instance: Instance, value: NDArray[np.float64]) -> NDArray[np.float64]:
        return value + more_weight(instance, tile)

    return log_sum_exp


def needs_rescaling(instance: Instance, tile: int) -> Instance | None:
    """The instance itself if the running maximum grows after the first tile."""
    return None if unscaled(instance, tile) is None else instance
