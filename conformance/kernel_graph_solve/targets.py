"""The built-in solvers: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.targets import Target, lazily
from assay.conformance.kernel_graph.graphs import dense_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["TARGETS"]

_KEYWORDS = frozenset({"function", "parameter", "tolerance"})


def own(name: str) -> Kernel:
    """assay's conjugate gradients, whose error is proved; it declines what it cannot prove."""
    from assay.impl.cpu.kernel_graph.solve import solve

    def solver(points: Array, right_side: Array, *, function: str, parameter: float, tolerance: float) -> Array:
        found = solve(points, right_side, function=function, parameter=parameter, tolerance=tolerance)
        if not found.certified:
            raise Declined(found.status)
        return found.value.astype(right_side.dtype)

    return Kernel(name, solver, keywords=_KEYWORDS)


def _solver(solve: Callable[[Array, Array, float], Array]) -> Callable[..., Array]:
    """solve(L, b, tolerance): the potentials, in float64."""

    def solver(points: Array, right_side: Array, *, function: str, parameter: float, tolerance: float) -> Array:
        w = dense_weights(points, function, parameter)
        x = solve(np.diag(w.sum(axis=1)) - w, right_side.astype(np.float64), tolerance)
        return np.asarray(x).astype(right_side.dtype)

    return solver


def dense(name: str, how: str) -> Kernel:
    """``numpy.linalg``'s pseudoinverse or least squares, or SciPy's Cholesky of all vertices but the last one."""
    scipy = importlib.import_module("scipy.linalg")

    def grounded(matrix: Array, b: Array, _tolerance: float) -> Array:
        x = scipy.solve(matrix[:-1, :-1], b[:-1], assume_a="pos")
        return np.append(x, 0.0)

    solvers: dict[str, Callable[[Array, Array, float], Array]] = {
        "pinv": lambda matrix, b, _: np.linalg.pinv(matrix, hermitian=True) @ b,
        "lstsq": lambda matrix, b, _: np.linalg.lstsq(matrix, b, rcond=None)[0],
        "cholesky": grounded,
    }
    version = importlib.metadata.version("scipy" if how == "cholesky" else "numpy")
    lacks = frozenset({"ill_conditioned"}) if how == "cholesky" else frozenset[str]()
    return Kernel(name, _solver(solvers[how]), keywords=_KEYWORDS, lacks=lacks, version=version)


def gradients(name: str) -> Kernel:
    """``scipy.sparse.linalg.cg``, which gets the tolerance of the energy for that of its residual."""
    linalg = importlib.import_module("scipy.sparse.linalg")

    def solve(matrix: Array, b: Array, tolerance: float) -> Array:
        return np.asarray(linalg.cg(matrix, b, rtol=tolerance, maxiter=50 * len(b))[0])

    return Kernel(name, _solver(solve), keywords=_KEYWORDS, version=importlib.metadata.version("scipy"))


def embedding(name: str, eigen_solver: str) -> Kernel:
    """The spectral embedding of scikit-learn into all dimensions that a graph has, by one of its solvers.

    L⁺ = Σ v_k v_k'/λ_k over the eigenvectors v_k that are not constant, which are the coordinates of the embedding of
    the weights, given as a precomputed affinity; λ_k = v_k'Lv_k.  Divided by √λ_k they are the embedding by commute
    times, whose squared distances are effective resistances.  For so many coordinates scikit-learn takes LAPACK where
    it is asked for ``lobpcg``.  ``arpack``, which is its default, finds all but one, along which the rest of b is.
    """
    manifold = importlib.import_module("sklearn.manifold")

    def solve(matrix: Array, b: Array, _tolerance: float) -> Array:
        number = len(b) - 1 if eigen_solver == "lobpcg" else len(b) - 2
        coordinates = np.zeros((len(b), 0))
        if number:
            affinity = np.diag(np.diag(matrix)) - matrix
            coordinates = manifold.spectral_embedding(
                affinity, n_components=number, eigen_solver=eigen_solver, norm_laplacian=False, random_state=0
            )
        values = np.einsum("ik,ij,jk->k", coordinates, matrix, coordinates)
        x = coordinates @ ((coordinates.T @ b) / values)
        if eigen_solver == "arpack":
            rest = b - coordinates @ (coordinates.T @ b)
            energy = float(rest @ matrix @ rest)
            x = x + rest * ((rest @ rest) / energy) if energy > 0.0 else x
        return np.asarray(x)

    version = importlib.metadata.version("scikit-learn")
    return Kernel(name, _solver(solve), keywords=_KEYWORDS, lacks=frozenset({"ill_conditioned"}), version=version)


def multigrid(name: str) -> Kernel:
    """``pyamg.smoothed_aggregation_solver`` of all vertices but the last one, to a residual of the tolerance."""
    pyamg, sparse = importlib.import_module("pyamg"), importlib.import_module("scipy.sparse")

    def solve(matrix: Array, b: Array, tolerance: float) -> Array:
        inner = sparse.csr_matrix(matrix[:-1, :-1])
        made = pyamg.smoothed_aggregation_solver(inner).solve(b[:-1], tol=tolerance, accel="cg", maxiter=50 * len(b))
        return np.append(made, 0.0)

    return Kernel(name, _solver(solve), keywords=_KEYWORDS, version=importlib.metadata.version("pyamg"))


def _target(name: str, function: str, precisions: tuple[str, ...], *arguments: str, needed: str, extra: str) -> Target:
    return Target(name, precisions, tuple(needed.split()), extra, lazily(__name__, function, name, *arguments))


_BOTH = ("float64", "float32")

#: name → target.  Where no class is listed, docs/findings.md tells why.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        _target("assay:cpu", "own", _BOTH, needed="numba scipy", extra="cpu"),
        _target("numpy:pinv", "dense", (), "pinv", needed="scipy", extra="cpu"),
        _target("numpy:lstsq", "dense", (), "lstsq", needed="scipy", extra="cpu"),
        _target("scipy:cholesky", "dense", _BOTH, "cholesky", needed="scipy", extra="cpu"),
        _target("scipy:cg", "gradients", (), needed="scipy", extra="cpu"),
        _target("sklearn:spectral_embedding", "embedding", _BOTH, "arpack", needed="sklearn", extra="documents"),
        _target("sklearn:spectral_embedding-lobpcg", "embedding", _BOTH, "lobpcg", needed="sklearn", extra="documents"),
        _target("pyamg:smoothed_aggregation", "multigrid", (), needed="pyamg", extra="graphs"),
    )
}
