"""The built-in kernels: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from assay.conformance.interface.targets import Target, lazily

__all__ = ["TARGETS"]

_TORCH = ("float64", "float32", "bfloat16", "float16")
_CAUSAL = {
    "nonpositive_causal_scale": "with is_causal and a scale of 0 or below a query that does not see every key is NaN "
    "(torch 2.13.0, docs/findings.md)"
}

#: name → target
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("assay:cpu", ("float64", "float32"), (), "", lazily(f"{__package__}.target_numpy", "built_in")),
        # judged by the error that is asked of it (--error), so by nothing that `assay check` alone could ask
        Target("assay:cpu-polynomial", (), (), "", lazily(f"{__package__}.target_polynomial", "built_in")),
        Target("numpy:attention", ("float64", "float32"), (), "", lazily(f"{__package__}.target_numpy", "textbook")),
        Target(
            "cupy:attention",
            ("float64", "float32", "bfloat16", "float16"),
            ("cupy",),
            "gpu",
            lazily(f"{__package__}.target_cupy", "built_in"),
            cuda=True,
        ),
        Target(  # as assay:cpu-polynomial
            "cupy:attention-polynomial",
            (),
            ("cupy",),
            "gpu",
            lazily(f"{__package__}.target_cupy", "polynomial"),
            cuda=True,
        ),
        Target(
            "torch:sdpa",
            _TORCH,
            ("torch",),
            "torch",
            lazily(f"{__package__}.target_torch", "sdpa", "torch:sdpa"),
            _CAUSAL,
        ),
        Target(
            "torch:sdpa-math",
            _TORCH,
            ("torch",),
            "torch",
            lazily(f"{__package__}.target_torch", "sdpa", "torch:sdpa-math", "MATH"),
        ),
        Target(
            "torch:sdpa-flash",
            _TORCH,
            ("torch",),
            "torch",
            lazily(f"{__package__}.target_torch", "sdpa", "torch:sdpa-flash", "FLASH_ATTENTION"),
            _CAUSAL,
        ),
        *(
            Target(
                name,
                classes,
                ("torch",),
                "torch",
                lazily(f"{__package__}.target_torch", "sdpa", name, backend),
                cuda=True,
            )
            for name, classes, backend in (
                ("torch:sdpa-efficient", ("float32", "bfloat16", "float16"), "EFFICIENT_ATTENTION"),
                ("torch:sdpa-cudnn", ("bfloat16", "float16"), "CUDNN_ATTENTION"),
            )
        ),
        Target(
            "triton:flash",
            ("float32", "bfloat16", "float16"),
            ("torch", "triton"),
            "simplicial",
            lazily(f"{__package__}.target_triton", "flash", "triton:flash", interpreted=False),
            cuda=True,
        ),
        Target(  # Triton's interpreter is slow, and may be asked for only where nothing else imported Triton
            "triton:flash-interpreted",
            (),
            ("torch", "triton"),
            "simplicial",
            lazily(f"{__package__}.target_triton", "flash", "triton:flash-interpreted", interpreted=True),
        ),
        Target(
            "jax:dot_product_attention",
            ("float32", "bfloat16", "float16-eager"),
            ("jax",),
            "jax",
            lazily(f"{__package__}.target_jax", "dot_product_attention", "jax:dot_product_attention", jit=False),
        ),
        Target(  # in bfloat16 and float16 one query with one key does not compile on the CPU: docs/findings.md
            "jax:dot_product_attention-jit",
            ("float32",),
            ("jax",),
            "jax",
            lazily(f"{__package__}.target_jax", "dot_product_attention", "jax:dot_product_attention-jit", jit=True),
        ),
        Target(
            "jax:dot_product_attention-cudnn",
            ("bfloat16", "float16"),
            ("jax",),
            "jax",
            lazily(
                f"{__package__}.target_jax",
                "dot_product_attention",
                "jax:dot_product_attention-cudnn",
                jit=False,
                implementation="cudnn",
            ),
            cuda=True,
        ),
        Target(
            "onnxruntime:attention",
            ("float32", "float16-eager"),
            ("onnx", "onnxruntime"),
            "onnx",
            lazily(f"{__package__}.target_onnxruntime", "attention"),
        ),
    )
}
