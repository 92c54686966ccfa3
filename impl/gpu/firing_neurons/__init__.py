"""Firing neurons on a GPU: :class:`Table` keeps all correlations, :class:`Recomputed` keeps none; they answer alike.

:func:`train_step` is one step of gradient descent.
"""

from assay.impl.gpu.firing_neurons.step import train_step
from assay.impl.gpu.firing_neurons.table import Recomputed, Table

__all__ = ["Recomputed", "Table", "train_step"]
