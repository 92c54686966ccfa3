"""Attention of libraries that are no built-in target, each in a few lines: what docs/findings.md tells of them.

Each function has the signature of docs/kernels.md on NumPy arrays, and needs its library to be installed.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np


def mlx(query: Any, key: Any, value: Any, *, scale: Any, causal: Any = None, mask: Any = None, sink: Any = None) -> Any:
    """mlx.core.fast.scaled_dot_product_attention; its causal mask is aligned bottom-right."""
    import mlx.core as mx

    if (causal == "top-left" and query.shape[2] != key.shape[2]) or (causal and mask is not None):
        raise NotImplementedError("mask is one argument: 'causal', which is aligned bottom-right, or an array")
    q, k, v = (mx.array(np.ascontiguousarray(array)) for array in (query, key, value))
    chosen = "causal" if causal else None if mask is None else mx.array(np.array(mask))
    sinks = None if sink is None else mx.array(np.array(sink))
    return np.array(mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=chosen, sinks=sinks))


def keras_numpy(query: Any, key: Any, value: Any, *, scale: Any, is_causal: bool = False, mask: Any = None) -> Any:
    """keras.ops.dot_product_attention in the NumPy backend; arrays are (batch, length, heads, dim) there."""
    os.environ["KERAS_BACKEND"] = "numpy"
    import keras

    q, k, v = (np.swapaxes(np.array(array), 1, 2) for array in (query, key, value))
    four = None if mask is None else np.array(mask).reshape((1,) * (4 - mask.ndim) + mask.shape)
    return np.swapaxes(keras.ops.dot_product_attention(q, k, v, mask=four, scale=scale, is_causal=is_causal), 1, 2)


def openvino_operator(
    query: Any, key: Any, value: Any, *, scale: Any, is_causal: bool = False, mask: Any = None
) -> Any:
    """OpenVINO's operator ScaledDotProductAttention on the CPU; with is_causal it ignores the mask."""
    if mask is None and not is_causal:
        mask = np.ones((1, 1, query.shape[2], key.shape[2]), dtype=bool)
    feeds = [np.array(array) for array in (query, key, value, np.float32(scale))]
    if mask is not None:
        feeds.append(np.broadcast_to(mask, (*(1, 1, 1, *mask.shape)[-4:-2], query.shape[2], key.shape[2])).copy())
    return np.array(_openvino("operator", mask is not None, is_causal)(feeds)[0])


def openvino_products(query: Any, key: Any, value: Any, *, scale: Any) -> Any:
    """softmax(scale·Q Kᵀ) V as three nodes of an OpenVINO graph, which the CPU plugin fuses into one."""
    return np.array(_openvino("products", False, False)([np.array(query) * np.float32(scale), key, value])[0])


@functools.cache
def _openvino(kind: str, masked: bool, causal: bool) -> Any:
    """A compiled model with dynamic shapes; without the hint float32 would be computed in bfloat16."""
    import openvino
    from openvino import opset13 as op

    q, k, v = arrays = [op.parameter([-1] * 4, openvino.Type.f32) for _ in "qkv"]
    if kind == "products":
        model = openvino.Model([op.matmul(op.softmax(op.matmul(q, k, False, True), 3), v, False, False)], arrays)
    else:
        scale = op.parameter([], openvino.Type.f32)
        mask = op.parameter([-1] * 4, openvino.Type.boolean) if masked else op.constant(np.float32(0))
        inputs = [*arrays, scale, *([mask] if masked else [])]
        model = openvino.Model([op.scaled_dot_product_attention(q, k, v, mask, scale, causal)], inputs)
    return openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
