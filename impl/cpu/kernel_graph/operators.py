"""Adjacency and Laplacian of a kernel graph as linear operators of SciPy: planned once, applied often."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.certified import Certified
from assay.impl.cpu.kernel_graph import choice
from assay.impl.cpu.kernel_graph.multiply import completed, weight_error
from assay.impl.cpu.kernel_graph.overflow import unwarned
from assay.impl.cpu.kernel_graph.problem import Problem, checked
from assay.impl.cpu.threads import available, require_number
from assay.spec.approximation import Infeasible
from assay.spec.floating_point import require_usual
from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.sums import Plan

__all__ = ["adjacency", "laplacian"]


def adjacency(
    points: NDArray[Any],
    *,
    function: Any,
    parameter: float = 1.0,
    error: float = 1e-6,
    diagonal: float = 0.0,
    entries: bool = False,
    route: str | None = None,
    memory: int = 1 << 30,
    threads: int | None = None,
) -> Any:
    """A of the graph as a ``scipy.sparse.linalg.LinearOperator`` of float64 vectors; arguments are those of multiply.

    error: every weight is within error·w of the exact one, and error·max w where ``entries`` is not asked for.  The
    operator has the attributes ``route`` (a line), ``relative`` and ``floor`` (weights are in [(1 − relative)w − floor,
    (1 + relative)w + floor]), ``rounding`` (of one sum), and ``certified(vectors)``, which returns the product of
    (n, columns) vectors and a proved bound of its error, as :func:`multiply` does.

    Raises as :func:`multiply`.

    >>> x = np.linspace(0.0, 1.0, 5).reshape(5, 1)
    >>> a = adjacency(x, function="gaussian", parameter=2.0)
    >>> (a @ np.ones(5)).round(4)
    array([1.949 , 2.6962, 2.9781, 2.6962, 1.949 ])
    """
    return _operator(
        points, function, parameter, error, False, diagonal, entries, route, memory, threads
    )  # fmt: skip


def laplacian(
    points: NDArray[Any],
    *,
    function: Any,
    parameter: float = 1.0,
    error: float = 1e-6,
    entries: bool = True,
    route: str | None = None,
    memory: int = 1 << 30,
    threads: int | None = None,
) -> Any:
    """L = diag(A·1) − A of the graph, as :func:`adjacency`; a 1 ± error spectral approximation with ``entries``.

    The degrees are those of the same weights, computed once: attribute ``degrees`` (n,).  Where no fast route has
    weights of a relative error, sums are over all pairs.

    >>> x = np.linspace(0.0, 1.0, 5).reshape(5, 1)
    >>> bool(np.abs(laplacian(x, function="gaussian", parameter=2.0) @ np.ones(5)).max() < 1e-12)
    True
    """
    return _operator(points, function, parameter, error, True, 0.0, entries, route, memory, threads)


@unwarned
def _operator(
    points: NDArray[Any], function: Any, parameter: float, error: float, laplacian: bool, diagonal: float,
    entries: bool, route: str | None, memory: int, threads: int | None,
) -> Any:  # fmt: skip
    require_usual()
    linalg = required("scipy.sparse.linalg", "cpu")
    if isinstance(error, bool) or not 0.0 < error < 1.0:
        raise ValueError(f"error: {error!r}, expected a number between 0 and 1")
    if route not in (None, *choice.ROUTES):
        raise ValueError(f"route: {route!r}, expected one of {', '.join(choice.ROUTES)} or None")
    require_number(threads)
    wide = np.asarray(points, np.float64) if getattr(points, "dtype", None) == np.float32 else points
    n = len(wide)
    problem = checked(wide, np.zeros((n, 1)), function, parameter, laplacian, diagonal, None)
    scene = problem.scene
    typical = scene.peak if scene.peak < math.inf else choice.degree(scene) / max(n, 1)
    typical = max(typical, 2.0**-1000)
    floor = max(0.05 * error * scene.least, 2.0**-1060) if entries else 0.45 * error * typical
    relative, floor = max((0.9 if entries else 0.45) * error, 2.0**-1000), max(floor, 2.0**-1060)
    request = choice.Request(scene, relative, floor, memory, threads or available())
    refused: list[str] = []
    plan: Plan | None = None
    name = ""
    for offer in choice.offers(request, route, refused):
        try:
            plan, name = offer.make(), offer.name
        except Infeasible as reason:
            refused.append(f"{offer.name}: {reason}")
            continue
        reached = weight_error(plan, scene) if entries else plan.relative + plan.floor / typical
        if reached <= error:
            break
        refused.append(f"{offer.name}: weights are within {reached:.2g} only")
        plan = None
    if plan is None:
        raise Infeasible(f"error {error:g}: " + "; ".join(refused))
    made: Plan = plan
    degrees = made.apply(np.ones((n, 1))) if laplacian else None

    @unwarned
    def product(vectors: NDArray[Any]) -> NDArray[Any]:
        x = np.ascontiguousarray(np.asarray(vectors, np.float64).reshape(n, -1))
        found = made.apply(x)
        if degrees is not None:
            found = degrees * x - found
        elif diagonal:
            found = found + diagonal * x
        return found.reshape(np.shape(vectors))

    @unwarned
    def certified(vectors: NDArray[Any]) -> Certified:
        given = Problem(scene, wide, np.asarray(vectors, np.float64), wide, laplacian, diagonal)
        output, bound = completed(made, given)
        return Certified(output, bound, operator.route)

    operator = linalg.LinearOperator((n, n), matvec=product, rmatvec=product, matmat=product, dtype=np.float64)
    operator.route = f"{name}: {made.words}" + (f"; {'; '.join(refused)}" if refused else "")
    operator.relative, operator.floor, operator.rounding = made.relative, made.floor, made.rounding
    operator.certified, operator.degrees = certified, None if degrees is None else degrees[:, 0]
    return operator
