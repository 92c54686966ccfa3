"""Small models of transformers, made of a configuration without any download, with the weights of the instance.

BERT and T5 are encoders, GPT-2 and Llama decoders.  Positions are taken out: the position embeddings of GPT-2 are 0,
the relative biases of T5 are 0, and every token of Llama has the rotary position 0, at which nothing is turned.
Source: https://huggingface.co/docs/transformers.
"""

from __future__ import annotations

import functools
import importlib
import math
from typing import TYPE_CHECKING, Any

from assay.conformance.interface.kernel import Declined
from assay.conformance.layer_collapse.target_torch import columns, filled, kernel, rows, stacked, stacked_biases

if TYPE_CHECKING:
    from assay.conformance.interface.kernel import Kernel

__all__ = ["bert", "gpt2", "llama", "t5"]

_ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "silu": "silu"}
_ALWAYS = "no_skip without_norm without_mlp without_output_weights"
_OF_DIM = "free_head_dim value_dim any_scale grouped_heads"


def _made(name: str, module: str, function: Any, lacks: str) -> Kernel:
    version = importlib.import_module("transformers").__version__
    importlib.import_module(f"transformers.models.{module}.modeling_{module}")
    return kernel(name, version, function, lacks)


def _linear(layer: Any, weights: Any, bias: Any = None) -> None:
    """A linear layer with the matrix (out, in) and a bias, 0 where there is none."""
    filled(layer.weight, weights)
    filled(layer.bias, bias)


def _at(array: Any, i: int) -> Any:
    return None if array is None else array[i]


def _attended(tokens: Any, mask: Any) -> Any:
    """Padding as models take it: 1 for a token, of one text.

    It is always there: without it, a decoder takes equal positions for the beginnings of other texts.
    """
    import torch

    return torch.ones(1, len(tokens), dtype=torch.long) if mask is None else mask[None].long()


# --- BERT -------------------------------------------------------------------------------------------------------------


def bert(name: str, *, attention: str) -> Kernel:
    """attention: the implementation, ``sdpa`` or ``eager``."""
    return _made(name, "bert", functools.partial(_bert, attention), f"{_ALWAYS} {_OF_DIM} rms_norm pre_norm")


def _bert(
    attention: str, tokens: Any, query_weights: Any, key_weights: Any, value_weights: Any, *, scale: float,
    output_weights: Any = None, query_bias: Any = None, key_bias: Any = None, value_bias: Any = None,
    output_bias: Any = None, mask: Any = None, norm: str = "layer", norm_place: str = "post", epsilon: float = 1e-12,
    attention_norm_gain: Any = None, attention_norm_bias: Any = None, mlp_norm_gain: Any = None,
    mlp_norm_bias: Any = None, up_weights: Any = None, up_bias: Any = None, down_weights: Any = None,
    down_bias: Any = None, activation: str = "relu",
) -> Any:  # fmt: skip
    import torch
    from transformers.masking_utils import create_bidirectional_mask
    from transformers.models.bert.configuration_bert import BertConfig
    from transformers.models.bert.modeling_bert import BertEncoder

    layers, heads, d, _ = query_weights.shape
    config = BertConfig(
        vocab_size=1, hidden_size=d, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=up_weights.shape[2], hidden_act=_ACTIVATIONS[activation], layer_norm_eps=epsilon,
        attn_implementation=attention,
    )  # fmt: skip
    with torch.inference_mode():
        model = BertEncoder(config).eval().to(tokens.dtype)
        for i, layer in enumerate(model.layer):
            own = layer.attention.self
            _linear(own.query, rows(query_weights[i]), _at(query_bias, i))
            _linear(own.key, rows(key_weights[i]), _at(key_bias, i))
            _linear(own.value, rows(value_weights[i]), _at(value_bias, i))
            _linear(layer.attention.output.dense, columns(output_weights[i]), _at(output_bias, i))
            _linear(layer.intermediate.dense, up_weights[i].T, _at(up_bias, i))
            _linear(layer.output.dense, down_weights[i].T, _at(down_bias, i))
            for module, gain, bias in (
                (layer.attention.output.LayerNorm, attention_norm_gain, attention_norm_bias),
                (layer.output.LayerNorm, mlp_norm_gain, mlp_norm_bias),
            ):
                filled(module.weight, _at(gain, i), 1.0)
                filled(module.bias, _at(bias, i))
        x, after = tokens[None], []
        seen = create_bidirectional_mask(config=config, inputs_embeds=x, attention_mask=_attended(tokens, mask))
        for layer in model.layer:
            x = layer(x, seen)
            x = x[0] if isinstance(x, tuple) else x
            after.append(x[0])
        return torch.stack(after)


