"""Attention of any order on the CPU: :func:`exact`, by tiles of combinations."""

from assay.impl.cpu.tensor_attention.tiles import exact

__all__ = ["exact"]
