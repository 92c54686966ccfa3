"""A stack of Keras layers: attention, norms and dense layers, with the weights of the instance.

Source: https://keras.io/api/layers.  Keras has no whole layer of a transformer: what is put together here are
``MultiHeadAttention`` or ``GroupQueryAttention``, ``LayerNormalization`` or ``RMSNormalization``, ``Dense`` and
``activations``, in the backend of PyTorch where the user has chosen no other.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from assay.conformance.interface.kernel import Declined
from assay.conformance.layer_collapse.target_torch import filled, kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from assay.conformance.interface.kernel import Kernel

__all__ = ["layers"]


def layers(name: str) -> Kernel:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    version = importlib.import_module("keras").__version__
    return kernel(name, version, _layers, "any_scale without_output_weights")


def _layers(
    tokens: Any, query_weights: Any, key_weights: Any, value_weights: Any, *, scale: float, skip: bool = True,
    causal: bool = False, output_weights: Any = None, query_bias: Any = None, key_bias: Any = None,
    value_bias: Any = None, output_bias: Any = None, mask: Any = None, norm: str | None = None,
    norm_place: str = "pre", epsilon: float = 1e-3, final_norm: bool = False, attention_norm_gain: Any = None,
    attention_norm_bias: Any = None, mlp_norm_gain: Any = None, mlp_norm_bias: Any = None, final_norm_gain: Any = None,
    final_norm_bias: Any = None, up_weights: Any = None, up_bias: Any = None, gate_weights: Any = None,
    down_weights: Any = None, down_bias: Any = None, activation: str = "relu",
) -> Any:  # fmt: skip
    import keras
    import torch

    dtype = str(tokens.dtype).removeprefix("torch.")
    function = {
        "relu": keras.activations.relu,
        "gelu": lambda x: keras.activations.gelu(x, approximate=False),
        "gelu_tanh": lambda x: keras.activations.gelu(x, approximate=True),
        "silu": keras.activations.silu,
    }[activation]

    def normalised(x: Any, gain: Any, bias: Any) -> Any:
        if norm is None:
            return x
        kinds = {"layer": keras.layers.LayerNormalization, "rms": keras.layers.RMSNormalization}
        layer = kinds[norm](epsilon=epsilon, dtype=dtype)
        layer.build(x.shape)
        _fill(layer, {"gamma": gain, "scale": gain, "beta": bias})
        return layer(x)

    def dense(x: Any, weights: Any, bias: Any) -> Any:
        layer = keras.layers.Dense(weights.shape[1], use_bias=bias is not None, dtype=dtype)
        layer.build(x.shape)
        _fill(layer, {"kernel": weights, "bias": bias})
        return layer(x)

    def attended(i: int, x: Any) -> Any:
        (h, _, k), h_k, v = query_weights[i].shape, key_weights.shape[1], value_weights.shape[3]
        biased = any(bias is not None for bias in (query_bias, key_bias, value_bias, output_bias))
        if h == h_k:
            layer = keras.layers.MultiHeadAttention(h, k, v, use_bias=biased, dtype=dtype)
        elif v != k:
            raise Declined("one head dim for keys and values where heads are grouped")
        else:
            layer = keras.layers.GroupQueryAttention(k, h, h_k, use_bias=biased, dtype=dtype)
        layer.build(x.shape, x.shape)
        for part, weights, bias in (
            ("query", query_weights, query_bias),
            ("key", key_weights, key_bias),
            ("value", value_weights, value_bias),
        ):
            given = {"kernel": weights[i].transpose(0, 1), "bias": None if bias is None else bias[i]}
            _fill(getattr(layer, f"_{part}_dense"), given)
        bias = None if output_bias is None else output_bias[i]
        _fill(layer._output_dense, {"kernel": output_weights[i], "bias": bias})
        seen = None if mask is None else mask[None, None].expand(1, len(tokens), -1)
        return layer(x, x, use_causal_mask=causal, attention_mask=seen)

    def mlp(i: int, x: Any) -> Any:
        up = dense(x, up_weights[i], None if up_bias is None else up_bias[i])
        hidden = function(up) if gate_weights is None else function(dense(x, gate_weights[i], None)) * up
        return dense(hidden, down_weights[i], None if down_bias is None else down_bias[i])

    def sublayer(i: int, x: Any, made: Callable[[int, Any], Any], gain: Any, bias: Any) -> Any:
        parameters = (None if gain is None else gain[i], None if bias is None else bias[i])
        out = made(i, normalised(x, *parameters) if norm_place == "pre" else x)
        out = x + out if skip else out
        return normalised(out, *parameters) if norm_place == "post" else out

    x, after = tokens[None], []
    with torch.inference_mode():
        for i in range(len(query_weights)):
            x = sublayer(i, x, attended, attention_norm_gain, attention_norm_bias)
            if up_weights is not None:
                x = sublayer(i, x, mlp, mlp_norm_gain, mlp_norm_bias)
            after.append(x)
        if final_norm:
            after[-1] = normalised(after[-1], final_norm_gain, final_norm_bias)
        return torch.cat(after)


def _fill(layer: Any, values: dict[str, Any]) -> None:
    """The variables of a layer by their names; a gain that is not given is 1, a bias 0."""
    for variable in layer.weights:
        value = values.get(variable.name)
        filled(variable.value.data, value, 1.0 if variable.name in ("gamma", "scale") else 0.0)
