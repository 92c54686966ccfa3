"""Sums of kernel graphs on a GPU with a certificate: over all pairs, or by a polynomial where that is faster."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.certified import Certified
from assay.impl.cpu.kernel_graph.overflow import unwarned
from assay.impl.gpu.kernel_graph import direct, plan, polynomial
from assay.impl.gpu.kernel_graph.plan import FUNCTIONS, Known, Shape
from assay.impl.gpu.machine import card
from assay.spec.approximation import Infeasible

if TYPE_CHECKING:
    from assay.impl.gpu.machine import Machine

__all__ = ["ROUTES", "multiply", "run"]

ROUTES = ("direct", "polynomial")
_SERVED = {"direct": direct.PEAKS, "polynomial": FUNCTIONS}


def multiply(
    points: Any,
    vectors: Any,
    *,
    function: str,
    parameter: float = 1.0,
    error: float = 1e-6,
    laplacian: bool = False,
    diagonal: float = 0.0,
    targets: Any = None,
    route: str | None = None,
    bounds: tuple[float, ...] | None = None,
    memory: int = 1 << 30,
) -> Certified:
    """The sums of :func:`exact`, computed in float64, and a proved bound of their error.

    error: absolute, in units of the output; it decides the degree of a polynomial.  route: ``None`` takes the one that
    is predicted to be faster, and says why; one of :data:`ROUTES` insists.  ``direct`` sums over all pairs, as
    exactly as float64 does whatever the error, and serves gaussian, laplacian, matern, rational and
    inverse_multiquadric.  ``polynomial`` serves gaussian, rational, inverse_multiquadric and polynomial.

    bounds: a number that no distance of a point or a target from the middle of the points' box exceeds, and one that
    Σ_j|v_j| of no column exceeds.  Without them these are measured, and the call waits for that once, before it chooses
    between two routes or takes a polynomial.  With them, and on the route ``direct``, it waits for nothing.
    With ``laplacian`` the error grows with n·max|v| too, and a third number may bound |v|.  Without it the second one
    stands for it, so that a polynomial is made for up to n times the vectors: of a higher degree than is needed, or
    refused.

    The value (m, columns) has the type of the points.  The error, (1, columns) or (m, columns), lies on the device.  It
    is proved of the value, whatever the bounds were.  A polynomial's is at most the one that was asked where
    they hold, but for the rounding of a diagonal's term and of a value in float32; it is infinite where points are
    farther than promised, and where a number is not finite.

    Let r be the rank for degree p in d dimensions, C(d + p, p), and C(d + p − 1, p − 1) more but for the Gaussian.  The
    time of ``polynomial`` is O((n + m)·r·columns).  memory: the most bytes that it may take: the points and targets in
    float64, three times the vectors and twice the outputs in float64, the matrix between features, and at most 66
    tables of r·(columns + 1) numbers, fewer where there is no room.  A Laplacian has one more column there, of ones,
    whose sums are the degrees, and takes the vectors once more.  ``direct`` takes the arrays in float64, and beside the
    result at most three times the vectors in float64, or four times with a Laplacian.

    Source: GPU-5, GPU-19 and GPU-21 of proofs_notes/gpu.md.  Raises as :func:`exact` does, ``ValueError`` for other bad
    arguments, ``NotImplementedError`` for functions that the route does not serve, and
    :class:`~assay.spec.approximation.Infeasible` where no polynomial serves and no other route does.
    """
    given = points, vectors, targets, function, parameter, error, diagonal, route, bounds, memory
    return run(card(), *given, laplacian=laplacian)


@unwarned
def run(
    machine: Machine, points: Any, vectors: Any, targets: Any, function: str, parameter: float, error: float,
    diagonal: float, route: str | None, bounds: tuple[float, ...] | None, memory: int, *, laplacian: bool = False,
) -> Certified:  # fmt: skip
    """:func:`multiply` on a machine."""
    _require(error, route, bounds, memory, laplacian)
    wanted = ROUTES if route is None else (route,)
    points, vectors, targets = direct.checked(
        machine, points, vectors, targets, function, parameter, laplacian=laplacian, diagonal=diagonal
    )
    able = [name for name in wanted if function in _SERVED[name]]
    if not able:
        served = sorted({name for each in wanted for name in _SERVED[each]})
        raise NotImplementedError(f"function: {function!r}, expected one of {', '.join(served)}")

    def all_pairs(why: str) -> Certified:
        found = direct.certified(machine, points, vectors, targets, function, parameter, diagonal, laplacian=laplacian)
        return dataclasses.replace(found, route=f"{found.route}; {why}")

    why = "as asked for" if route else "no other route serves the function"
    if able == ["direct"]:
        return all_pairs(why)
    shape = Shape.of(points, vectors, targets, laplacian=laplacian)
    if "direct" in able and plan.direct_work(shape) <= plan.polynomial_work(shape):
        return all_pairs("of few points")
    given = polynomial.measured(machine, points, targets, vectors, laplacian=laplacian)
    known = given.known(machine) if bounds is None else _promised(bounds, shape)
    try:
        made = plan.planned(function, float(parameter), shape, known, float(error), memory)
    except Infeasible as reason:
        if "direct" in able:
            return all_pairs(f"polynomial: {reason}")
        raise
    if "direct" in able:
        why = "predicted to be the faster route"
        if plan.direct_work(shape) <= plan.polynomial_work(shape, made):
            return all_pairs(why)
    value, bound = polynomial.summed(machine, given, made, diagonal)
    reach, seen = max(known.reach, known.other), "as measured" if bounds is None else "as promised"
    return Certified(
        value,
        bound,
        f"polynomial on the device: degree {made.degree}, rank {made.matrix.rank}, points within {reach:.3g} of their "
        f"middle {seen}; {why}",
    )


def _promised(bounds: tuple[float, ...], shape: Shape) -> Known:
    """What a caller promises; |v| is at most Σ|v|."""
    reach, mass, *largest = map(float, bounds)
    whole = mass + shape.points * min([mass, *largest]) if shape.laplacian else mass
    return Known(reach, reach, whole)


def _require(error: Any, route: Any, bounds: Any, memory: Any, laplacian: bool) -> None:
    """Raise ``ValueError`` for a request that is none."""
    if route not in (None, *ROUTES):
        raise ValueError(f"route: {route!r}, expected one of {', '.join(ROUTES)} or None")
    if isinstance(error, bool) or not isinstance(error, (int, float, np.number)) or not 0.0 < error < math.inf:
        raise ValueError(f"error: {error!r}, expected a positive finite number")
    fits = bounds is None or len(bounds) in ((2, 3) if laplacian else (2,))
    if not fits or not all(0.0 <= each < math.inf for each in bounds or ()):
        more = ", with a Laplacian perhaps of |v|"
        raise ValueError(f"bounds: {bounds!r}, expected bounds of the distances from the middle and of Σ|v|{more}")
    if memory < 1:
        raise ValueError(f"memory: {memory!r}, expected a positive number of bytes")
