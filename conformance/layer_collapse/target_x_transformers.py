"""lucidrains' x-transformers: ``Encoder`` and ``Decoder``, with the weights of the instance.

Source: https://github.com/lucidrains/x-transformers.  Their norms have no epsilon to choose: 1e-5 for layer norm, and
none for RMS norm, which is not asked for here.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from assay.conformance.interface.kernel import Declined
from assay.conformance.layer_collapse.target_torch import columns, filled, kernel, rows

if TYPE_CHECKING:
    from assay.conformance.interface.kernel import Kernel

__all__ = ["layers"]

_EPSILON = 1e-5


def layers(name: str) -> Kernel:
    importlib.import_module("x_transformers")
    lacks = (
        "no_skip without_norm without_mlp without_output_weights any_scale value_dim rms_norm norm_bias gelu_tanh relu"
    )
    return kernel(name, importlib.metadata.version("x-transformers"), _layers, lacks)


def _layers(
    tokens: Any, query_weights: Any, key_weights: Any, value_weights: Any, *, scale: float, causal: bool = False,
    output_weights: Any = None, mask: Any = None, norm: str = "layer", norm_place: str = "pre",
    epsilon: float = _EPSILON, final_norm: bool = False, attention_norm_gain: Any = None, mlp_norm_gain: Any = None,
    final_norm_gain: Any = None, up_weights: Any = None, up_bias: Any = None, gate_weights: Any = None,
    down_weights: Any = None, down_bias: Any = None, activation: str = "relu",
) -> Any:  # fmt: skip
    import torch
    from x_transformers import Decoder, Encoder

    depth, heads, d, k = query_weights.shape
    if epsilon != _EPSILON:
        raise Declined("the epsilon of its layer norm is 1e-5")
    if norm_place == "post" and final_norm:
        raise Declined("no final norm after post-norm")
    hidden = up_weights.shape[2]
    with torch.inference_mode():
        model = (Decoder if causal else Encoder)(
            dim=d, depth=depth, heads=heads, attn_dim_head=k, attn_kv_heads=key_weights.shape[1],
            pre_norm=norm_place == "pre", pre_norm_has_final_norm=final_norm, ff_mult=hidden / d,
            ff_swish=activation == "silu", ff_glu=gate_weights is not None, verbose=False, attn_project_out=True,
            norm_add_unit_offset=False,
        ).eval().to(tokens.dtype)  # fmt: skip
        if len(model.layers) != 2 * depth:
            raise Declined("another order of sub-layers")
        for i in range(depth):
            (norms, own, _), (mlp_norms, mlp, _) = model.layers[2 * i], model.layers[2 * i + 1]
            filled(own.to_q.weight, rows(query_weights[i]))
            filled(own.to_k.weight, rows(key_weights[i]))
            filled(own.to_v.weight, rows(value_weights[i]))
            filled(own.to_out.weight, columns(output_weights[i]))
            first, *_, last = [module for module in mlp.modules() if isinstance(module, torch.nn.Linear)]
            up, bias = up_weights[i].T, None if up_bias is None else up_bias[i]
            if gate_weights is not None:
                up = torch.cat([up, gate_weights[i].T])
                bias = None if bias is None else torch.cat([bias, 0 * bias])
            filled(first.weight, up)
            filled(first.bias, bias)
            filled(last.weight, down_weights[i].T)
            filled(last.bias, None if down_bias is None else down_bias[i])
            place = 0 if norm_place == "pre" else 2
            for modules, gain in ((norms, attention_norm_gain), (mlp_norms, mlp_norm_gain)):
                filled(modules[place].gamma, None if gain is None else gain[i], 1.0)
        if final_norm:
            filled(model.final_norm.gamma, final_norm_gain, 1.0)
        made, between = model(tokens[None], mask=None if mask is None else mask[None], return_hiddens=True)
        return torch.cat([*between.block_hiddens[:-1], made])
