"""Products by ``torch.cdist`` in its modes, by GPyTorch's kernels, and by KeOps' symbolic matrices."""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.kernel_graph.target_numpy import EVERY, only

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["cdist", "gpytorch", "keops"]

_OF_TORCH = ("gaussian", "laplacian", "rational", "coulomb", "inverse_multiquadric", "polynomial")


def cdist(name: str, mode: str) -> Kernel:
    """``torch.cdist(x, y, compute_mode=mode)``, and f of the square of it."""
    torch = importlib.import_module("torch")

    def matrix(x: Any, y: Any, function: str, parameter: float) -> Any:
        return _values(torch, torch.cdist(x, y, compute_mode=mode), function, parameter)

    return _kernel(name, matrix, torch.__version__, *_OF_TORCH)


def gpytorch(name: str) -> Kernel:
    """``RBFKernel``, ``MaternKernel`` and ``RQKernel``."""
    torch, kernels = (importlib.import_module(module) for module in ("torch", "gpytorch.kernels"))

    def matrix(x: Any, y: Any, function: str, parameter: float) -> Any:
        if function == "gaussian":
            made, width = kernels.RBFKernel(), (2 * parameter) ** -0.5
        elif function == "matern":
            made, width = kernels.MaternKernel(nu=parameter), 1.0
        else:
            made, width = kernels.RQKernel().to(x.dtype), (2 * parameter) ** -0.5
            made.alpha = torch.tensor(parameter, dtype=x.dtype)
        made = made.to(x.dtype)
        made.lengthscale = torch.tensor(width, dtype=x.dtype)  # a number of Python would be rounded to float32
        with torch.no_grad():
            return made(x, y).to_dense()

    return _kernel(name, matrix, importlib.metadata.version("gpytorch"), "gaussian", "matern", "rational")


def _values(torch: Any, distance: Any, function: str, parameter: float) -> Any:
    if function == "laplacian":
        return torch.exp(-parameter * distance)
    z = distance * distance
    if function == "gaussian":
        return torch.exp(-parameter * z)
    if function == "rational":
        return (1 + z) ** -parameter
    if function == "coulomb":
        return z**-parameter
    return torch.rsqrt(1 + parameter * z) if function == "inverse_multiquadric" else z ** int(parameter)


def _kernel(name: str, matrix: Callable[[Any, Any, str, float], Any], version: str, *functions: str) -> Kernel:
    def multiply(
        points: Any, vectors: Any, *, function: str, parameter: float, laplacian: bool = False, diagonal: float = 0.0,
        targets: Any = None,
    ) -> Any:  # fmt: skip
        weights = matrix(points if targets is None else targets, points, function, parameter)
        if targets is None:
            weights = weights.clone()
            weights.fill_diagonal_(diagonal)
        made = weights @ vectors
        return weights.sum(dim=1)[:, None] * vectors - made if laplacian else made

    return Kernel(name, multiply, "torch", EVERY, lacks=only(*functions), version=version)


def keops(name: str) -> Kernel:
    """``LazyTensor`` of ``pykeops.numpy``, of which every formula and dimension is compiled on its first call."""
    if shutil.which("c++") is None and shutil.which("g++") is None:

        def refuse(points: Any, vectors: Any, **options: Any) -> Any:
            raise Declined("KeOps compiles its formulas, and there is no compiler of C++")

        return Kernel(name, refuse, keywords=frozenset({"function", "parameter", "targets"}))
    symbolic = importlib.import_module("pykeops.numpy").LazyTensor

    def multiply(
        points: NDArray[Any], vectors: NDArray[Any], *, function: str, parameter: float,
        targets: NDArray[Any] | None = None,
    ) -> NDArray[Any]:  # fmt: skip
        rows = np.ascontiguousarray(points if targets is None else targets)
        x, y = symbolic(rows[:, None, :]), symbolic(np.ascontiguousarray(points)[None, :, :])
        scale = points.dtype.type(math.sqrt(parameter))
        z = ((x * float(scale) - y * float(scale)) ** 2).sum(-1)
        made = np.asarray((-z).exp() @ np.ascontiguousarray(vectors))
        return made if targets is not None else made - vectors  # f(0) = 1 of a point and itself is taken away

    return Kernel(
        name,
        multiply,
        keywords=frozenset({"function", "parameter", "targets"}),
        lacks=only("gaussian"),
        lengths={"dim": "3", "columns": "1"},
        version=importlib.metadata.version("pykeops"),
    )
