"""assay's own merge for GPUs, with arrays of CuPy."""

from __future__ import annotations

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

__all__ = ["built_in"]


def built_in(name: str) -> Kernel:
    import cupy

    from assay.impl.gpu.small_transformers import merge

    keywords = keywords_of(merge, "small_transformers_merge")
    return Kernel(name, merge, "cupy", keywords, version=str(cupy.__version__))
