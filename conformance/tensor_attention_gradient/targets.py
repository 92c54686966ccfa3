"""The built-in kernels: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from assay.conformance.interface.targets import Target, lazily

__all__ = ["TARGETS"]

_WIDE = ("float64", "float32")


def _numpy(name: str, function: str, order: int) -> Target:
    return Target(name, _WIDE, (), "", lazily(f"{__package__}.target_numpy", function, name, order))


def _torch(name: str, function: str, *arguments: str, needed: str = "") -> Target:
    load = lazily(f"{__package__}.target_torch", function, name, *arguments)
    return Target(name, _WIDE, ("torch", *needed.split()), "simplicial" if needed else "torch", load)


#: name → target.  Where no class is listed, or fewer than a library has types, docs/findings.md tells why.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        _numpy("assay:cpu", "built_in", 3),
        _numpy("assay:cpu-4", "built_in", 4),
        _numpy("numpy:tensor_attention_gradient", "textbook", 3),
        _numpy("numpy:tensor_attention_gradient-4", "textbook", 4),
        _torch("torch:simplicial-einsum-autograd", "autograd", "einsum"),
        _torch("torch:simplicial-dense-autograd", "autograd", "dense"),
        _torch("simplicial-attention:naive_two_simplicial_attend-autograd", "library", needed="simplicial_attention"),
        # every case takes the interpreter seconds, so that `assay check` alone has nothing to ask
        Target(
            "triton:two_simplicial-backward",
            (),
            ("torch", "triton"),
            "simplicial",
            lazily(f"{__package__}.target_triton", "simplicial", "triton:two_simplicial-backward"),
        ),
    )
}
