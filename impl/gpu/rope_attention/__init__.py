"""Attention with rotated queries and keys on a GPU: :func:`approximate`, by polynomials of low rank."""

from assay.impl.gpu.rope_attention.polynomial import approximate

__all__ = ["approximate"]
