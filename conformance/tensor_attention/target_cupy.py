"""assay's own attention of any order for GPUs, with arrays of CuPy: exact, and the polynomial method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.targets import keywords_of
from assay.conformance.tensor_attention.families import TABLE
from assay.conformance.tensor_attention.interface import positional

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["built_in", "polynomial", "polynomial_of"]

_MEMORY = 1 << 24  # bytes: larger ranks are declined, in time


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
    from assay.spec.approximation import Infeasible

    def kernel(query: Any, *modes: Any, scale: float, error: float = 1e-6, return_certificate: bool = False) -> Any:
        try:
            found = approximate(query, *modes, error=error, scale=scale, memory=_MEMORY)
        except Infeasible:
            raise Declined("no polynomial of a feasible rank is certified to the error asked") from None
        if not float(found.error.max()) <= error:
            raise Declined("the result is not certified to the error asked")
        if not return_certificate:
            return found.value
        return found.value, np.broadcast_to(found.error, found.value.shape).copy()

    return Kernel(
        name,
        kernel,
        framework,
        keywords_of(kernel, "tensor_attention"),
        conventions={"error": "1e-06", "certificate": "yes"},
        positional=positional(order),
        version=version,
        declines=frozenset(family.id for family, _ in TABLE),
    )
