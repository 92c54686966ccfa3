"""Attention on a GPU: :func:`exact`, by tiles."""

from assay.impl.gpu.attention.forward import exact

__all__ = ["exact"]
