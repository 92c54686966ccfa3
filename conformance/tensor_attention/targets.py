"""The built-in kernels: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from typing import Any

from assay.conformance.interface.targets import Target, lazily

__all__ = ["TARGETS"]

_WIDE = ("float64", "float32")


def _numpy(name: str, function: str, order: int) -> Target:
    return Target(name, _WIDE, (), "", lazily(f"{__package__}.target_numpy", function, name, order))


def _cupy(name: str, order: int) -> Target:
    classes = ("float64-blocked", "float32-blocked", "bfloat16", "float16")
    load = lazily(f"{__package__}.target_cupy", "built_in", name, order)
    return Target(name, classes, ("cupy",), "gpu", load, cuda=True)


_TORCH = ("float64", "float32", "bfloat16-eager", "float16-eager")


def _torch(
    name: str,
    function: str,
    *arguments: Any,
    precisions: tuple[str, ...] = _TORCH,
    needed: str = "",
    extra: str = "torch",
    **options: Any,
) -> Target:
    load = lazily(f"{__package__}.target_torch", function, name, *arguments, **options)
    return Target(name, precisions, ("torch", *needed.split()), extra, load)


def _library(name: str, order: int, **options: Any) -> Target:
    needed, extra = "simplicial_attention", "simplicial"
    return _torch(f"simplicial-attention:{name}", "library", order, needed=needed, extra=extra, **options)


#: name → target.  Where no class is listed, or fewer than a library has types, docs/findings.md tells why.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        _numpy("assay:cpu", "built_in", 3),
        _numpy("assay:cpu-2", "built_in", 2),
        _numpy("assay:cpu-4", "built_in", 4),
        _numpy("assay:cpu-5", "built_in", 5),
        _cupy("cupy:tensor_attention", 3),
        _cupy("cupy:tensor_attention-2", 2),
        _cupy("cupy:tensor_attention-4", 4),
        Target(  # judged by the error that is asked of it, so by nothing that `assay check` alone could ask
            "cupy:tensor_attention-polynomial",
            (),
            ("cupy",),
            "gpu",
            lazily(f"{__package__}.target_cupy", "polynomial", "cupy:tensor_attention-polynomial", 3),
            cuda=True,
        ),
        _numpy("numpy:tensor_attention", "textbook", 3),
        _numpy("numpy:tensor_attention-2", "textbook", 2),
        _numpy("numpy:tensor_attention-4", "textbook", 4),
        _torch("torch:simplicial-einsum", "formulation", "einsum"),
        _torch("torch:simplicial-dense", "formulation", "dense"),
        _torch("torch:simplicial-gathered", "formulation", "gathered"),
        _library("naive_two_simplicial_attend", 3, naive=True),
        _library("nth_order_attend", 3),
        _library("nth_order_attend-2", 2),
        _library("nth_order_attend-4", 4),
        # every case takes the interpreter seconds, so that `assay check` alone has nothing to ask
        Target(
            "triton:two_simplicial",
            (),
            ("torch", "triton"),
            "simplicial",
            lazily(f"{__package__}.target_triton", "simplicial", "triton:two_simplicial"),
        ),
    )
}
