"""Kernels of PyTorch: the attention layer of transformers' Llama, and flex_attention with a W for every offset.

Sources: ``transformers.models.llama.modeling_llama``;
https://docs.pytorch.org/docs/stable/nn.attention.flex_attention.html
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.suite import CONCURRENT_CALLS
from assay.conformance.interface.targets import keywords_of
from assay.conformance.rope_attention.interface import GENERAL_FORM

__all__ = ["flex_attention", "llama"]


# --- the layer of Llama -----------------------------------------------------------------------------------------------


def llama(name: str, *, attention: str) -> Kernel:
    """``LlamaAttention`` with projections that cut queries, keys and values out of its tokens, exactly.

    attention: the implementation, ``sdpa`` or ``eager``.
    """
    version = importlib.import_module("transformers").__version__
    importlib.import_module("transformers.models.llama.modeling_llama")
    function = functools.partial(_llama, attention)
    lacks = {"cross_lengths", "unlike_positions", "value_dim", "dynamic", "ntk", "empty_row_lse"}
    empty = {"empty_row": "any"} if attention == "eager" else {}
    keywords = keywords_of(function, "rope_attention")
    return Kernel(name, function, "torch", keywords, empty, frozenset(lacks), version)


def _llama(
    attention: str, query: Any, key: Any, value: Any, *, scale: float, base: float, scaling: str | None = None,
    factor: float | None = None, original_length: int | None = None, low_frequency: float | None = None,
    high_frequency: float | None = None, truncate: bool = True, attention_factor: float | None = None,
    query_positions: Any = None, key_positions: Any = None, is_causal: bool = False, mask: Any = None,
    bias: Any = None, relative_bias: Any = None,
) -> Any:  # fmt: skip
    import torch

    if query.shape[3] % 2:
        raise Declined("an odd dim")
    parameters: dict[str, Any] = {
        "rope_type": scaling or "default", "rope_theta": base, "factor": factor,
        **({"low_freq_factor": low_frequency, "high_freq_factor": high_frequency} if scaling == "llama3" else {}),
    }  # fmt: skip
    if scaling == "yarn":
        parameters |= {"beta_slow": low_frequency, "beta_fast": high_frequency, "truncate": truncate}
        parameters |= {"attention_factor": attention_factor}
    length = 2048
    if scaling in ("llama3", "yarn"):
        assert original_length is not None
        parameters["original_max_position_embeddings"] = original_length
        length = int(original_length * (factor or 1.0))
    b, h, n, d = query.shape
    h_k = key.shape[1]
    chosen = tuple((name, number) for name, number in parameters.items() if number is not None)
    layer, rotary = _llama_layer(attention, h, h_k, d, length, chosen, query.dtype)
    positions = torch.arange(n)[None] if query_positions is None else query_positions.reshape(-1, n)
    parts = [x.transpose(1, 2).reshape(b, n, -1) for x in (query, key, value)]
    tokens = torch.nn.functional.pad(torch.cat(parts, dim=2), (0, layer.config.hidden_size - (h + 2 * h_k) * d))
    with torch.inference_mode():
        layer.scaling = scale
        tables = rotary(tokens, positions.expand(b, n))
        added = _added(query, is_causal, mask, bias, relative_bias, finite=attention == "eager")
        out, _ = layer(tokens, tables, added, is_causal=False)
        return out.reshape(b, n, h, d).transpose(1, 2)


def _added(query: Any, is_causal: bool, mask: Any, bias: Any, relative_bias: Any, *, finite: bool) -> Any:
    """Everything that hides or is added, as the layer takes it: (b, h, n, n), in the type of the queries.

    finite: with the least number of the type in place of −∞, as the masks of the models have it for this route.
    """
    import torch

    b, h, n, _ = query.shape
    added = torch.zeros(b, h, n, n, dtype=query.dtype)
    if relative_bias is not None:
        added = added + relative_bias[:, torch.arange(n)[:, None] - torch.arange(n) + n - 1]
    if bias is not None:
        added = added + bias
    if mask is not None:
        added = added.masked_fill(~mask, -float("inf"))
    if is_causal:
        added = added.masked_fill(~torch.ones(n, n, dtype=torch.bool).tril(), -float("inf"))
    return added.clamp(min=torch.finfo(added.dtype).min) if finite else added


@functools.lru_cache(maxsize=64)
def _llama_layer(attention: str, heads: int, key_heads: int, dim: int, length: int, parameters: Any, dtype: Any) -> Any:
    import torch
    from transformers.models.llama.configuration_llama import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding

    ends = [heads * dim, (heads + key_heads) * dim, (heads + 2 * key_heads) * dim]
    wide = -(-ends[2] // heads) * heads  # the configuration asks for a multiple of the heads
    config = LlamaConfig(
        hidden_size=wide, head_dim=dim, num_attention_heads=heads, num_key_value_heads=key_heads,
        max_position_embeddings=length, rope_parameters=dict(parameters), attn_implementation=attention,
    )  # fmt: skip
    with torch.inference_mode():
        layer = LlamaAttention(config, 0).eval().to(dtype)
        cut = torch.eye(wide, dtype=dtype)
        parts = (cut[: ends[0]], cut[ends[0] : ends[1]], cut[ends[1] : ends[2]])
        for linear, part in zip((layer.q_proj, layer.k_proj, layer.v_proj), parts, strict=True):
            linear.weight.copy_(part)
        layer.o_proj = torch.nn.Identity()
    return layer, LlamaRotaryEmbedding(config)


# --- flex_attention ---------------------------------------------------------------------------------------------------


def flex_attention(name: str) -> Kernel:
    """``torch.nn.attention.flex_attention``, whose function of scores forms q_i W_(i−j) k_jᵀ of captured tensors."""
    import torch

    function, positional = _flex, GENERAL_FORM.positional
    lacks = frozenset({CONCURRENT_CALLS})
    keywords = keywords_of(function, "rope_attention")
    return Kernel(name, function, "torch", keywords, lacks=lacks, positional=positional, version=torch.__version__)


def _flex(
    query: Any, key: Any, value: Any, relative: Any, *, scale: float, support: tuple[tuple[int, int], ...],
    relative_bias: Any = None, is_causal: bool = False, mask: Any = None, softcap: float | None = None,
) -> Any:  # fmt: skip
    import torch
    from torch.nn.attention.flex_attention import flex_attention as attend

    b, h, n_q, _ = query.shape
    n_k, group = key.shape[2], h // key.shape[1]
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    rows, columns = (torch.tensor(side) for side in zip(*support, strict=True))
    q, k, w = query[..., rows].to(wide), key[..., columns].to(wide), relative.T.contiguous().to(wide)
    seen = None if mask is None else mask.expand(b, h, n_q, n_k)
    added = None if relative_bias is None else relative_bias.to(wide).expand(h, -1)

    def score_mod(score: Any, batch: Any, head: Any, i: Any, j: Any) -> Any:
        offset = i - j + (n_k - 1)
        score = scale * (q[batch, head, i] * w[offset] * k[batch, head // group, j]).sum()
        if softcap is not None:
            score = softcap * torch.tanh(score / softcap)
        if added is not None:
            score = score + added[head, offset]
        if is_causal:
            score = torch.where(i >= j, score, -float("inf"))
        if seen is not None:
            score = torch.where(seen[batch, head, i, j], score, -float("inf"))
        return score

    with torch.inference_mode():
        zero = torch.zeros_like(query)
        return attend(zero, torch.zeros_like(key), value, score_mod=score_mod, scale=1.0, enable_gqa=group > 1)
