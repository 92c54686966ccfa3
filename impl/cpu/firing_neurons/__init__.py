"""Firing neurons on the CPU: structures that answer which neurons fire on a point, while weights change.

:class:`CorrelationTree`, :class:`Table` and :class:`Recomputed` answer alike, and :func:`structure` chooses among them.
:class:`Network` trains two layers over any of them, and :func:`train_step` is one step from given weights.
:mod:`assay.impl.cpu.firing_neurons.module` holds a module of torch, which nothing here imports.
"""

from assay.impl.cpu.firing_neurons.choice import structure
from assay.impl.cpu.firing_neurons.forecast import forecast, threshold_of
from assay.impl.cpu.firing_neurons.network import Network, train_step
from assay.impl.cpu.firing_neurons.table import Recomputed, Table
from assay.impl.cpu.firing_neurons.tree import CorrelationTree

__all__ = [
    "CorrelationTree", "Network", "Recomputed", "Table", "forecast", "structure", "threshold_of", "train_step",
]  # fmt: skip
