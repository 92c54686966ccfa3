"""assay's own attention of any order for GPUs, with arrays of CuPy: exact, and the polynomial method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.conformance.interface.certified import MEMORY, answered, every_family
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of
from assay.conformance.tensor_attention.families import TABLE
from assay.conformance.tensor_attention.interface import positional

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["built_in", "polynomial", "polynomial_of"]


def built_in(name: str, order: int) -> Kernel:
    import cupy

    from assay.impl.gpu.tensor_attention import exact

    keywords = keywords_of(exact, "tensor_attention") - {"error"}  # others by name are arrays
    version = str(cupy.__version__)
    return Kernel(name, exact, "cupy", keywords, positional=positional(order), version=version)


def polynomial(name: str, order: int) -> Kernel:
    import cupy

    from assay.impl.gpu.tensor_attention import approximate

    return polynomial_of(approximate, name, order, "cupy", str(cupy.__version__))


def polynomial_of(approximate: Callable[..., Any], name: str, order: int, framework: str, version: str) -> Kernel:
    """The kernel of a function with the arguments of :func:`assay.impl.gpu.tensor_attention.approximate`.

    It waits for the certificate, and declines what is not certified to the error that is asked.
    """

    def kernel(query: Any, *modes: Any, scale: float, error: float = 1e-6, return_certificate: bool = False) -> Any:
        return answered(
            lambda: approximate(query, *modes, error=error, scale=scale, memory=MEMORY), return_certificate, error
        )

    return Kernel(
        name,
        kernel,
        framework,
        keywords_of(kernel, "tensor_attention"),
        conventions={"error": "1e-06", "certificate": "yes"},
        positional=positional(order),
        version=version,
        declines=every_family(TABLE),
    )
