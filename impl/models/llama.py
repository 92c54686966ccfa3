"""A causal model of the LLaMA family: RMS norm, rotary embedding, grouped heads, SwiGLU (Touvron et al. 2023).

The arithmetic is float32 throughout, and the code is as plain as it can be.  For the rotation a GGUF file pairs the
coordinates 2i and 2i+1, and a safetensors file i and i + d/2; the tensors are stored to match.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.models.model import AttentionInput, attended
from assay.impl.models.rotary import Rotary
from assay.impl.models.tokens import tokenizer_of
from assay.impl.models.weights import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.models.model import Attend
    from assay.impl.models.weights import Weights

    Array = NDArray[Any]  # float32

__all__ = ["Llama", "silu"]

_SAFETENSORS = {  # name in GGUF → name in safetensors
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True)
class Llama:
    """A model of the LLaMA family; :meth:`of` makes one from weights."""

    weights: Weights
    layers: int
    width: int
    inner: int
    heads: int
    key_heads: int
    dim: int
    longest: int
    base: float
    epsilon: float
    vocabulary: int

    @classmethod
    def of(cls, weights: Weights) -> Llama:
        """The model of the weights.  Raises :class:`ModelError` for a scaled or partial rotary embedding or a bias."""
        setting = weights.setting
        if weights.layout == "gguf":
            if "rope_freqs.weight" in weights.tensors or weights.settings.get("llama.rope.scaling.type"):
                raise ModelError(f"{weights.path}: a scaled rotary embedding, expected a plain one")
            heads, width = setting("llama.attention.head_count"), setting("llama.embedding_length")
            dim = setting("llama.attention.key_length", width // heads)
            if setting("llama.rope.dimension_count", dim) != dim:
                raise ModelError(f"{weights.path}: a rotary embedding of a part of each head, expected of all of it")
            model = cls(
                weights,
                setting("llama.block_count"),
                width,
                setting("llama.feed_forward_length"),
                heads,
                setting("llama.attention.head_count_kv", heads),
                dim,
                setting("llama.context_length"),
                setting("llama.rope.freq_base", 10000.0),
                setting("llama.attention.layer_norm_rms_epsilon"),
                len(setting("tokenizer.ggml.tokens")),
            )
        else:
            if weights.settings.get("rope_scaling"):
                raise ModelError(f"{weights.path}: a scaled rotary embedding, expected a plain one")
            heads, width = setting("num_attention_heads"), setting("hidden_size")
            model = cls(
                weights,
                setting("num_hidden_layers"),
                width,
                setting("intermediate_size"),
                heads,
                setting("num_key_value_heads", heads),
                setting("head_dim", width // heads),
                setting("max_position_embeddings"),
                setting("rope_theta", 10000.0),
                setting("rms_norm_eps"),
                setting("vocab_size"),
            )
        biases = [name for name in weights.tensors if name.endswith(".bias")]
        if biases:
            raise ModelError(f"{weights.path}: {biases[0]}, expected a model without biases")
        if model.heads % model.key_heads or model.dim % 2:
            raise ModelError(
                f"{weights.path}: {model.heads} query heads, {model.key_heads} key heads of dimension {model.dim}"
            )
        return model

    @property
    def name(self) -> str:
        return str(self.weights.settings.get("general.name") or self.weights.path.stem)

    @functools.cached_property
    def tokenizer(self) -> Any:
        return tokenizer_of(self.weights)

    def encode(self, text: str, tokens: int) -> NDArray[np.int64]:
        return np.array(self.tokenizer.encode(text, add_special_tokens=False).ids[:tokens], np.int64)

    def decode(self, tokens: NDArray[np.int64]) -> str:
        return str(self.tokenizer.decode(tokens.tolist()))

    def tensor(self, name: str, *shape: int, layer: int | None = None) -> Array:
        """The tensor of a name of GGUF, such as ``attn_q`` of a layer."""
        return self.weights.tensor(self._name(name, layer), *shape)

    def embedded(self, tokens: NDArray[np.int64]) -> Array:
        """(n, width): what the first layer is handed."""
        found: Array = self.tensor("token_embd", self.vocabulary, self.width)[tokens]
        return found

    def hidden(
        self, tokens: NDArray[np.int64], observe: Callable[[AttentionInput], None], attend: Attend | None = None
    ) -> Array:
        x = self.embedded(tokens)
        turn = self.rotary.table(len(tokens), self.dim, np.float32)
        for layer in range(self.layers):
            x = x + self._attention(layer, self._norm(x, "attn_norm", layer), turn, observe, attend or attended)
            y = self._norm(x, "ffn_norm", layer)
            gate = y @ self.tensor("ffn_gate", self.inner, self.width, layer=layer).T
            up = y @ self.tensor("ffn_up", self.inner, self.width, layer=layer).T
            x = x + (silu(gate) * up) @ self.tensor("ffn_down", self.width, self.inner, layer=layer).T
        return self._norm(x, "output_norm")

    def logits(self, tokens: NDArray[np.int64], attend: Attend | None = None) -> Array:
        """(n, vocabulary): the logits of the next token after each of the tokens."""
        return self.logits_of(self.hidden(tokens, lambda _: None, attend))

    def logits_of(self, hidden: Array) -> Array:
        """(n, vocabulary): the logits that last hidden states (n, width) stand for."""
        name = "output" if self._name("output") in self.weights.tensors else "token_embd"  # tied to the embedding
        logits: Array = hidden @ self.tensor(name, self.vocabulary, self.width).T
        return logits

    def _attention(
        self, layer: int, x: Array, turn: Any, observe: Callable[[AttentionInput], None], attend: Attend
    ) -> Array:
        h, h_k, d = self.heads, self.key_heads, self.dim
        q = _split(x @ self.tensor("attn_q", h * d, self.width, layer=layer).T, h)
        k = _split(x @ self.tensor("attn_k", h_k * d, self.width, layer=layer).T, h_k)
        v = _split(x @ self.tensor("attn_v", h_k * d, self.width, layer=layer).T, h_k)
        given = AttentionInput(self.rotary.turned(q, turn), self.rotary.turned(k, turn), v, d**-0.5, True)
        observe(given)
        out = attend(given).swapaxes(0, 1).reshape(len(x), h * d)
        result: Array = out @ self.tensor("attn_output", self.width, h * d, layer=layer).T
        return result

    @property
    def rotary(self) -> Rotary:
        """Its positions: a GGUF file pairs coordinates 2i and 2i + 1, else i and i + d/2 are a pair."""
        return Rotary(self.base, self.weights.layout == "gguf")

    def _norm(self, x: Array, name: str, layer: int | None = None) -> Array:
        weight = self.tensor(name, self.width, layer=layer)
        result: Array = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.epsilon)) * weight
        return result

    def _name(self, name: str, layer: int | None = None) -> str:
        if self.weights.layout == "gguf":
            return f"{name}.weight" if layer is None else f"blk.{layer}.{name}.weight"
        named = _SAFETENSORS[name]
        return f"{named}.weight" if layer is None else f"model.layers.{layer}.{named}.weight"


def _split(x: Array, heads: int) -> Array:
    """(n, h·d) → (h, n, d)."""
    return x.reshape(len(x), heads, -1).swapaxes(0, 1)


def silu(x: Array) -> Array:
    """x/(1 + e^(−x)), number by number."""
    # x·e^(−|x|)/(1 + e^(−|x|)) for x < 0: no overflow
    small = np.exp(-np.abs(x))
    result: Array = x * np.where(x >= 0, 1, small) / (1 + small)
    return result
