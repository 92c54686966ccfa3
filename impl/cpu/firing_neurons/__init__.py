"""Firing neurons on the CPU: structures that answer which neurons fire on a point, while weights change."""

from assay.impl.cpu.firing_neurons.table import Recomputed, Table
from assay.impl.cpu.firing_neurons.tree import CorrelationTree

__all__ = ["CorrelationTree", "Recomputed", "Table"]
