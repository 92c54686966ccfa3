"""Kernel graphs on the CPU: :func:`exact`, sums over all pairs, and :func:`multiply`, faster and with a certificate."""

from assay.impl.cpu.kernel_graph.direct import exact
from assay.impl.cpu.kernel_graph.multiply import ROUTES, multiply

__all__ = ["ROUTES", "exact", "multiply"]
