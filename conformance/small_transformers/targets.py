"""The built-in kernels: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from assay.conformance.interface.targets import Target, lazily

__all__ = ["TARGETS"]

_TYPES = ("float64", "float32", "bfloat16", "float16")
_WIDE = ("float64", "float32")
_SPLIT = f"{__package__}.target_split"


def _cpu(name: str, **conventions: str) -> Target:
    return Target(name, _TYPES, (), "", lazily(f"{__package__}.target_cpu", "built_in", name, **conventions))


#: name → target.  Where no class is listed, or fewer than a library has types, docs/findings.md tells why.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        _cpu("assay:cpu"),
        _cpu("assay:cpu-log_sum_exp", oracle="log_sum_exp"),
        _cpu("assay:cpu-causal", oracle="causal"),
        _cpu("assay:cpu-heads", at_once="2"),
        Target(
            "cupy:small_transformers", _TYPES, ("cupy",), "gpu",
            lazily(f"{__package__}.target_cupy", "built_in", "cupy:small_transformers"), cuda=True,
        ),
        Target(
            "ring-attention-pytorch:ring_flash_attn", ("float32",), ("torch", "ring_attention_pytorch"), "small",
            lazily(_SPLIT, "ring_flash_attn", "ring-attention-pytorch:ring_flash_attn"),
        ),
        Target(
            "local-attention:LocalAttention", _WIDE, ("torch", "local_attention"), "small",
            lazily(_SPLIT, "local_attention", "local-attention:LocalAttention"),
        ),
    )
}  # fmt: skip
