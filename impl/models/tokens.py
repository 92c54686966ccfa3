"""The tokenizer of a model, made from the contents of its file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.impl.models.weights import INSTALL, ModelError

if TYPE_CHECKING:
    from assay.impl.models.weights import Weights

__all__ = ["tokenizer_of"]

_SMOLLM = "smollm"  # byte-level BPE in which every digit is a token


def tokenizer_of(weights: Weights) -> Any:
    """The model's ``tokenizers.Tokenizer``.  Raises :class:`ModelError` where the file has none of a known kind."""
    try:
        import tokenizers
    except ImportError:
        raise ModelError(f"{weights.path}: turning text into tokens needs tokenizers, {INSTALL}") from None
    if weights.layout == "safetensors":
        if weights.tokenizer is None:
            raise ModelError(f"{weights.path}: no tokenizer.json beside it")
        tokenizer = tokenizers.Tokenizer.from_file(str(weights.tokenizer))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
    kind, split = (weights.setting(f"tokenizer.ggml.{name}") for name in ("model", "pre"))
    if (kind, split) != ("gpt2", _SMOLLM):
        raise ModelError(f"{weights.path}: tokenizer {kind}/{split}, expected gpt2/{_SMOLLM} in a GGUF file")
    vocabulary = {token: number for number, token in enumerate(weights.setting("tokenizer.ggml.tokens"))}
    merges = [tuple(pair.split(" ")) for pair in weights.setting("tokenizer.ggml.merges")]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return tokenizer
