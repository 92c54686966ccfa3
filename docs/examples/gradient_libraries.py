"""Gradients of libraries that are no built-in target, each in a few lines: what docs/findings.md tells of them.

Each needs its library to be installed.  Both forms of docs/attention_gradient.md are here.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np


def keras_torch(query: Any, key: Any, value: Any, *, scale: Any, is_causal: bool = False, mask: Any = None) -> Any:
    """keras.ops.dot_product_attention in the PyTorch backend: a forward pass, of which the judge takes the gradient.

    ``assay check docs/examples/gradient_libraries.py:keras_torch --problem attention_gradient --framework torch``
    """
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    q, k, v = (array.transpose(1, 2) for array in (query, key, value))
    four = None if mask is None else mask.reshape((1,) * (4 - mask.ndim) + tuple(mask.shape))
    made = keras.ops.dot_product_attention(q, k, v, mask=four, scale=scale, is_causal=is_causal)
    return made.transpose(1, 2)


def mlx(
    query: Any, key: Any, value: Any, output: Any, log_sum_exp: Any, grad_output: Any, *, scale: Any, mask: Any = None
) -> Any:
    """mlx.core.vjp of mlx.core.fast.scaled_dot_product_attention: a backward pass, which ignores what it is handed.

    ``assay check docs/examples/gradient_libraries.py:mlx --option empty_row=any``
    """
    import mlx.core as mx

    hidden = None if mask is None else mx.array(np.array(mask))

    def forward(q: Any, k: Any, v: Any) -> Any:
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=hidden)

    arrays = [mx.array(np.ascontiguousarray(array)) for array in (query, key, value)]
    _, gradients = mx.vjp(forward, arrays, [mx.array(np.ascontiguousarray(grad_output))])
    return tuple(np.array(gradient) for gradient in gradients)
