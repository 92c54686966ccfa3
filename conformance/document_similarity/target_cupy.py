"""assay's own search for the nearest pair of documents for GPUs, with arrays of CuPy."""

from __future__ import annotations

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

__all__ = ["built_in"]


def built_in() -> Kernel:
    import cupy

    from assay.impl.gpu.document_similarity import nearest

    keywords, version = keywords_of(nearest, "document_similarity"), str(cupy.__version__)
    return Kernel("cupy:document_similarity", nearest, "cupy", keywords, version=version)
