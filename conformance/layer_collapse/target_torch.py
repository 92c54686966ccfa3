"""PyTorch's ``TransformerEncoderLayer`` and ``MultiheadAttention`` with the weights of the instance.

Source: https://docs.pytorch.org/docs/stable/nn.html#transformer-layers.  A layer has two routes: one of fused kernels,
where nothing is differentiated, and one of Python.  Gains that are not given are 1, and biases 0, which changes no
result.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["attention", "columns", "encoder_layer", "filled", "kernel", "rows", "stacked", "stacked_biases"]


def kernel(name: str, version: str, function: Callable[..., Any], lacks: str, **declared: Any) -> Kernel:
    """A kernel of PyTorch arrays that lacks some capabilities, words with spaces between them."""
    keywords = keywords_of(function, "layer_collapse")
    return Kernel(name, function, "torch", keywords, lacks=frozenset(lacks.split()), version=version, **declared)


def rows(weights: Any) -> Any:
    """Weights of heads (h, d, k) as the matrix (h·k, d) of a linear layer, the rows of a head side by side."""
    return weights.transpose(1, 2).reshape(-1, weights.shape[1])


def columns(weights: Any) -> Any:
    """Output weights of heads (h, v, d) as the matrix (d, h·v) of a linear layer."""
    return weights.reshape(-1, weights.shape[2]).T


def filled(parameter: Any, value: Any, default: float = 0.0) -> None:
    """A parameter with a value of the same size, or with a number where none is given."""
    if parameter is None:
        return
    if value is None:
        parameter.fill_(default)
    else:
        parameter.copy_(value.reshape(parameter.shape))


def stacked(layer: int, *weights: Any) -> Any:
    """The matrix of a fused projection of one layer."""
    import torch

    return torch.cat([rows(one[layer]) for one in weights])


def stacked_biases(layer: int, weights: tuple[Any, ...], biases: tuple[Any, ...]) -> Any:
    """The bias of a fused projection of one layer, 0 where none is given."""
    import torch

    pairs = zip(weights, biases, strict=True)
    return torch.cat([(w[layer, :, 0] * 0 if b is None else b[layer]).flatten() for w, b in pairs])


_FIXED = "free_head_dim value_dim any_scale grouped_heads without_output_weights"


def encoder_layer(name: str, *, fused: bool) -> Kernel:
    """fused: by the route of fused kernels wherever the layer takes it; else by that of Python."""
    torch = importlib.import_module("torch")
    lacks = f"{_FIXED} no_skip without_norm without_mlp rms_norm"
    return kernel(name, torch.__version__, functools.partial(_encoder, fused), lacks)


def _encoder(
    fused: bool, tokens: Any, query_weights: Any, key_weights: Any, value_weights: Any, *, scale: float,
    output_weights: Any = None, query_bias: Any = None, key_bias: Any = None, value_bias: Any = None,
    output_bias: Any = None, mask: Any = None, causal: bool = False, norm: str = "layer", norm_place: str = "pre",
    epsilon: float = 1e-5, final_norm: bool = False, attention_norm_gain: Any = None, attention_norm_bias: Any = None,
    mlp_norm_gain: Any = None, mlp_norm_bias: Any = None, final_norm_gain: Any = None, final_norm_bias: Any = None,
    up_weights: Any = None, up_bias: Any = None, down_weights: Any = None, down_bias: Any = None,
    activation: str = "relu",
) -> Any:  # fmt: skip
    import torch

    n, d = tokens.shape
    weights, biases = (query_weights, key_weights, value_weights), (query_bias, key_bias, value_bias)
    functions = {"relu": torch.nn.ReLU(), "gelu": torch.nn.GELU()}
    functions |= {"gelu_tanh": torch.nn.GELU("tanh"), "silu": torch.nn.SiLU()}
    x, after = tokens[None], []
    with torch.inference_mode():
        seen = torch.triu(torch.ones(n, n, dtype=torch.bool), 1) if causal else None
        padding = None if mask is None else ~mask[None]
        for i in range(len(query_weights)):
            layer = torch.nn.TransformerEncoderLayer(
                d, query_weights.shape[1], up_weights.shape[2], 0.0, functions[activation], epsilon,
                batch_first=True, norm_first=norm_place == "pre", dtype=tokens.dtype,
            ).train(not fused)  # fmt: skip
            attention_ = layer.self_attn
            filled(attention_.in_proj_weight, stacked(i, *weights))
            filled(attention_.in_proj_bias, stacked_biases(i, weights, biases))
            filled(attention_.out_proj.weight, columns(output_weights[i]))
            filled(layer.linear1.weight, up_weights[i].T)
            filled(layer.linear2.weight, down_weights[i].T)
            for parameter, value, default in (
                (attention_.out_proj.bias, output_bias, 0.0),
                (layer.norm1.weight, attention_norm_gain, 1.0),
                (layer.norm1.bias, attention_norm_bias, 0.0),
                (layer.norm2.weight, mlp_norm_gain, 1.0),
                (layer.norm2.bias, mlp_norm_bias, 0.0),
                (layer.linear1.bias, up_bias, 0.0),
                (layer.linear2.bias, down_bias, 0.0),
            ):
                filled(parameter, None if value is None else value[i], default)
            x = layer(x, src_mask=seen, src_key_padding_mask=padding, is_causal=causal and mask is None)
            after.append(x[0])
        if final_norm:
            after[-1] = torch.nn.functional.layer_norm(after[-1], (d,), final_norm_gain, final_norm_bias, epsilon)
        return torch.stack(after)


def attention(name: str) -> Kernel:
    """Layers of attention alone, whose results are added to their inputs here."""
    torch = importlib.import_module("torch")
    return kernel(name, torch.__version__, _attention, _FIXED)


def _attention(
    tokens: Any, query_weights: Any, key_weights: Any, value_weights: Any, *, scale: float, skip: bool = True,
    causal: bool = False, output_weights: Any = None, query_bias: Any = None, key_bias: Any = None,
    value_bias: Any = None, output_bias: Any = None, mask: Any = None,
) -> Any:  # fmt: skip
    import torch

    n, d = tokens.shape
    weights, biases = (query_weights, key_weights, value_weights), (query_bias, key_bias, value_bias)
    biased = any(bias is not None for bias in (*biases, output_bias))
    x, after = tokens[None], []
    with torch.inference_mode():
        seen = torch.triu(torch.ones(n, n, dtype=torch.bool), 1) if causal else None
        padding = None if mask is None else ~mask[None]
        for i in range(len(query_weights)):
            layer = torch.nn.MultiheadAttention(
                d, query_weights.shape[1], batch_first=True, bias=biased, dtype=tokens.dtype
            ).eval()
            filled(layer.in_proj_weight, stacked(i, *weights))
            filled(layer.in_proj_bias, stacked_biases(i, weights, biases) if biased else None)
            filled(layer.out_proj.weight, columns(output_weights[i]))
            filled(layer.out_proj.bias, None if output_bias is None else output_bias[i])
            update = layer(x, x, x, key_padding_mask=padding, need_weights=False, attn_mask=seen)[0]
            x = x + update if skip else update
            after.append(x[0])
        return torch.stack(after)
