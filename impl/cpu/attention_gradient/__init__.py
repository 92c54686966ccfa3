"""The gradient of attention on the CPU: :func:`exact`, by tiles, and :func:`approximate`, by polynomials.

:class:`Loss` and :func:`descend` train one head with proofs.
"""

from assay.impl.cpu.attention_gradient.loss import Loss
from assay.impl.cpu.attention_gradient.polynomial import Gradients, approximate
from assay.impl.cpu.attention_gradient.tiles import exact
from assay.impl.cpu.attention_gradient.training import descend

__all__ = ["Gradients", "Loss", "approximate", "descend", "exact"]
