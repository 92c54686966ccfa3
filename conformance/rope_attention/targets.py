"""The built-in kernels: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from assay.conformance.interface.targets import Target, lazily

__all__ = ["TARGETS"]

_WIDE = ("float64", "float32")
_WIDE_EXACT = ("float64-exact-angles", "float32-exact-angles")
_COMPOSED = ("float32", "bfloat16-composed", "float16-composed")


def _library(
    module: str, function: str, name: str, precisions: tuple[str, ...], needed: str, extra: str,
    *arguments: str, findings: dict[str, str] | None = None, **options: object,
) -> Target:  # fmt: skip
    """A kernel of a library; ``needed``: the modules that it imports."""
    load = lazily(f"{__package__}.{module}", function, name, *arguments, **options)
    return Target(name, precisions, tuple(needed.split()), extra, load, findings or {})


def _composed(
    name: str, rotation: str, attention: str, precisions: tuple[str, ...], needed: str, extra: str,
    findings: dict[str, str] | None = None,
) -> Target:  # fmt: skip
    arguments = ("target_composed", "composed", name, precisions, needed, extra, rotation, attention)
    return _library(*arguments, findings=findings)


_MODELS = "torch transformers"
_CAUSAL = {
    "nonpositive_causal_scale": "with is_causal and a scale of 0 or below a query that does not see every key is NaN "
    "(torch 2.13.0, docs/findings.md)"
}
_ODD = {"odd_dim": "columns beyond the rotary ones are copied by twos, over the end of an odd row (docs/findings.md)"}


def _ggml(name: str, *, fused: bool) -> Target:
    return _library("target_ggml", "ggml", name, ("float32",), "xllamacpp", "ggml", findings=_ODD, fused=fused)


def _certified(name: str, route: str, *, general: bool = False) -> Target:
    """One that is judged by the error that is asked of it (--error), so by nothing that ``assay check`` could ask."""
    load = lazily(f"{__package__}.target_cupy", "certified", name, route, general=general)
    return Target(name, (), ("cupy",), "gpu", load, cuda=True)


#: name → target.  Where no class is listed, or fewer than a library has types, docs/findings.md tells why.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("assay:cpu", _WIDE_EXACT, (), "", lazily(f"{__package__}.target_numpy", "built_in")),
        Target("assay:cpu-general", _WIDE, (), "", lazily(f"{__package__}.target_numpy", "built_in", general=True)),
        Target("numpy:rope_attention", _WIDE, (), "", lazily(f"{__package__}.target_numpy", "textbook")),
        Target("numpy:general_rope_attention", _WIDE, (), "", lazily(f"{__package__}.target_numpy", "weighted")),
        _composed("transformers:rope+sdpa", "transformers:rope", "torch:sdpa", _COMPOSED, _MODELS, "rope", _CAUSAL),
        _composed(
            "rotary-embedding-torch:rope+sdpa", "rotary-embedding-torch:apply_rotary_emb", "torch:sdpa",
            ("float32", "bfloat16", "float16"), "torch rotary_embedding_torch", "rope", _CAUSAL,
        ),
        _composed(
            "onnxruntime:rope+attention", "onnxruntime:rotary_embedding", "onnxruntime:attention",
            ("float32-exact-angles", "float16-eager"), "onnx onnxruntime", "onnx",
        ),
        _composed(
            "equinox:rope+jax", "equinox:rope", "jax:dot_product_attention", (), "jax equinox", "rope",
        ),
        _library("target_torch", "llama", "transformers:llama_attention", _COMPOSED, _MODELS, "rope", attention="sdpa"),
        _library(
            "target_torch", "llama", "transformers:llama_attention-eager",
            ("float32", "bfloat16-eager", "float16-eager"), _MODELS, "rope", attention="eager",
        ),
        _library("target_torch", "flex_attention", "torch:flex_attention-general", _WIDE, "torch", "torch"),
        _library(
            "target_onnxruntime", "group_query_attention", "onnxruntime:group_query_attention",
            ("float32-exact-angles",), "onnx onnxruntime", "onnx",
        ),
        _ggml("ggml:rope+soft_max", fused=False),
        _ggml("ggml:rope+flash_attn", fused=True),
        _certified("cupy:rope_attention-polynomial", "polynomial"),
        _certified("cupy:rope_attention-fourier", "fourier"),
        _certified("cupy:rope_attention-fourier-general", "fourier", general=True),
    )
}  # fmt: skip
