"""Kernel graphs on the CPU.

:func:`exact` sums over all pairs, :func:`multiply` does it faster and with a certificate, and :func:`adjacency` and
:func:`laplacian` are linear operators of SciPy, whose plan is made once.  :func:`sparsify` and :func:`solve` return
results with their proofs, :func:`certify` proves how well any graph approximates another, :func:`probe` shows it for
many points but for a small probability, and :func:`effective_resistance` gives two bounds.  A
:func:`solver` prepares a graph for several right sides.  :func:`graph` is the kernel
graph of points as :func:`certify` takes it.
"""

from assay.impl.cpu.kernel_graph.certify import certify, holds
from assay.impl.cpu.kernel_graph.direct import exact
from assay.impl.cpu.kernel_graph.graphs import of_points as graph
from assay.impl.cpu.kernel_graph.multiply import ROUTES, multiply
from assay.impl.cpu.kernel_graph.operators import adjacency, laplacian
from assay.impl.cpu.kernel_graph.probe import probe
from assay.impl.cpu.kernel_graph.resistance import effective_resistance
from assay.impl.cpu.kernel_graph.solve import solve, solver
from assay.impl.cpu.kernel_graph.sparsify import sparsify
from assay.impl.cpu.kernel_graph.weighed import eliminate

__all__ = [
    "ROUTES",
    "adjacency",
    "certify",
    "effective_resistance",
    "eliminate",
    "exact",
    "graph",
    "holds",
    "laplacian",
    "multiply",
    "probe",
    "solve",
    "solver",
    "sparsify",
]
