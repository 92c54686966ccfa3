"""The built-in kernels: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from assay.conformance.interface.targets import Target, lazily

__all__ = ["TARGETS"]

_TYPES = ("float64", "float32", "bfloat16", "float16")
_MODULE = f"{__package__}.target_torch"
_EMPTY = {"empty_parts": "NaN where the first of the parts of a row is empty, or two are (docs/findings.md)"}
_BOTH = {"all_parts_empty": "NaN where both parts of a row are empty (docs/findings.md)"}


def _torch(name: str, function: str, findings: dict[str, str] | None = None) -> Target:
    return Target(name, _TYPES, ("torch",), "torch", lazily(_MODULE, function, name), findings or {})


#: name → target.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("assay:cpu", _TYPES, (), "", lazily(f"{__package__}.target_cpu", "built_in")),
        _torch("assay:cpu-torch", "built_in"),
        _torch("torch:_SDPAMerger", "sdpa_merger", _EMPTY),
        _torch("torch:merge_state", "merge_state", _BOTH),
        _torch("torch:merge_attn_states", "merge_attn_states"),
    )
}
