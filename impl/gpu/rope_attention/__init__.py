"""Attention with relative positions on a GPU: :func:`approximate`, by polynomials of low rank and by transforms."""

from assay.impl.gpu.rope_attention.approximate import approximate

__all__ = ["approximate"]
