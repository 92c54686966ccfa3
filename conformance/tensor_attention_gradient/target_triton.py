"""The backward pass of 2-simplicial attention in Triton, on the CPU through Triton's interpreter."""

from __future__ import annotations

import importlib
from typing import Any

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of
from assay.conformance.tensor_attention.target_triton import how, interpreted, sizes, tiles
from assay.conformance.tensor_attention_gradient.interface import explicit

__all__ = ["simplicial"]


def simplicial(name: str) -> Kernel:
    interpreted()
    version = str(importlib.import_module("triton").__version__)
    keywords = keywords_of(_backward, "tensor_attention_gradient")
    return Kernel(name, _backward, "torch", keywords, positional=explicit(3), version=version)


def _backward(
    query: Any, key1: Any, key2: Any, value1: Any, value2: Any, output: Any, log_sum_exp: Any, grad_output: Any, *,
    scale: float, is_causal: bool = False, window: tuple[int | None, ...] | None = None, grad_log_sum_exp: Any = None,
) -> Any:  # fmt: skip
    """One kernel for dQ, and one that is called for each mode, the modes exchanged the second time."""
    import torch

    q, k1, k2, v1, v2, grad = (x.contiguous() for x in (query, key1, key2, value1, value2, grad_output))
    delta = (grad.float() * output.float()).sum(dim=3)
    some = torch.isfinite(log_sum_exp)
    if grad_log_sum_exp is not None:
        delta = delta - torch.where(some, grad_log_sum_exp.float(), 0.0)
    # a query that attends to nothing has no weights, whatever its log-sum-exp is taken for
    lse = torch.where(some, log_sum_exp.float(), 0.0).contiguous()
    kernels, delta = interpreted(), delta.contiguous()
    heads = q.shape[0] * q.shape[1]
    dq = torch.zeros(q.shape, dtype=torch.float32)
    options = how(q, k1, k2, v1, scale, is_causal, window)
    arrays = (q, k1, k2, v1, v2, grad, lse, delta)
    kernels.backward_query[(tiles(q), heads)](*arrays, dq, *sizes(q, (k1, k2), v1), *options)
    made = []
    for keys, values, windows in (
        ((k1, k2), (v1, v2), window),
        ((k2, k1), (v2, v1), None if window is None else window[::-1]),
    ):
        dk, dv = (torch.zeros(q.shape[0], q.shape[1], *x.shape[2:], dtype=torch.float32) for x in (keys[0], values[0]))
        options = how(q, *keys, v1, scale, is_causal, windows)
        arrays = (q, *keys, *values, grad, lse, delta)
        kernels.backward_keys[(tiles(keys[0]), heads)](*arrays, dk, dv, *sizes(q, keys, v1), *options)
        made.append([_gathered(x, keys[0].shape[1]) for x in (dk, dv)])
    (dk1, dv1), (dk2, dv2) = made
    return tuple(x.to(q.dtype) for x in (dq, dk1, dk2, dv1, dv2))


def _gathered(of_heads: Any, key_heads: int) -> Any:
    """The sum over the query heads of every group."""
    return of_heads.unflatten(1, (key_heads, -1)).sum(dim=2)
