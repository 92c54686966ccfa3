"""What the kernels of this package are given: checked once, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph.weights import code_of
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Problem", "checked"]


@dataclass(frozen=True, eq=False)
class Problem:
    """A checked problem.

    goals (m, d): the points where sums are asked for; ``points`` themselves where ``graph``.  code: what the compiled
    kernels read of a named function; ``None`` for a function of the user's own, whose NumPy form is ``values``.
    """

    points: NDArray[Any]
    vectors: NDArray[Any]
    goals: NDArray[Any]
    name: str
    parameter: float
    values: Callable[[NDArray[Any]], NDArray[Any]]
    code: tuple[int, float, float, float] | None
    graph: bool
    laplacian: bool
    diagonal: float


def checked(
    points: Any, vectors: Any, function: Any, parameter: float, laplacian: bool, diagonal: float, targets: Any
) -> Problem:
    """The problem of these arguments; raises :class:`~assay.spec.problem.InvalidInstance`."""
    for name, array in (("points", points), ("vectors", vectors), ("targets", targets)):
        if array is None and name == "targets":
            continue
        if not isinstance(array, np.ndarray) or array.ndim != 2:
            raise InvalidInstance(f"{name}: expected an array with two axes")
        if array.dtype.name not in ("float32", "float64") or array.dtype != points.dtype:
            raise InvalidInstance(f"{name}: {array.dtype.name}, expected float32 or float64, as points")
        if not np.isfinite(array).all():
            raise InvalidInstance(f"{name}: NaN or infinity in it, expected finite numbers")
    if len(vectors) != len(points):
        raise InvalidInstance(f"vectors: {len(vectors)} rows, expected {len(points)}")
    if targets is not None and laplacian:
        raise InvalidInstance("laplacian: refused with targets")
    graph = targets is None
    goals = points if graph else targets
    code = code_of(function, float(parameter))
    return Problem(
        points, vectors, goals, function, float(parameter), lambda z: z, code, graph, bool(laplacian), float(diagonal)
    )
