"""assay's own kernel for GPUs, with arrays of CuPy."""

from __future__ import annotations

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

__all__ = ["built_in"]


def built_in() -> Kernel:
    import cupy

    from assay.impl.gpu import attention

    keywords = keywords_of(attention.exact, "attention")
    return Kernel("cupy:attention", attention.exact, "cupy", keywords, version=str(cupy.__version__))
