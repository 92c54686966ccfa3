"""Preconditioners of the Laplacian of a kernel graph: each a symmetric map of residuals to corrections.

None of them has a part in a proof: a bad one costs iterations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph import cells as celled
from assay.impl.cpu.kernel_graph.extra import eigen, multigrid, sparse, trees
from assay.impl.cpu.kernel_graph.graphs import from_edges
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.cells import Cells
    from assay.impl.cpu.kernel_graph.graphs import PointGraph

    Array = NDArray[np.float64]
    Map = Callable[[Array], Array]

__all__ = ["NAMES", "chosen", "made"]

#: ``jacobi``: degrees.  ``cells``: degrees and the graph of cells.  ``truncated``: the nearest neighbours, factorised.
#: ``multigrid``: the nearest neighbours, by pyamg.  ``sparsifier``: a sampled graph with matched degrees, factorised.
NAMES = ("jacobi", "cells", "truncated", "multigrid", "sparsifier")

_NEIGHBOURS = 16
_LOCAL = 0.7  # of the degrees: what the nearest neighbours hold of a graph that is called local
_FACTORISED = 200_000  # points of a plane whose truncated graph is factorised
_SAMPLED = 20_000


def chosen(graph: PointGraph, degrees: Array) -> tuple[str, str]:
    """The name of the preconditioner that suits a graph, and why."""
    n, d = graph.points.shape
    if celled.number(graph) == n:
        return "cells", "each point is a cell: the graph itself is factorised"
    share = float(np.median(np.asarray(_near(graph, _NEIGHBOURS).sum(axis=1)).reshape(-1) / degrees))
    if share >= _LOCAL:
        if d <= 2 and n <= _FACTORISED:
            return (
                "truncated",
                f"{_NEIGHBOURS} neighbours hold {share:.0%} of the degrees: λ₂ is small, the graph local",
            )
        return "multigrid", f"{_NEIGHBOURS} neighbours hold {share:.0%} of the degrees, too many points to factorise"
    return "cells", f"{_NEIGHBOURS} neighbours hold {share:.0%} of the degrees: wide enough for cells"


def made(name: str, graph: PointGraph, degrees: Array, cells: Cells, seed: int = 0) -> Map:
    """The preconditioner of this name.  Raises InvalidInstance for an unknown one, or for too large a graph."""
    if name == "jacobi":
        return lambda residual: residual / degrees
    if name == "cells":
        small = celled.coarse(graph, cells)
        if small is None:
            return lambda residual: residual / degrees
        if len(cells.sizes) == graph.n:
            return lambda residual: small.solve(cells.sums(residual))[cells.labels]
        return lambda residual: residual / degrees + small.solve(cells.sums(residual))[cells.labels]
    if name == "truncated":
        return _factorised(_near(graph, _NEIGHBOURS))
    if name == "multigrid":
        return _multigrid(_near(graph, _NEIGHBOURS))
    if name == "sparsifier":
        from assay.impl.cpu.kernel_graph.sparsify import drawn, matched

        if graph.n > _SAMPLED:
            raise InvalidInstance(f"preconditioner: 'sparsifier' takes {_SAMPLED} points at most, got {graph.n}")
        left, right, weight = drawn(graph, 16.0, np.random.default_rng(seed))
        return _factorised(from_edges(graph.n, left, right, matched(graph.n, left, right, weight, degrees)))
    raise InvalidInstance(f"preconditioner: {name!r}, expected one of {', '.join(NAMES)} or None")


def _near(graph: PointGraph, count: int) -> Any:
    """The weights between points and their nearest neighbours, a symmetric csr_array."""
    n = graph.n
    count = min(count, n - 1)
    _, near = trees().cKDTree(graph.points).query(graph.points, k=count + 1)
    i, j = np.repeat(np.arange(n), count + 1), near.reshape(-1)
    left, right = np.minimum(i, j), np.maximum(i, j)
    pairs = np.unique((left * n + right)[left < right])
    left, right = pairs // n, pairs % n
    apart = graph.points[left] - graph.points[right]
    return from_edges(n, left, right, graph.function((apart * apart).sum(axis=1)))


def _laplacian(weights: Any) -> Any:
    """The Laplacian, with a trifle on the diagonal that makes it definite."""
    degrees = np.asarray(weights.sum(axis=1)).reshape(-1)
    trifle = 1e-9 * max(float(degrees.mean()), 1e-300) + 1e-9 * degrees
    return (sparse().diags_array(degrees + trifle) - weights).tocsc()


def _factorised(weights: Any) -> Map:
    matrix = _laplacian(weights)
    try:
        factor = eigen().splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    except RuntimeError:  # singular in float64
        diagonal = np.maximum(matrix.diagonal(), 2.0**-1000)
        return lambda residual: residual / diagonal
    solve: Map = factor.solve
    return solve


def _multigrid(weights: Any) -> Map:
    matrix = _laplacian(weights).tocsr()
    cycle = multigrid().smoothed_aggregation_solver(sparse().csr_matrix(matrix), max_coarse=500).aspreconditioner()
    return lambda residual: np.asarray(cycle @ residual)
