"""Backward passes in NumPy: the formulas of a textbook."""

from __future__ import annotations

from typing import Any

import numpy as np

from assay.conformance.attention_gradient.interface import EXPLICIT_FORM
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of
from assay.spec.softmax.masks import attends

__all__ = ["textbook"]


def textbook() -> Kernel:
    """Probabilities from the log-sum-exp that is handed over, δ from the output, and five matrix products."""
    return Kernel(
        "numpy:attention_gradient",
        _backward,
        "numpy",
        keywords_of(_backward, "attention_gradient"),
        positional=EXPLICIT_FORM.positional,
    )


def _backward(
    query: Any,
    key: Any,
    value: Any,
    output: Any,
    log_sum_exp: Any,
    grad_output: Any,
    *,
    scale: float,
    is_causal: bool = False,
    causal: str | None = None,
    mask: Any = None,
    bias: Any = None,
    window: tuple[int | None, int | None] | None = None,
    key_lengths: Any = None,
    softcap: float | None = None,
    sink: Any = None,
    grad_log_sum_exp: Any = None,
) -> tuple[Any, ...]:
    b, h, n_q, _ = query.shape
    h_k, n_k = key.shape[1:3]
    group = h // h_k
    number = query.dtype.type
    k, v = np.repeat(key, group, axis=1), np.repeat(value, group, axis=1)
    score = query @ np.swapaxes(k, 2, 3) * number(scale)
    slope = number(1.0)
    if softcap is not None:
        share = np.tanh(score / number(softcap))
        score, slope = number(softcap) * share, number(1.0) - share * share
    full = (b, h, n_q, n_k)
    seen = np.empty(full, bool)
    for i in range(b):
        seen[i] = attends(
            n_q,
            n_k,
            length=None if key_lengths is None else int(key_lengths[i]),
            mask=None if mask is None else np.broadcast_to(mask, full)[i],
            bias=None if bias is None else np.broadcast_to(bias, full)[i],
            causal="top-left" if is_causal else causal,
            window=window,
        )
    if bias is not None:
        score = score + np.where(seen, bias, number(0.0)).astype(query.dtype)
    finite = np.where(np.isfinite(log_sum_exp), log_sum_exp, 0.0).astype(query.dtype)
    p = np.where(seen, np.exp(np.where(seen, score - finite[..., None], number(0.0))), number(0.0))
    delta = (grad_output * output).sum(axis=3)
    if grad_log_sum_exp is not None:
        delta = delta - np.where(np.isfinite(log_sum_exp), grad_log_sum_exp, 0.0).astype(query.dtype)
    gradient = p * (grad_output @ np.swapaxes(v, 2, 3) - delta[..., None])
    gradient = np.where(seen, gradient, number(0.0))
    before_cap = gradient * slope
    made = [
        before_cap @ k * number(scale),
        _grouped(np.swapaxes(before_cap, 2, 3) @ query * number(scale), group),
        _grouped(np.swapaxes(p, 2, 3) @ grad_output, group),
    ]
    if bias is not None:
        made.append(_summed(gradient, bias.shape).astype(bias.dtype))
    if sink is not None:
        weight = np.exp(sink[None, :, None] - finite)
        made.append(-(weight * delta).sum(axis=(0, 2)).astype(sink.dtype))
    return tuple(made)


def _grouped(array: Any, group: int) -> Any:
    """The sum over the query heads of every group."""
    b, h, *rest = array.shape
    return array.reshape(b, h // group, group, *rest).sum(axis=2)


def _summed(array: Any, shape: tuple[int, ...]) -> Any:
    """The sum over the axes along which an array of this shape is broadcast."""
    wide = (1,) * (array.ndim - len(shape)) + shape
    over = tuple(axis for axis, (n, m) in enumerate(zip(array.shape, wide, strict=True)) if n != m)
    return array.sum(axis=over, keepdims=True).reshape(shape)
