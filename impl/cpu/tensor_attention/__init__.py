"""Attention of any order on the CPU: :func:`exact`, by tiles, and :func:`approximate`, by polynomials of low rank."""

from assay.impl.cpu.tensor_attention.polynomial import approximate
from assay.impl.cpu.tensor_attention.tiles import exact

__all__ = ["approximate", "exact"]
