"""Large attention from calls of a small one on a GPU: :func:`exact`, and :func:`certified` with a proved bound.

:func:`merge` puts attention over parts of the keys together.
"""

from assay.impl.gpu.small_transformers.merge import merge
from assay.impl.gpu.small_transformers.simulate import certified, exact

__all__ = ["certified", "exact", "merge"]
