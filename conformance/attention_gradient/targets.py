"""The built-in kernels: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from assay.conformance.interface.targets import Target, lazily

__all__ = ["TARGETS"]

_TYPES = ("float64", "float32", "bfloat16", "float16")
_CAUSAL = "with is_causal and a scale of 0 or below gradients are NaN (torch 2.13.0, docs/findings.md)"
_RESIDUAL = "the log-sum-exp of return_residual has the gradient 0 (jax 0.10.2, docs/findings.md)"


def _torch(name: str, function: str, *arguments: str, precisions: tuple[str, ...] = _TYPES, **findings: str) -> Target:
    load = lazily(f"{__package__}.target_torch", function, name, *arguments)
    return Target(name, precisions, ("torch",), "torch", load, findings)


def _jax(name: str, *, jit: bool) -> Target:
    """It compiles every case anew and is out of time at ``smoke``, so that it is judged where it is asked for alone.

    With time enough it keeps float32, and called plainly bfloat16-eager and float16-eager; compiled it raises in half
    precision (docs/findings.md).
    """
    load = lazily(f"{__package__}.target_jax", "dot_product_attention", name, jit=jit)
    return Target(name, (), ("jax",), "jax", load, {"grad_log_sum_exp": _RESIDUAL})


#: name → target
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "numpy:attention_gradient",
            ("float64", "float32"),
            (),
            "",
            lazily(f"{__package__}.target_numpy", "textbook"),
        ),
        Target("assay:cpu", ("float64", "float32"), (), "", lazily(f"{__package__}.target_cpu", "built_in")),
        Target(
            "cupy:attention_gradient",
            _TYPES,
            ("cupy",),
            "gpu",
            lazily(f"{__package__}.target_cupy", "built_in"),
            cuda=True,
        ),
        _torch("torch:sdpa-autograd", "sdpa", nonpositive_causal_scale=_CAUSAL),
        _torch("torch:sdpa-math-autograd", "sdpa", "MATH"),
        _torch("torch:sdpa-flash-autograd", "sdpa", "FLASH_ATTENTION", nonpositive_causal_scale=_CAUSAL),
        # it has no backward pass on a CPU, so that `assay check` alone has nothing to ask
        _torch("torch:flex_attention-autograd", "flex_attention", precisions=()),
        _jax("jax:dot_product_attention-vjp", jit=False),
        _jax("jax:dot_product_attention-vjp-jit", jit=True),
    )
}
