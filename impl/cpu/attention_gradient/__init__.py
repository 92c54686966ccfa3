"""The gradient of attention on the CPU: :func:`exact`, by tiles, and :func:`approximate`, by polynomials."""

from assay.impl.cpu.attention_gradient.polynomial import Gradients, approximate
from assay.impl.cpu.attention_gradient.tiles import exact

__all__ = ["Gradients", "approximate", "exact"]
