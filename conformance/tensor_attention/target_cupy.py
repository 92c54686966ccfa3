"""assay's own attention of any order for GPUs, with arrays of CuPy."""

from __future__ import annotations

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of
from assay.conformance.tensor_attention.interface import positional

__all__ = ["built_in"]


def built_in(name: str, order: int) -> Kernel:
    import cupy

    from assay.impl.gpu.tensor_attention import exact

    keywords = keywords_of(exact, "tensor_attention") - {"error"}  # others by name are arrays
    version = str(cupy.__version__)
    return Kernel(name, exact, "cupy", keywords, positional=positional(order), version=version)
