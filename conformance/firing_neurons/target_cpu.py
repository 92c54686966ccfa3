"""assay's own structures for the CPU: a tree of maxima, a table, weights alone, and the one that is predicted best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.conformance.firing_neurons.target_table import BOTH_THRESHOLDS
from assay.conformance.interface.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["recomputed", "routed", "table", "tree"]


def _kernel(name: str, function: Callable[..., Any]) -> Kernel:
    return Kernel(name, function, keywords=BOTH_THRESHOLDS)


def routed(name: str) -> Kernel:
    from assay.impl.cpu import firing_neurons

    return _kernel(name, firing_neurons.structure)


def tree(name: str) -> Kernel:
    from assay.impl.cpu import firing_neurons

    return _kernel(name, firing_neurons.CorrelationTree)


def table(name: str) -> Kernel:
    from assay.impl.cpu import firing_neurons

    return _kernel(name, firing_neurons.Table)


def recomputed(name: str) -> Kernel:
    from assay.impl.cpu import firing_neurons

    return _kernel(name, firing_neurons.Recomputed)
