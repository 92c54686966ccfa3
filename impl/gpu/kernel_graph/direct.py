"""Sums over all pairs of points on a GPU, as they are defined, and a certificate of them (``direct.cu``, GPU-5).

The class of the arithmetic is that of the points: float32 or float64, coordinates subtracted as they are stored.  Sums
of 512 sources are in that type, and these are summed in float64.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.certified import Certified
from assay.impl.cpu.kernel_graph import rounding
from assay.impl.cpu.kernel_graph.overflow import unwarned
from assay.impl.cpu.kernel_graph.sums import SLACK, U, gamma
from assay.impl.cpu.kernel_graph.weights import code_of
from assay.impl.gpu.machine import Launch, card, standing_in, struct, view
from assay.spec.kernel_graph.functions import named
from assay.spec.kernel_graph.instance import Instance
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from assay.impl.gpu.machine import Machine

__all__ = ["PEAKS", "certified", "checked", "exact", "run"]

_THREADS, _WIDE, _TILE = 128, 8, 512  # as in direct.cu
_SHARED = 16 * (16 + 8)  # numbers in shared memory: coordinates and vectors of sixteen sources
#: The functions with f(0) = 1, which nothing exceeds: their sums have a certificate.
PEAKS = ("gaussian", "laplacian", "matern", "rational", "inverse_multiquadric")


def exact(
    points: Any,
    vectors: Any,
    *,
    function: Any,
    parameter: float = 1.0,
    laplacian: bool = False,
    diagonal: float = 0.0,
    targets: Any = None,
) -> Any:
    """Σ_j f(|x_i − x_j|²)v_j over j ≠ i, with ``diagonal``·v_i; or the Laplacian's multiply Σ_j f(…)(v_i − v_j).

    Arguments and results are those of :func:`assay.impl.cpu.kernel_graph.exact`; arrays and streams are as for
    :func:`assay.impl.gpu.attention.exact`.  No memory is taken but that of the output.  Numbers on the device are not
    looked at: points that coincide under a function that is infinite there give infinite sums, and points of
    ``arc_cosine`` that are not on the unit sphere are taken to be.

    Raises :class:`~assay.spec.problem.InvalidInstance` for shapes, dtypes and options that do not fit, naming the
    argument, ``NotImplementedError`` for a function that is not one of the named ones, and ``ImportError`` where CuPy
    is not installed.
    """
    return run(card(), points, vectors, targets, function, parameter, laplacian=laplacian, diagonal=diagonal)


def run(
    machine: Machine, points: Any, vectors: Any, targets: Any, function: Any, parameter: float, *,
    laplacian: bool = False, diagonal: float = 0.0,
) -> Any:  # fmt: skip
    """:func:`exact` on a machine."""
    points, vectors, targets = checked(
        machine, points, vectors, targets, function, parameter, laplacian=laplacian, diagonal=diagonal
    )
    graph = targets is None
    goals = points if graph else targets
    (n, d), (m, columns) = points.shape, (goals.shape[0], vectors.shape[1])
    out = machine.empty((m, columns), points.dtype)
    code, a, b, c = code_of(function, parameter)
    arguments = struct(
        points=view(machine, points, (1, 1, n, d)),
        vectors=view(machine, vectors, (1, 1, n, columns)),
        targets=view(machine, goals, (1, 1, m, d)),
        out=machine.address(out),
        sources=n,
        count=m,
        dim=d,
        columns=columns,
        graph=int(graph),
        laplacian=int(laplacian),
        code=code,
        first=float(a),
        second=float(b),
        third=float(c),
        diagonal=float(diagonal),
    )
    blocks = -(-m // _THREADS) * -(-columns // _WIDE)
    launch = Launch(blocks, _THREADS, _SHARED * points.dtype.itemsize)
    machine.run("kernel_graph/direct.cu", f"direct_{points.dtype.name}", arguments, launch)
    return out


def checked(
    machine: Machine, points: Any, vectors: Any, targets: Any, function: Any, parameter: float, *,
    laplacian: bool, diagonal: float,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """The arrays of the machine; raises as :func:`exact` does."""
    given = {
        name: machine.given(array) for name, array in (("points", points), ("vectors", vectors), ("targets", targets))
    }
    # of a function that takes all points, since those that stand in coincide
    Instance(**standing_in(given), function="gaussian", laplacian=laplacian, diagonal=diagonal)
    if not isinstance(function, str):
        raise NotImplementedError("function: one of your own, expected a named one: a GPU runs no Python")
    try:
        weight = named(function, parameter)
    except ValueError as error:
        raise InvalidInstance(str(error)) from None
    if laplacian and not weight.weights:
        raise InvalidInstance(f"laplacian: {laplacian}, expected False for weights that may be negative")
    if given["points"].dtype.name not in ("float32", "float64"):
        raise InvalidInstance(f"points: dtype {given['points'].dtype.name}, expected float32 or float64")
    return given["points"], given["vectors"], given["targets"]


@unwarned
def certified(
    machine: Machine, points: Any, vectors: Any, targets: Any, function: str, parameter: float, diagonal: float, *,
    laplacian: bool = False,
) -> Certified:  # fmt: skip
    """The sums of :func:`exact` in float64, rounded to the type of the points, and a proved bound of their error.

    function: one of :data:`PEAKS`.
    """
    points, vectors, targets = (machine.given(array) for array in (points, vectors, targets))
    wide = points.astype(np.float64), vectors.astype(np.float64)
    goals = None if targets is None else targets.astype(np.float64)
    out = run(machine, *wide, goals, function, parameter, laplacian=laplacian, diagonal=diagonal)
    n, d = points.shape
    known = rounding.entry(function, parameter, d, d * 2.0**-1073)
    assert known is not None
    relative, floor = known
    lost = gamma(min(n, _TILE) + -(-n // _TILE) + 6.0 + laplacian)  # a difference of vectors is rounded
    rate = (relative + lost * (1.0 + relative) + floor * (1.0 + lost)) * SLACK
    sizes = abs(wide[1])
    mass = sizes.sum(axis=0, keepdims=True)
    if laplacian:
        mass = mass + n * sizes  # |v_i − v_j| is at most |v_i| + |v_j|
    error = rate * (1.0 + n * U) * mass / (mass < 2.0**1020)  # sums of larger numbers might overflow
    if targets is None and diagonal:
        error = error + 2.0 * U * (abs(diagonal) * sizes + abs(out))
    # f of an infinite number is 0, and f of the distance may not be: then there is no certificate
    reach = sum(abs(x).max(axis=0) for x in (wide[0], wide[0] if goals is None else goals))
    error = error / rounding.are_held(function, parameter, (reach * reach).sum())
    value = out.astype(points.dtype)
    if points.dtype.name == "float32":  # infinite where the value is: it is near nothing
        error = error + (2.0**-24 * 1.01) * abs(value.astype(np.float64)) + 2.0**-149
    error = (error + n * 2.0**-1000) * SLACK
    error[~(error < math.inf)] = math.inf  # 0/0, and what is not a number
    return Certified(value, error, "all pairs in float64 on the device")
