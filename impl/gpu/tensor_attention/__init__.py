"""Attention of any order on a GPU: :func:`exact`, by tiles, and :func:`approximate`, by polynomials of low rank."""

from assay.impl.gpu.tensor_attention.forward import exact
from assay.impl.gpu.tensor_attention.polynomial import approximate

__all__ = ["approximate", "exact"]
