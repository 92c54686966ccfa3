"""The built-in kernels: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.conformance.interface.suite import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from assay.conformance.interface.kernel import Kernel

__all__ = ["TARGETS"]


def _lazy(module: str, function: str, *arguments: Any, **keywords: Any) -> Callable[[], Kernel]:
    def load() -> Kernel:
        import importlib

        made: Kernel = getattr(importlib.import_module(f"{__package__}.{module}"), function)(*arguments, **keywords)
        return made

    return load


_TORCH = ("float64", "float32", "bfloat16", "float16")

#: name → target
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("assay:cpu", ("float64", "float32"), (), "", _lazy("target_numpy", "built_in")),
        # judged by the error that is asked of it (--error), so by nothing that `assay check` alone could ask
        Target("assay:cpu-polynomial", (), (), "", _lazy("target_polynomial", "built_in")),
        Target("numpy:attention", ("float64", "float32"), (), "", _lazy("target_numpy", "textbook")),
        Target("torch:sdpa", _TORCH, ("torch",), "torch", _lazy("target_torch", "sdpa", "torch:sdpa")),
        Target(
            "torch:sdpa-math", _TORCH, ("torch",), "torch", _lazy("target_torch", "sdpa", "torch:sdpa-math", "MATH")
        ),
        Target(
            "torch:sdpa-flash",
            _TORCH,
            ("torch",),
            "torch",
            _lazy("target_torch", "sdpa", "torch:sdpa-flash", "FLASH_ATTENTION"),
        ),
        Target(
            "jax:dot_product_attention",
            ("float32", "bfloat16", "float16"),
            ("jax",),
            "jax",
            _lazy("target_jax", "dot_product_attention", "jax:dot_product_attention", jit=False),
        ),
        Target(  # in bfloat16 and float16 one query with one key does not compile on the CPU: docs/findings.md
            "jax:dot_product_attention-jit",
            ("float32",),
            ("jax",),
            "jax",
            _lazy("target_jax", "dot_product_attention", "jax:dot_product_attention-jit", jit=True),
        ),
        Target(
            "onnxruntime:attention",
            ("float32", "float16-eager"),
            ("onnx", "onnxruntime"),
            "onnx",
            _lazy("target_onnxruntime", "attention"),
        ),
    )
}
