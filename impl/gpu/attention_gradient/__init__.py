"""The gradient of attention on a GPU: :func:`exact`, by tiles."""

from assay.impl.gpu.attention_gradient.backward import exact

__all__ = ["exact"]
