"""Dense sums in NumPy, SciPy and scikit-learn, and assay's own for the CPU."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.kernel_graph.interface import FUNCTIONS
from assay.spec.kernel_graph.functions import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = [
    "EVERY", "cpu_exact", "cpu_route", "gaussian_process", "numpy_differences", "only", "rbf_kernel", "scipy_csgraph",
    "scipy_distances",
]  # fmt: skip

EVERY = frozenset({"function", "parameter", "laplacian", "diagonal", "targets"})


def only(*functions: str) -> frozenset[str]:
    """What a kernel lacks that takes these functions alone."""
    return frozenset(FUNCTIONS) - set(functions)


def cpu_exact(name: str) -> Kernel:
    from assay.impl.cpu import kernel_graph

    return Kernel(name, kernel_graph.exact, keywords=EVERY)


def cpu_route(name: str, route: str | None, error: float, *functions: str) -> Kernel:
    """assay's fast sums, by one route or by the one that it chooses; it declines what a route does not take."""
    from assay.impl.cpu import kernel_graph
    from assay.spec.approximation import Infeasible

    def multiply(points: Array, vectors: Array, *, return_certificate: bool = False, **options: Any) -> Any:
        sizes = np.abs(vectors.astype(np.float64)).sum(axis=0)
        least = float(np.min(sizes, where=sizes > 0, initial=np.inf))
        asked = error * (least if np.isfinite(least) else 1.0)
        try:
            found = kernel_graph.multiply(points, vectors, error=asked, route=route, **options)
        except Infeasible as reason:
            raise Declined(str(reason)[:200]) from None
        bound = np.broadcast_to(found.error, found.value.shape).astype(np.float64)
        return (found.value, bound.copy()) if return_certificate else found.value

    lacks = only(*functions) if functions else frozenset[str]()
    conventions = {"error": repr(2 * error), "certificate": "yes"}
    return Kernel(name, multiply, keywords=EVERY, conventions=conventions, lacks=lacks)


def numpy_differences(name: str) -> Kernel:
    return Kernel(name, _summed(_differences), keywords=EVERY, version=np.__version__)


def scipy_distances(name: str) -> Kernel:
    """``scipy.spatial.distance.cdist`` with ``"sqeuclidean"``, which works in float64."""
    distance = importlib.import_module("scipy.spatial.distance")
    kernel = _summed(lambda x, y: distance.cdist(x, y, "sqeuclidean"))
    return Kernel(name, kernel, keywords=EVERY, version=importlib.metadata.version("scipy"))


def scipy_csgraph(name: str) -> Kernel:
    """``scipy.sparse.csgraph.laplacian`` of the weights; without a Laplacian the weights themselves."""
    csgraph = importlib.import_module("scipy.sparse.csgraph")

    def multiply(points: Array, vectors: Array, *, function: str, parameter: float, laplacian: bool = False) -> Array:
        with np.errstate(divide="ignore"):
            weights = named(function, parameter)(_differences(points, points)).astype(points.dtype)
        np.fill_diagonal(weights, 0)
        matrix = csgraph.laplacian(weights) if laplacian else weights
        return np.asarray(matrix @ vectors)

    keywords = frozenset({"function", "parameter", "laplacian"})
    return Kernel(name, multiply, keywords=keywords, version=importlib.metadata.version("scipy"))


def rbf_kernel(name: str) -> Kernel:
    """``sklearn.metrics.pairwise.rbf_kernel``."""
    pairwise = importlib.import_module("sklearn.metrics.pairwise")
    return _matrix(name, lambda x, y, function, parameter: pairwise.rbf_kernel(x, y, gamma=parameter), "gaussian")


def gaussian_process(name: str) -> Kernel:
    """``RBF``, ``Matern`` and ``RationalQuadratic`` of ``sklearn.gaussian_process.kernels``."""
    kernels = importlib.import_module("sklearn.gaussian_process.kernels")

    def matrix(x: Array, y: Array, function: str, parameter: float) -> Array:
        if function == "gaussian":
            made = kernels.RBF((2 * parameter) ** -0.5)
        elif function == "matern":
            made = kernels.Matern(1.0, nu=parameter)
        else:
            made = kernels.RationalQuadratic((2 * parameter) ** -0.5, alpha=parameter)
        return np.asarray(made(x, y))

    return _matrix(name, matrix, "gaussian", "matern", "rational")


def _matrix(name: str, matrix: Callable[[Array, Array, str, float], Array], *functions: str) -> Kernel:
    """A kernel of a function of scikit-learn that gives the matrix of two sets of points."""

    def multiply(
        points: Array, vectors: Array, *, function: str, parameter: float, laplacian: bool = False,
        diagonal: float = 0.0, targets: Array | None = None,
    ) -> Array:  # fmt: skip
        weights = matrix(points if targets is None else targets, points, function, parameter)
        return _multiplied(weights, vectors, laplacian, diagonal, targets is None).astype(points.dtype)

    version = importlib.metadata.version("scikit-learn")
    return Kernel(name, multiply, keywords=EVERY, lacks=only(*functions), version=version)


def _differences(x: Array, y: Array) -> Array:
    total = np.zeros((len(x), len(y)), x.dtype)
    for c in range(x.shape[1]):
        total += np.square(x[:, c, None] - y[:, c])
    return total


def _summed(distances: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    """The sums of all pairs; f is evaluated in float64, and everything else in the type of the distances."""

    def multiply(
        points: Array, vectors: Array, *, function: str, parameter: float, laplacian: bool = False,
        diagonal: float = 0.0, targets: Array | None = None,
    ) -> Array:  # fmt: skip
        z = distances(points if targets is None else targets, points)
        with np.errstate(divide="ignore"):
            weights = named(function, parameter)(z).astype(z.dtype)
        return _multiplied(weights, vectors, laplacian, diagonal, targets is None).astype(points.dtype)

    return multiply


def _multiplied(weights: Array, vectors: Array, laplacian: bool, diagonal: float, graph: bool) -> Array:
    if graph:
        weights = weights.copy()
        np.fill_diagonal(weights, diagonal)
    made = weights @ vectors
    return np.asarray(weights.sum(axis=1)[:, None] * vectors - made if laplacian else made)
