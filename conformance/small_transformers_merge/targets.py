"""The built-in kernels: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from assay.conformance.interface.targets import Target, lazily

__all__ = ["TARGETS"]

_EVERY = ("float64", "float32", "bfloat16", "float16")


def _numpy(name: str, function: str) -> Target:
    return Target(name, _EVERY, (), "", lazily(f"{__package__}.target_numpy", function, name))


def _torch(
    name: str, function: str, precisions: tuple[str, ...] = _EVERY, needed: str = "", extra: str = "torch",
    findings: dict[str, str] | None = None,
) -> Target:  # fmt: skip
    load = lazily(f"{__package__}.target_torch", function, name)
    return Target(name, precisions, ("torch", *needed.split()), extra, load, findings or {})


_CORRECTED = {
    "first_part_empty": "an empty first part makes the log-sum-exp NaN, and with it every later output "
    "(docs/findings.md)",
}
_TWO_EMPTY = "two empty parts give NaN, because a maximum of −∞ is subtracted from −∞ (docs/findings.md)"
_SUBTRACTING = {"first_two_parts_empty": _TWO_EMPTY, "all_parts_empty": _TWO_EMPTY}

#: name → target.  Where no class is listed, or fewer than a library has types, docs/findings.md tells why.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        _numpy("assay:cpu", "built_in"),
        _numpy("numpy:merge", "textbook"),
        Target(
            "cupy:small_transformers_merge", _EVERY, ("cupy",), "gpu",
            lazily(f"{__package__}.target_cupy", "built_in", "cupy:small_transformers_merge"), cuda=True,
        ),
        _torch("torch:sdpa_merger", "sdpa_merger", ("float32", "bfloat16", "float16"), findings=_CORRECTED),
        _torch("torch:flashinfer-merge_state", "merge_state", findings=_SUBTRACTING),
        _torch("torch:flashinfer-merge_states", "merge_states"),
        _torch(
            "ring-attention-pytorch:ring_flash_attn",
            "ring",
            ("float32",),
            "ring_attention_pytorch",
            "small",
        ),
    )
}  # fmt: skip
