"""The built-in rotary kernels: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from typing import Any

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import Target, keywords_of, lazily

__all__ = ["TARGETS"]

_EXACT = tuple(f"{storage}-exact-angles" for storage in ("float64", "float32", "bfloat16", "float16"))
_EAGER = ("float32", "bfloat16-eager", "float16-eager")
_ONCE = ("float32", "bfloat16", "float16")  # rounded once


def built_in() -> Kernel:
    """assay's own kernel for the CPU."""
    from assay.impl.cpu import rope

    return Kernel("assay:cpu", rope.exact, keywords=keywords_of(rope.exact, "rope"))


def _library(
    module: str, function: str, name: str, precisions: tuple[str, ...], needed: str, extra: str = "rope", **options: Any
) -> Target:
    """A kernel of a library; ``needed``: the modules that it imports."""
    load = lazily(f"{__package__}.{module}", function, *([name] if options else []), **options)
    return Target(name, precisions, tuple(needed.split()), extra, load)


_TORCH, _JAX, _ONNX = "target_torch", "target_jax", "target_onnxruntime"
_LUCIDRAINS = "torch rotary_embedding_torch"
_TABLES = ("float32-exact-angles", "float16-tables")

#: name → target.  Where no class is listed, or fewer than a library has types, docs/findings.md tells why.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("assay:cpu", _EXACT, (), "", built_in),
        Target("cupy:rope", _EXACT, ("cupy",), "gpu", lazily(f"{__package__}.target_cupy", "built_in"), cuda=True),
        _library(_TORCH, "transformers", "transformers:rope", _EAGER, "torch transformers", kept=False),
        _library(_TORCH, "transformers", "transformers:rope-kept", (), "torch transformers", kept=True),
        _library(_TORCH, "lucidrains", "rotary-embedding-torch:apply_rotary_emb", _ONCE, _LUCIDRAINS, offset=False),
        _library(_TORCH, "lucidrains", "rotary-embedding-torch:offset", ("float32",), _LUCIDRAINS, offset=True),
        _library(_TORCH, "torchtune", "torchtune:rope", _ONCE, "torch torchtune", "torchtune"),
        _library(_ONNX, "rotary_embedding", "onnxruntime:rotary_embedding", _TABLES, "onnx onnxruntime", "onnx"),
        _library(_JAX, "equinox", "equinox:rope", (), "jax equinox"),
    )
}
