"""Attention with relative positions on the CPU: :func:`exact`, and :func:`approximate`, with a certificate."""

from assay.impl.cpu.rope_attention.approximate import ROUTES, approximate
from assay.impl.cpu.rope_attention.tiles import exact

__all__ = ["ROUTES", "approximate", "exact"]
