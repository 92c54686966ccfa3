"""assay's own merge, in float64 throughout."""

from __future__ import annotations

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

__all__ = ["built_in"]


def built_in() -> Kernel:
    from assay.impl.cpu.small_transformers import merge

    return Kernel("assay:cpu", merge, keywords=keywords_of(merge, "small_transformers_merge"))
