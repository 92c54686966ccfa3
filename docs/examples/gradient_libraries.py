"""Gradients of libraries that are no built-in target, each in a few lines: what docs/findings.md tells of them.

Each needs its library to be installed.  Both forms of docs/attention_gradient.md are here.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np


def keras_torch(
    query: Any, key: Any, value: Any, *, scale: Any, is_causal: bool = False, mask: Any = None, bias: Any = None
) -> Any:
    """keras.ops.dot_product_attention in the PyTorch backend: a forward pass, of which the judge takes the gradient.

    ``assay check docs/examples/gradient_libraries.py:keras_torch --problem attention_gradient --framework torch``
    """
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    if bias is not None and (is_causal or mask is not None):
        raise NotImplementedError("a bias excludes a mask, and the PyTorch backend passes it on beside is_causal")
    q, k, v = (array.transpose(1, 2) for array in (query, key, value))
    four = {
        name: array.reshape((1,) * (4 - array.ndim) + tuple(array.shape))
        for name, array in (("mask", mask), ("bias", bias))
        if array is not None
    }
    made = keras.ops.dot_product_attention(q, k, v, **four, scale=scale, is_causal=is_causal)
    return made.transpose(1, 2)


def mlx(
    query: Any,
    key: Any,
    value: Any,
    output: Any,
    log_sum_exp: Any,
    grad_output: Any,
    *,
    scale: Any,
    causal: Any = None,
    mask: Any = None,
    bias: Any = None,
    sink: Any = None,
) -> Any:
    """mlx.core.vjp of mlx.core.fast.scaled_dot_product_attention: a backward pass, which ignores what it is handed.

    ``assay check docs/examples/gradient_libraries.py:mlx --option empty_row=any``
    """
    import mlx.core as mx

    if causal == "top-left" and query.shape[2] != key.shape[2]:
        raise NotImplementedError("the causal mask of MLX is aligned bottom-right")
    if sum(option is not None for option in (causal, mask, bias)) > 1:
        raise NotImplementedError("mask is one argument: 'causal', a boolean array or an additive one")

    def handed(array: Any) -> Any:
        """MLX reads no bfloat16 of NumPy's; float32 in between changes nothing."""
        made = mx.array(np.array(array, dtype=np.float32 if array.dtype.name == "bfloat16" else array.dtype))
        return made.astype(mx.bfloat16) if array.dtype.name == "bfloat16" else made

    hidden = "causal" if causal is not None else None if mask is None else mx.array(np.array(mask))
    named = {"query": query, "key": key, "value": value, "bias": bias, "sink": sink}
    named = {name: array for name, array in named.items() if array is not None}

    def forward(*arrays: Any) -> Any:
        of = dict(zip(named, arrays, strict=True))
        q, k, v = of["query"], of["key"], of["value"]
        return mx.fast.scaled_dot_product_attention(
            q, k, v, scale=scale, mask=of.get("bias", hidden), sinks=of.get("sink")
        )

    _, gradients = mx.vjp(forward, [handed(array) for array in named.values()], [handed(grad_output)])
    return tuple(
        np.array(gradient.astype(mx.float32)).astype(array.dtype)
        for gradient, array in zip(gradients, named.values(), strict=True)
    )
