"""The gradient of attention of any order on the CPU: :func:`exact`, scores recomputed tile by tile."""

from assay.impl.cpu.tensor_attention_gradient.tiles import exact

__all__ = ["exact"]
