"""assay's own sums over all pairs of points for GPUs, with arrays of CuPy."""

from __future__ import annotations

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

__all__ = ["built_in"]


def built_in() -> Kernel:
    import cupy

    from assay.impl.gpu.kernel_graph import exact

    keywords, version = keywords_of(exact, "kernel_graph"), str(cupy.__version__)
    return Kernel("cupy:kernel_graph", exact, "cupy", keywords, lacks=frozenset({"own_function"}), version=version)
