"""Kernel graphs on the CPU.

:func:`exact` sums over all pairs, :func:`multiply` does it faster and with a certificate, and :func:`adjacency` and
:func:`laplacian` are linear operators of SciPy, whose plan is made once.
"""

from assay.impl.cpu.kernel_graph.direct import exact
from assay.impl.cpu.kernel_graph.multiply import ROUTES, multiply
from assay.impl.cpu.kernel_graph.operators import adjacency, laplacian
from assay.impl.cpu.kernel_graph.weighed import eliminate

__all__ = ["ROUTES", "adjacency", "eliminate", "exact", "laplacian", "multiply"]
