"""assay's own rotary embedding for GPUs, with arrays of CuPy."""

from __future__ import annotations

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

__all__ = ["built_in"]


def built_in() -> Kernel:
    import cupy

    from assay.impl.gpu import rope

    return Kernel("cupy:rope", rope.exact, "cupy", keywords_of(rope.exact, "rope"), version=str(cupy.__version__))
