"""Firing neurons on a GPU: :class:`Table` keeps all correlations, :class:`Recomputed` keeps none; they answer alike."""

from assay.impl.gpu.firing_neurons.table import Recomputed, Table

__all__ = ["Recomputed", "Table"]
