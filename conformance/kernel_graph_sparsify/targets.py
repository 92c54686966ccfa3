"""The built-in sparsifiers: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.targets import Target, lazily
from assay.conformance.kernel_graph.graphs import dense_weights
from assay.conformance.kernel_graph.target_numpy import only
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Edges = tuple[Array, Array, Array]

__all__ = ["TARGETS"]

_KEYWORDS = frozenset({"function", "parameter", "error", "seed"})


def own(name: str) -> Kernel:
    """assay's sparsifier, which proves the error of what it draws, and declines what it cannot prove."""
    from assay.impl.cpu.kernel_graph.sparsify import sparsify

    def kernel(points: Array, *, function: str, parameter: float, error: float, seed: int) -> Edges:
        try:
            found = sparsify(points, function=function, parameter=parameter, error=error, seed=seed)
        except InvalidInstance as refusal:
            raise Declined(str(refusal)) from None
        left, right, weight = found.edges
        return left, right, weight.astype(np.float64)

    return Kernel(name, kernel, keywords=_KEYWORDS)


def every(name: str) -> Kernel:
    """Every edge of the graph."""

    def kernel(points: Array, *, function: str, parameter: float, error: float, seed: int) -> Edges:
        w = dense_weights(points, function, parameter)
        left, right = np.nonzero(np.triu(w, 1))
        return left, right, w[left, right]

    return Kernel(name, kernel, keywords=_KEYWORDS, version=np.__version__)


def networkit(name: str, sparsifier: str) -> Kernel:
    """A sparsifier of ``networkit.sparsification``, asked for half of the edges."""
    library = importlib.import_module("networkit")

    def kernel(points: Array, *, function: str, parameter: float, error: float, seed: int) -> Edges:
        library.engineering.setSeed(seed, False)
        w = dense_weights(points, function, parameter)
        graph = library.Graph(len(w), weighted=True)
        for i, j in zip(*np.nonzero(np.triu(w, 1)), strict=True):
            graph.addEdge(int(i), int(j), float(w[i, j]))
        graph.indexEdges()
        sparse = getattr(library.sparsification, sparsifier)().getSparsifiedGraphOfSize(graph, 0.5)
        return _of(list(sparse.iterEdgesWeights()))

    return Kernel(name, kernel, keywords=_KEYWORDS, version=importlib.metadata.version("networkit"))


def stag(name: str) -> Kernel:
    """``stag.cluster.approximate_similarity_graph``, which keeps clusters and promises no error."""
    cluster, utility = (importlib.import_module(f"stag.{module}") for module in ("cluster", "utility"))

    def kernel(points: Array, *, function: str, parameter: float, error: float, seed: int) -> Edges:
        data = utility.DenseMat(np.asfortranarray(points.astype(np.float64)))
        found = cluster.approximate_similarity_graph(data, parameter).adjacency().to_scipy().tocoo()
        return _of([(i, j, w) for i, j, w in zip(found.row, found.col, found.data, strict=True) if i < j])

    return Kernel(name, kernel, keywords=_KEYWORDS, lacks=only("gaussian"), version=importlib.metadata.version("stag"))


def _of(edges: list[Any]) -> Edges:
    left, right = (np.array([edge[k] for edge in edges], np.int64) for k in (0, 1))
    return left, right, np.array([edge[2] for edge in edges], np.float64)


def _target(name: str, function: str, precisions: tuple[str, ...], *arguments: str, needed: str, extra: str) -> Target:
    return Target(name, precisions, tuple(needed.split()), extra, lazily(__name__, function, name, *arguments))


_BOTH = ("float64", "float32")

#: name → target.  Where no class is listed, docs/findings.md tells why.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        _target("assay:cpu", "own", _BOTH, needed="numba scipy", extra="cpu"),
        _target("numpy:every_edge", "every", _BOTH, needed="", extra=""),
        _target(
            "networkit:local_degree", "networkit", (), "LocalDegreeSparsifier", needed="networkit", extra="graph-peers"
        ),
        _target(
            "networkit:random_edge", "networkit", (), "RandomEdgeSparsifier", needed="networkit", extra="graph-peers"
        ),
        _target("stag:approximate_similarity_graph", "stag", (), needed="stag", extra="graph-peers"),
    )
}
