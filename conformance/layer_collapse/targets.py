"""The built-in stacks: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from typing import Any

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import Target, keywords_of, lazily

__all__ = ["TARGETS"]


def built_in() -> Kernel:
    """assay's own kernel for the CPU."""
    from assay.impl.cpu import layer_collapse

    return Kernel("assay:cpu", layer_collapse.exact, keywords=keywords_of(layer_collapse.exact, "layer_collapse"))


def _library(
    module: str, function: str, name: str, precisions: tuple[str, ...], needed: str,
    findings: dict[str, str] | None = None, **options: Any,
) -> Target:  # fmt: skip
    """A stack of a library; ``needed``: the modules that it imports."""
    load = lazily(f"{__package__}.{module}", function, name, **options)
    return Target(name, precisions, tuple(needed.split()), "stacks", load, findings or {})


_EAGER = ("float32", "bfloat16-eager", "float16-eager")
_EVERY = ("float64", *_EAGER)
_TORCH, _MODELS, _LUCIDRAINS, _KERAS = "target_torch", "target_transformers", "target_x_transformers", "target_keras"
_GELU = {"gelu_tanh": "the fused route takes the exact gelu for torch.nn.GELU('tanh')"}

_GROUPS = {"grouped_heads": "query heads share the key head of their number modulo the number of key heads"}

#: name → target.  Where no class is listed, or fewer than a library has types, docs/findings.md tells why.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("assay:cpu", ("float64", "float32"), (), "", built_in),
        Target("numpy:stack", ("float64", "float32"), (), "", lazily(f"{__package__}.target_numpy", "textbook")),
        _library(_TORCH, "attention", "torch:multihead_attention", _EVERY, "torch"),
        _library(_TORCH, "encoder_layer", "torch:encoder_layer", _EVERY, "torch", _GELU, fused=True),
        _library(_TORCH, "encoder_layer", "torch:encoder_layer-python", _EVERY, "torch", fused=False),
        _library(_MODELS, "bert", "transformers:bert", _EVERY, "torch transformers", attention="sdpa"),
        _library(_MODELS, "bert", "transformers:bert-eager", _EVERY, "torch transformers", attention="eager"),
        _library(_MODELS, "gpt2", "transformers:gpt2", _EVERY, "torch transformers"),
        _library(_MODELS, "llama", "transformers:llama", _EAGER, "torch transformers"),
        _library(_MODELS, "t5", "transformers:t5", _EAGER, "torch transformers"),
        _library(_LUCIDRAINS, "layers", "x-transformers:layers", ("float32",), "torch x_transformers", _GROUPS),
        _library(_KERAS, "layers", "keras:layers", ("float32", "bfloat16-eager"), "torch keras"),
    )
}
