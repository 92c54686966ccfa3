"""Kernel graphs on the CPU: :func:`exact`, sums over all pairs."""

from assay.impl.cpu.kernel_graph.direct import exact

__all__ = ["exact"]
