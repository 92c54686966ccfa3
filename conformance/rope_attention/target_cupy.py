"""assay's own attention with relative positions for GPUs, with arrays of CuPy: each route, with its certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.conformance.interface.certified import MEMORY, answered, every_family
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of
from assay.conformance.rope_attention.families import TABLE
from assay.conformance.rope_attention.interface import GENERAL_FORM, ROTARY_FORM

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["certified", "certified_of"]

#: What the polynomial route refuses; the other one serves every argument of the function.
_REFUSED = {"polynomial": frozenset({"relative_bias"}), "fourier": frozenset[str]()}


def certified(name: str, route: str, *, general: bool = False) -> Kernel:
    import cupy

    from assay.impl.gpu.rope_attention import approximate

    return certified_of(approximate, name, route, "cupy", str(cupy.__version__), general=general)


def certified_of(
    approximate: Callable[..., Any], name: str, route: str, framework: str, version: str, *, general: bool = False
) -> Kernel:
    """The kernel of a function with the arguments of :func:`assay.impl.gpu.rope_attention.approximate`, on one route.

    general: in the form with a W for every offset.  It waits for the certificate, and declines what is not certified to
    the error that is asked.
    """
    from assay.impl.gpu import rope_attention

    def kernel(*arrays: Any, error: float = 1e-6, return_certificate: bool = False, **options: Any) -> Any:
        return answered(
            lambda: approximate(*arrays, **options, error=error, route=route, memory=MEMORY), return_certificate, error
        )

    return Kernel(
        name,
        kernel,
        framework,
        keywords_of(rope_attention.approximate, "rope_attention") - _REFUSED[route],
        conventions={"error": "1e-06", "certificate": "yes"},
        positional=(GENERAL_FORM if general else ROTARY_FORM).positional,
        version=version,
        declines=every_family(TABLE),
    )
