"""Multiplication with kernel graphs on a GPU: :func:`exact`, over all pairs of points, and :func:`multiply`."""

from assay.impl.gpu.kernel_graph.direct import exact
from assay.impl.gpu.kernel_graph.multiply import ROUTES, multiply

__all__ = ["ROUTES", "exact", "multiply"]
