"""The built-in rotary kernels: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import Target, keywords_of, lazily

__all__ = ["TARGETS"]

_HERE = __package__
_EXACT = tuple(f"{storage}-exact-angles" for storage in ("float64", "float32", "bfloat16", "float16"))
_EAGER = ("float32", "bfloat16-eager", "float16-eager")
_TORCH = ("torch", "transformers")
_LUCIDRAINS = ("torch", "rotary_embedding_torch")


def built_in() -> Kernel:
    """assay's own kernel for the CPU."""
    from assay.impl.cpu import rope

    return Kernel("assay:cpu", rope.exact, keywords=keywords_of(rope.exact, "rope"))


#: name → target
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("assay:cpu", _EXACT, (), "", built_in),
        Target(
            "transformers:rope", _EAGER, _TORCH, "rope",
            lazily(f"{_HERE}.target_torch", "transformers", "transformers:rope", kept=False),
        ),
        Target(  # keeps the frequencies of dynamic from an earlier call: docs/findings.md
            "transformers:rope-kept", (), _TORCH, "rope",
            lazily(f"{_HERE}.target_torch", "transformers", "transformers:rope-kept", kept=True),
        ),
        Target(
            "rotary-embedding-torch:apply_rotary_emb", ("float32", "bfloat16", "float16"), _LUCIDRAINS, "rope",
            lazily(f"{_HERE}.target_torch", "rotary_embedding_torch", "rotary-embedding-torch:apply_rotary_emb", offset=False),
        ),
        Target(  # positions in the type of the arrays: docs/findings.md
            "rotary-embedding-torch:rotate_queries_or_keys", ("float32",), _LUCIDRAINS, "rope",
            lazily(f"{_HERE}.target_torch", "rotary_embedding_torch", "rotary-embedding-torch:rotate_queries_or_keys", offset=True),
        ),
        Target(
            "torchtune:RotaryPositionalEmbeddings", ("float32", "bfloat16", "float16"), ("torch", "torchtune"), "torchtune",
            lazily(f"{_HERE}.target_torch", "torchtune"),
        ),
        Target(
            "onnxruntime:rotary_embedding", ("float32-exact-angles", "float16-tables"), ("onnx", "onnxruntime"), "onnx",
            lazily(f"{_HERE}.target_onnxruntime", "rotary_embedding"),
        ),
        Target(  # one table for every base: docs/findings.md
            "equinox:RotaryPositionalEmbedding", (), ("jax", "equinox"), "rope", lazily(f"{_HERE}.target_jax", "equinox"),
        ),
    )
}  # fmt: skip
