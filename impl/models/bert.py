"""An encoder of the BERT family (Devlin et al. 2019), with the tensor names of safetensors; float32 throughout."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.models.model import AttentionInput, attended
from assay.impl.models.tokens import tokenizer_of
from assay.impl.models.weights import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.models.model import Attend
    from assay.impl.models.weights import Weights

    Array = NDArray[Any]  # float32

__all__ = ["Bert"]


@dataclass(frozen=True)
class Bert:
    """An encoder of the BERT family; :meth:`of` makes one from weights."""

    weights: Weights
    layers: int
    width: int
    inner: int
    heads: int
    longest: int
    epsilon: float
    vocabulary: int
    types: int

    @classmethod
    def of(cls, weights: Weights) -> Bert:
        """The encoder of these weights.  Raises :class:`ModelError` for another activation or relative positions."""
        setting = weights.setting
        if weights.layout != "safetensors":
            raise ModelError(f"{weights.path}: a bert model as {weights.layout}, expected safetensors")
        for name, expected in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
            if setting(name, expected) != expected:
                raise ModelError(f"{weights.path}: {name} {setting(name)!r}, expected {expected!r}")
        model = cls(
            weights,
            setting("num_hidden_layers"),
            setting("hidden_size"),
            setting("intermediate_size"),
            setting("num_attention_heads"),
            setting("max_position_embeddings"),
            setting("layer_norm_eps", 1e-12),
            setting("vocab_size"),
            setting("type_vocab_size", 2),
        )
        if model.width % model.heads:
            raise ModelError(f"{weights.path}: width {model.width} in {model.heads} heads")
        return model

    @property
    def name(self) -> str:
        return str(self.weights.settings.get("_name_or_path") or self.weights.path.stem)

    @functools.cached_property
    def tokenizer(self) -> Any:
        return tokenizer_of(self.weights)

    def encode(self, text: str, tokens: int) -> NDArray[np.int64]:
        ids = self.tokenizer.encode(text).ids  # [CLS] … [SEP]
        return np.array(ids if len(ids) <= tokens else [*ids[: tokens - 1], ids[-1]], np.int64)

    def embedded(self, tokens: NDArray[np.int64]) -> Array:
        """(n, width): what the first layer is handed."""
        n = len(tokens)
        if n > self.longest:
            raise ModelError(f"{self.weights.path}: {n} tokens, expected at most {self.longest}")
        words = self.weights.tensor("embeddings.word_embeddings.weight", self.vocabulary, self.width)
        positions = self.weights.tensor("embeddings.position_embeddings.weight", self.longest, self.width)
        types = self.weights.tensor("embeddings.token_type_embeddings.weight", self.types, self.width)
        return self._norm(words[tokens] + positions[:n] + types[0], "embeddings.LayerNorm")

    def hidden(
        self, tokens: NDArray[np.int64], observe: Callable[[AttentionInput], None], attend: Attend | None = None
    ) -> Array:
        x = self.embedded(tokens)
        for layer in range(self.layers):
            part = f"encoder.layer.{layer}"
            x = self._norm(
                x + self._attention(x, part, observe, attend or attended), f"{part}.attention.output.LayerNorm"
            )
            inner = _gelu(self._linear(x, f"{part}.intermediate.dense", self.inner))
            x = self._norm(x + self._linear(inner, f"{part}.output.dense", self.width), f"{part}.output.LayerNorm")
        return x

    def embed(self, text: str, attend: Attend | None = None) -> Array:
        """(width,): the mean of the last hidden states, scaled to length 1, as sentence similarity compares them."""
        mean = self.hidden(self.encode(text, self.longest), lambda _: None, attend).mean(0)
        unit: Array = mean / np.linalg.norm(mean)
        return unit

    def _attention(self, x: Array, part: str, observe: Callable[[AttentionInput], None], attend: Attend) -> Array:
        q, k, v = (
            self._linear(x, f"{part}.attention.self.{name}", self.width).reshape(len(x), self.heads, -1).swapaxes(0, 1)
            for name in ("query", "key", "value")
        )
        given = AttentionInput(q, k, v, (self.width // self.heads) ** -0.5, False)
        observe(given)
        out = attend(given).swapaxes(0, 1).reshape(len(x), self.width)
        return self._linear(out, f"{part}.attention.output.dense", self.width)

    def _linear(self, x: Array, name: str, width: int) -> Array:
        weight = self.weights.tensor(f"{name}.weight", width, x.shape[-1])
        result: Array = x @ weight.T + self.weights.tensor(f"{name}.bias", width)
        return result

    def _norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(self.epsilon))
        weight, bias = (self.weights.tensor(f"{name}.{each}", self.width) for each in ("weight", "bias"))
        result: Array = centred / deviation * weight + bias
        return result


_erf = np.frompyfunc(math.erf, 1, 1)


def _gelu(x: Array) -> Array:
    erf: Any = _erf(x * x.dtype.type(2**-0.5))
    result: Array = x * (np.float32(0.5) * (1 + erf.astype(x.dtype)))
    return result
