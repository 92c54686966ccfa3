"""assay's own structures for GPUs, with arrays of CuPy."""

from __future__ import annotations

from assay.conformance.firing_neurons.target_table import BOTH_THRESHOLDS
from assay.conformance.interface.kernel import Kernel

__all__ = ["recomputed", "table"]


def table(name: str) -> Kernel:
    from assay.impl.gpu.firing_neurons import Table

    return _kernel(name, Table)


def recomputed(name: str) -> Kernel:
    from assay.impl.gpu.firing_neurons import Recomputed

    return _kernel(name, Recomputed)


def _kernel(name: str, structure: type) -> Kernel:
    import cupy

    return Kernel(name, structure, "cupy", BOTH_THRESHOLDS, version=str(cupy.__version__))
