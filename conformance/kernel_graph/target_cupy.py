"""assay's own sums of kernel graphs for GPUs, with arrays of CuPy: over all pairs, and with a certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.conformance.interface.certified import MEMORY, answered, every_family
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of
from assay.conformance.kernel_graph.families import TABLE
from assay.conformance.kernel_graph.interface import FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["built_in", "certified", "certified_of"]

#: What each route serves; ``None`` takes the faster one.
_SERVED = {
    None: ("gaussian", "laplacian", "matern", "rational", "inverse_multiquadric", "polynomial"),
    "polynomial": ("gaussian", "rational", "inverse_multiquadric", "polynomial"),
}


def built_in() -> Kernel:
    import cupy

    from assay.impl.gpu.kernel_graph import exact

    keywords, version = keywords_of(exact, "kernel_graph"), str(cupy.__version__)
    return Kernel("cupy:kernel_graph", exact, "cupy", keywords, lacks=frozenset({"own_function"}), version=version)


def certified(name: str, route: str | None) -> Kernel:
    import cupy

    from assay.impl.gpu.kernel_graph import multiply

    return certified_of(multiply, name, route, "cupy", str(cupy.__version__))


def certified_of(multiply: Callable[..., Any], name: str, route: str | None, framework: str, version: str) -> Kernel:
    """The kernel of a function with the arguments of :func:`assay.impl.gpu.kernel_graph.multiply`, on one route.

    It waits for the certificate, and declines what is not certified to the error that is asked.
    """

    def kernel(
        points: Any, vectors: Any, *, function: str, parameter: float = 1.0, laplacian: bool = False,
        diagonal: float = 0.0, targets: Any = None, error: float = 1e-6, return_certificate: bool = False,
    ) -> Any:  # fmt: skip
        options = {
            "function": function, "parameter": parameter, "laplacian": laplacian, "diagonal": diagonal,
            "targets": targets,
        }  # fmt: skip
        return answered(
            lambda: multiply(points, vectors, **options, error=error, route=route, memory=MEMORY),
            return_certificate,
            error,
        )

    return Kernel(
        name,
        kernel,
        framework,
        keywords_of(kernel, "kernel_graph"),
        conventions={"error": "1e-06", "certificate": "yes"},
        lacks=frozenset(FUNCTIONS) - set(_SERVED[route]),
        version=version,
        declines=every_family(TABLE),
    )
