"""assay's own exact backward pass for GPUs, with arrays of CuPy."""

from __future__ import annotations

from assay.conformance.attention_gradient.interface import EXPLICIT_FORM
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

__all__ = ["built_in"]


def built_in() -> Kernel:
    """The tiled kernel, which is handed the output and the log-sum-exp."""
    import cupy

    from assay.impl.gpu.attention_gradient import exact

    return Kernel(
        "cupy:attention_gradient",
        exact,
        "cupy",
        keywords_of(exact, "attention_gradient"),
        version=str(cupy.__version__),
        positional=EXPLICIT_FORM.positional,
    )
