"""assay's own exact backward pass for the CPU."""

from __future__ import annotations

from assay.conformance.attention_gradient.interface import EXPLICIT_FORM
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

__all__ = ["built_in"]


def built_in() -> Kernel:
    """The tiled kernel, which is handed the output and the log-sum-exp."""
    from assay.impl.cpu.attention_gradient import exact

    keywords = keywords_of(exact, "attention_gradient")
    return Kernel("assay:cpu", exact, keywords=keywords, positional=EXPLICIT_FORM.positional)
