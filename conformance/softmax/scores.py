"""What kernels of the softmax family get wrong between the product and the softmax: scale, softcap, sink, hiding.

Each function makes a change: it maps an instance to the one that a kernel with the bug would, in effect, be solving,
and gives ``None`` where the bug changes nothing.  Instances have the fields of attention's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.floats import dtype_named

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.attention import Instance

__all__ = [
    "cap_after_bias",
    "cap_after_hiding",
    "cap_of_raw",
    "finite_mask",
    "padded",
    "rounded_scale",
    "scale_of",
    "scaled",
    "scaled_scores",
    "sink_times",
    "sink_with_value",
    "standard_scale",
]

Wrong = Callable[["Instance"], "Instance | None"]


def scaled(scale: Callable[[Instance], float]) -> Wrong:
    """The scale is ``scale(instance)``."""

    def wrong(instance: Instance) -> Instance | None:
        other = scale(instance)
        return None if other == instance.scale or not math.isfinite(other) else instance.replace(scale=other)

    return wrong


def scale_of(instance: Instance) -> float:
    """The scale of an instance."""
    assert instance.scale is not None
    return instance.scale


def standard_scale(instance: Instance, dim: int | None = None) -> float:
    """1/√dim."""
    return 1.0 / math.sqrt(dim or instance.query.shape[3])


def padded(instance: Instance, to: int) -> float:
    """The scale of a dim that is padded to a multiple of ``to``, or to a power of two if that is 0."""
    dim = instance.query.shape[3]
    padded = -(-dim // to) * to if to else 1 << (dim - 1).bit_length()
    return standard_scale(instance, padded) if scale_of(instance) == standard_scale(instance) else scale_of(instance)


def rounded_scale(name: str) -> Callable[[Instance], float]:
    """The scale, rounded to a type."""
    return lambda instance: float(np.asarray(scale_of(instance)).astype(dtype_named(name)))


def cap_of_raw(instance: Instance) -> Instance | None:
    """The cap is applied before the scale: scale·c·tanh(raw/c), which is a cap of |scale|·c on scaled scores."""
    if instance.softcap is None or scale_of(instance) == 0:
        return None
    return instance.replace(softcap=abs(scale_of(instance)) * instance.softcap)


def scaled_scores(instance: Instance) -> NDArray[np.float64]:
    """scale·Q Kᵀ in float64: (b, h_q, n_q, n_k)."""
    key = np.repeat(instance.key.astype(np.float64), instance.group, axis=1)
    return scale_of(instance) * (instance.query.astype(np.float64) @ np.swapaxes(key, 2, 3))


def cap_after_bias(instance: Instance) -> Instance | None:
    """The cap is applied after the bias: c·tanh((s + b)/c).  A bias makes this of c·tanh(s/c)."""
    if instance.softcap is None or instance.bias is None:
        return None
    score, c = scaled_scores(instance), instance.softcap
    bias = np.broadcast_to(instance.bias.astype(np.float64), score.shape)
    hidden = np.isneginf(bias)
    capped = c * np.tanh((score + np.where(hidden, 0.0, bias)) / c) - c * np.tanh(score / c)
    return instance.replace(bias=np.where(hidden, bias, capped))


def finite_mask(value: float) -> Wrong:
    """Hidden keys get this score instead of −∞."""

    def wrong(instance: Instance) -> Instance | None:
        seen = instance.visible()
        if seen.all() or instance.softcap is not None:
            return None
        score = scaled_scores(instance)
        bias = np.zeros_like(score) if instance.bias is None else np.broadcast_to(instance.bias, score.shape)
        filled = np.where(seen, bias.astype(np.float64), value - score)
        return instance.replace(bias=filled, mask=None, causal=None, window=None, key_lengths=None)

    return wrong


def cap_after_hiding(instance: Instance) -> Instance | None:
    """The softcap of what is hidden: c·tanh(−∞) = −c, a score like any other."""
    seen = instance.visible()
    if instance.softcap is None or seen.all():
        return None
    score = scaled_scores(instance)
    capped = instance.softcap * np.tanh(score / instance.softcap)
    bias = np.zeros_like(score) if instance.bias is None else np.broadcast_to(instance.bias, score.shape)
    hidden = np.where(seen, bias.astype(np.float64), -instance.softcap - capped)
    return instance.replace(bias=hidden, mask=None, causal=None, window=None, key_lengths=None)


def sink_times(factor: Callable[[Instance], float]) -> Wrong:
    """The sink times a factor."""

    def wrong(instance: Instance) -> Instance | None:
        if instance.sink is None or factor(instance) == 1.0:
            return None
        return instance.replace(sink=instance.sink.astype(np.float64) * factor(instance))

    return wrong


def sink_with_value(instance: Instance) -> Instance | None:
    """The sink counts as a key with the value of the first key."""
    if instance.sink is None:
        return None
    b, h, n_q, _ = instance.query.shape
    n_k = instance.key.shape[2]
    full = (b, h, n_q, n_k)
    bias = np.zeros(full) if instance.bias is None else np.broadcast_to(instance.bias.astype(np.float64), full)
    column = np.broadcast_to(instance.sink.astype(np.float64)[None, :, None, None], (b, h, n_q, 1))
    return instance.replace(
        key=np.concatenate([instance.key, np.zeros_like(instance.key[:, :, :1])], axis=2),
        value=np.concatenate([instance.value, instance.value[:, :, :1]], axis=2),
        bias=np.concatenate([bias, column], axis=3),
        mask=np.concatenate([instance.visible(), np.ones((b, h, n_q, 1), dtype=bool)], axis=3),
        causal=None,
        window=None,
        key_lengths=None,
        sink=None,
    )
