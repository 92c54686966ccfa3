"""Attention on a GPU: :func:`exact`, by tiles, and :func:`approximate`, by polynomials of low rank."""

from assay.impl.gpu.attention.forward import exact
from assay.impl.gpu.attention.polynomial import approximate

__all__ = ["approximate", "exact"]