# --- GPT-2 ------------------------------------------------------------------------------------------------------------


def gpt2(name: str) -> Kernel:
    lacks = f"{_ALWAYS} {_OF_DIM} rms_norm post_norm full_attention without_final_norm"
    return _made(name, "gpt2", _gpt2, lacks)


def _gpt2(
    tokens: Any, query_weights: Any, key_weights: Any, value_weights: Any, *, scale: float, causal: bool = True,
    output_weights: Any = None, query_bias: Any = None, key_bias: Any = None, value_bias: Any = None,
    output_bias: Any = None, mask: Any = None, norm: str = "layer", epsilon: float = 1e-5, final_norm: bool = True,
    attention_norm_gain: Any = None, attention_norm_bias: Any = None, mlp_norm_gain: Any = None,
    mlp_norm_bias: Any = None, final_norm_gain: Any = None, final_norm_bias: Any = None, up_weights: Any = None,
    up_bias: Any = None, down_weights: Any = None, down_bias: Any = None, activation: str = "relu",
) -> Any:  # fmt: skip
    import torch
    from transformers.models.gpt2.configuration_gpt2 import GPT2Config
    from transformers.models.gpt2.modeling_gpt2 import GPT2Model

    layers, heads, d, _ = query_weights.shape
    weights, biases = (query_weights, key_weights, value_weights), (query_bias, key_bias, value_bias)
    config = GPT2Config(
        vocab_size=1, n_positions=len(tokens), n_embd=d, n_layer=layers, n_head=heads, n_inner=up_weights.shape[2],
        activation_function=_ACTIVATIONS[activation], layer_norm_epsilon=epsilon, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    with torch.inference_mode():
        model = GPT2Model(config).eval().to(tokens.dtype)
        filled(model.wpe.weight, None)
        for i, layer in enumerate(model.h):
            # Conv1D has the matrix of a linear layer transposed
            _linear(layer.attn.c_attn, stacked(i, *weights).T, stacked_biases(i, weights, biases))
            _linear(layer.attn.c_proj, columns(output_weights[i]).T, _at(output_bias, i))
            _linear(layer.mlp.c_fc, up_weights[i], _at(up_bias, i))
            _linear(layer.mlp.c_proj, down_weights[i], _at(down_bias, i))
            for module, gain, bias in (
                (layer.ln_1, attention_norm_gain, attention_norm_bias),
                (layer.ln_2, mlp_norm_gain, mlp_norm_bias),
            ):
                filled(module.weight, _at(gain, i), 1.0)
                filled(module.bias, _at(bias, i))
        filled(model.ln_f.weight, final_norm_gain, 1.0)
        filled(model.ln_f.bias, final_norm_bias)
        return _hidden(model, tokens, attention_mask=_attended(tokens, mask))


def _hidden(model: Any, tokens: Any, **keywords: Any) -> Any:
    """The tokens after every layer; the last ones after the final norm."""
    import torch

    made = model(inputs_embeds=tokens[None], output_hidden_states=True, use_cache=False, **keywords)
    return torch.cat([*made.hidden_states[1:-1], made.last_hidden_state])


# --- Llama ------------------------------------------------------------------------------------------------------------


def llama(name: str) -> Kernel:
    lacks = "value_dim any_scale layer_norm post_norm full_attention without_final_norm without_gate norm_bias"
    return _made(name, "llama", _llama, f"{_ALWAYS} {lacks}")


def _llama(
    tokens: Any, query_weights: Any, key_weights: Any, value_weights: Any, *, scale: float, causal: bool = True,
    output_weights: Any = None, query_bias: Any = None, key_bias: Any = None, value_bias: Any = None,
    output_bias: Any = None, mask: Any = None, norm: str = "rms", epsilon: float = 1e-5, final_norm: bool = True,
    attention_norm_gain: Any = None, mlp_norm_gain: Any = None, final_norm_gain: Any = None, up_weights: Any = None,
    up_bias: Any = None, gate_weights: Any = None, down_weights: Any = None, down_bias: Any = None,
    activation: str = "relu",
) -> Any:  # fmt: skip
    import torch
    from transformers.models.llama.configuration_llama import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaModel

    layers, heads, d, k = query_weights.shape
    if k % 2:
        raise Declined("an odd head dim: rotary embeddings turn pairs")
    if d % heads:
        raise Declined("the dim is no multiple of the heads, which the configuration refuses")
    biased = any(bias is not None for bias in (query_bias, key_bias, value_bias, output_bias))
    mlp_biased = up_bias is not None or down_bias is not None
    config = LlamaConfig(
        vocab_size=1, hidden_size=d, intermediate_size=up_weights.shape[2], num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=key_weights.shape[1], head_dim=k,
        hidden_act=_ACTIVATIONS[activation], rms_norm_eps=epsilon, attention_bias=biased, mlp_bias=mlp_biased,
        pad_token_id=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    with torch.inference_mode():
        model = LlamaModel(config).eval().to(tokens.dtype)
        for i, layer in enumerate(model.layers):
            own = layer.self_attn
            _linear(own.q_proj, rows(query_weights[i]), _at(query_bias, i))
            _linear(own.k_proj, rows(key_weights[i]), _at(key_bias, i))
            _linear(own.v_proj, rows(value_weights[i]), _at(value_bias, i))
            _linear(own.o_proj, columns(output_weights[i]), _at(output_bias, i))
            _linear(layer.mlp.gate_proj, gate_weights[i].T)
            _linear(layer.mlp.up_proj, up_weights[i].T, _at(up_bias, i))
            _linear(layer.mlp.down_proj, down_weights[i].T, _at(down_bias, i))
            filled(layer.input_layernorm.weight, _at(attention_norm_gain, i), 1.0)
            filled(layer.post_attention_layernorm.weight, _at(mlp_norm_gain, i), 1.0)
        filled(model.norm.weight, final_norm_gain, 1.0)
        positions = torch.zeros(1, len(tokens), dtype=torch.long)
        return _hidden(model, tokens, attention_mask=_attended(tokens, mask), position_ids=positions)


# --- T5 ---------------------------------------------------------------------------------------------------------------


def t5(name: str) -> Kernel:
    lacks = f"{_ALWAYS} grouped_heads value_dim layer_norm post_norm without_final_norm norm_bias any_scale"
    return _made(name, "t5", _t5, lacks)


def _t5(
    tokens: Any, query_weights: Any, key_weights: Any, value_weights: Any, *, scale: float, output_weights: Any = None,
    mask: Any = None, norm: str = "rms", epsilon: float = 1e-6, final_norm: bool = True,
    attention_norm_gain: Any = None, mlp_norm_gain: Any = None, final_norm_gain: Any = None, up_weights: Any = None,
    gate_weights: Any = None, down_weights: Any = None, activation: str = "relu",
) -> Any:  # fmt: skip
    import torch
    from transformers.models.t5.configuration_t5 import T5Config
    from transformers.models.t5.modeling_t5 import T5Stack

    layers, heads, d, k = query_weights.shape
    if math.frexp(scale)[0] != 0.5:
        raise Declined("T5 does not scale: only a power of 2 goes into the query weights without rounding")
    gated = "gated-" if gate_weights is not None else ""
    config = T5Config(
        vocab_size=1, d_model=d, d_kv=k, d_ff=up_weights.shape[2], num_layers=layers, num_heads=heads,
        pad_token_id=0, eos_token_id=0, dropout_rate=0.0, layer_norm_epsilon=epsilon,
        feed_forward_proj=gated + _ACTIVATIONS[activation],
    )  # fmt: skip
    config.dense_act_fn = _ACTIVATIONS[activation]
    config.use_cache = False
    with torch.inference_mode():
        model = T5Stack(config).eval().to(tokens.dtype)
        for i, layer in enumerate(model.block):
            attention, mlp = layer.layer[0], layer.layer[1]
            own, dense = attention.SelfAttention, mlp.DenseReluDense
            _linear(own.q, rows(query_weights[i]) * scale)
            _linear(own.k, rows(key_weights[i]))
            _linear(own.v, rows(value_weights[i]))
            _linear(own.o, columns(output_weights[i]))
            if own.has_relative_attention_bias:
                filled(own.relative_attention_bias.weight, None)
            if gate_weights is None:
                _linear(dense.wi, up_weights[i].T)
            else:
                _linear(dense.wi_0, gate_weights[i].T)
                _linear(dense.wi_1, up_weights[i].T)
            _linear(dense.wo, down_weights[i].T)
            filled(attention.layer_norm.weight, _at(attention_norm_gain, i), 1.0)
            filled(mlp.layer_norm.weight, _at(mlp_norm_gain, i), 1.0)
        filled(model.final_layer_norm.weight, final_norm_gain, 1.0)
        return _hidden(model, tokens, attention_mask=_attended(tokens, mask))
