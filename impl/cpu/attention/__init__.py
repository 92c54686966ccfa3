"""Attention on the CPU: :func:`exact`, by tiles."""

from assay.impl.cpu.attention.tiles import exact

__all__ = ["exact"]
