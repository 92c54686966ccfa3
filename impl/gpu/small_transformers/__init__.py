"""Large attention from calls of a small one on a GPU: :func:`exact`, and :func:`merge` of attention over parts."""

from assay.impl.gpu.small_transformers.merge import merge
from assay.impl.gpu.small_transformers.simulate import exact

__all__ = ["exact", "merge"]
