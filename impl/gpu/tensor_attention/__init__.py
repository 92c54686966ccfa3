"""Attention of any order on a GPU: :func:`exact`, by tiles."""

from assay.impl.gpu.tensor_attention.forward import exact

__all__ = ["exact"]
