"""The built-in kernels: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from assay.conformance.interface.targets import Target, lazily

__all__ = ["TARGETS"]

#: name → target
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "numpy:rope_attention", ("float64", "float32"), (), "", lazily(f"{__package__}.target_numpy", "textbook")
        ),
    )
}
