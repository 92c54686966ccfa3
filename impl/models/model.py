"""The protocol of a model, and :func:`open_model`, which reads one from a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from assay.impl.models.weights import ModelError, load_weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Attend", "AttentionInput", "Model", "ModelError", "attended", "open_model"]


#: Attention of one layer: the outputs (h_q, n, d) of its input.
Attend = Callable[["AttentionInput"], Any]


@dataclass(frozen=True)
class AttentionInput:
    """The input of the attention of one layer: query (h_q, n, d), key and value (h_k, n, d), float32.

    Query and key contain positions already (rotary embedding).  Query head h reads key head h // (h_q // h_k).
    """

    query: NDArray[np.float32]
    key: NDArray[np.float32]
    value: NDArray[np.float32]
    scale: float
    is_causal: bool


def attended(given: AttentionInput, seen: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """The outputs (h_q, n, d) of all heads, as plainly as can be: a matrix of scores a head.

    seen: (n, n), the keys of every query; what the input says of causality if left out.
    """
    group = len(given.query) // len(given.key)
    keys, values = (np.repeat(each, group, axis=0) for each in (given.key, given.value))
    scores = given.query.dtype.type(given.scale) * (given.query @ keys.swapaxes(1, 2))
    if seen is None and given.is_causal:
        seen = np.tri(scores.shape[1], dtype=np.bool_)
    if seen is not None:
        scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    result: NDArray[np.float32] = (weights / weights.sum(-1, keepdims=True)) @ values
    return result


class Model(Protocol):
    """A transformer that shows the input of each of its attention layers."""

    @property
    def name(self) -> str: ...

    @property
    def longest(self) -> int:
        """The length of the longest text that the model was made for, in tokens."""
        ...

    def encode(self, text: str, tokens: int) -> NDArray[np.int64]:
        """The first ``tokens`` tokens of a text, with the special tokens where the model expects them."""
        ...

    def hidden(
        self, tokens: NDArray[np.int64], observe: Callable[[AttentionInput], None], attend: Attend | None = None
    ) -> NDArray[np.float32]:
        """The last hidden states (n, width); ``observe`` is called once for each layer, in order.

        attend: computes the attention of every layer in place of the model's own code.
        """
        ...


def open_model(path: str | Path) -> Model:
    """The model in a .gguf or .safetensors file.  Raises :class:`ModelError` where it cannot be read or is unknown."""
    from assay.impl.models.bert import Bert
    from assay.impl.models.llama import Llama

    weights = load_weights(path)
    known: dict[str, Callable[..., Model]] = {"llama": Llama.of, "bert": Bert.of}
    if weights.architecture not in known:
        raise ModelError(f"{path}: architecture {weights.architecture!r}, expected one of {', '.join(known)}")
    return known[weights.architecture](weights)
