"""Fast multiplication with a kernel graph, and a certificate (KG-19)."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.certified import Certified
from assay.impl.cpu.kernel_graph import choice, direct, tree
from assay.impl.cpu.kernel_graph.overflow import unwarned
from assay.impl.cpu.kernel_graph.problem import checked
from assay.impl.cpu.kernel_graph.sums import SLACK, U
from assay.impl.cpu.threads import available, require_number
from assay.spec.approximation import Infeasible
from assay.spec.floating_point import require_usual

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.choice import Offer
    from assay.impl.cpu.kernel_graph.problem import Problem, Scene
    from assay.impl.cpu.kernel_graph.sums import Plan

    Array = NDArray[np.float64]

__all__ = ["ROUTES", "completed", "multiply", "weight_error"]

ROUTES = choice.ROUTES
_STORED = {"float32": (2.0**-24, 2.0**-149), "float64": (0.0, 0.0)}  # rounding of the output to the type of the input
_NEARLY = 100.0  # a route whose certificate is at most so many times the requested error is tried once more
_SHARE = 0.45  # of the requested error for the relative part, and as much for the absolute part


@unwarned
def multiply(
    points: NDArray[Any],
    vectors: NDArray[Any],
    *,
    function: Any,
    parameter: float = 1.0,
    error: float = 1e-6,
    laplacian: bool = False,
    diagonal: float = 0.0,
    targets: NDArray[Any] | None = None,
    entries: bool = False,
    route: str | None = None,
    memory: int = 1 << 30,
    threads: int | None = None,
) -> Certified:
    """The sums of :func:`exact`, within ``error`` of the exact ones, and faster where a route is.

    Arrays and options are those of :class:`assay.spec.kernel_graph.Instance`, float32 or float64; the value has their
    type.  error: absolute, in units of the output.  With ``entries`` it is relative to every weight instead: the result
    is a sum with weights within a factor 1 ± error of the exact ones (KG-12), and then the rounding of one sum.
    The returned ``error`` has the shape of the value, or broadcasts to it, and is proved.

    route: ``None`` takes the route that is predicted to be the fastest and says why; one of :data:`ROUTES` insists.
    memory: the most bytes of working storage.  threads: the most threads (default: the CPUs of this process); the
    result does not depend on their number.

    Raises :class:`~assay.spec.problem.InvalidInstance` for bad input, ``ValueError`` for other bad arguments, and
    :class:`~assay.spec.approximation.Infeasible` where no route can be certified to ``error``.

    >>> x = np.linspace(0.0, 1.0, 50).reshape(50, 1)
    >>> found = multiply(x, x, function="gaussian", parameter=9.0, error=1e-8, route="grid")
    >>> float(found.value[0, 0].round(6)), bool((found.error <= 1e-8).all())
    (2.720243, True)
    """
    require_usual()
    problem = checked(points, vectors, function, parameter, laplacian, diagonal, targets)
    if isinstance(error, bool) or not isinstance(error, (int, float, np.number)) or not 0.0 < error < math.inf:
        raise ValueError(f"error: {error!r}, expected a positive finite number")
    if route not in (None, *ROUTES):
        raise ValueError(f"route: {route!r}, expected one of {', '.join(ROUTES)} or None")
    require_number(threads)
    if memory < 1:
        raise ValueError(f"memory: {memory!r}, expected a positive number of bytes")
    workers = threads or available()
    if not problem.vectors.size or not len(problem.goals):
        return Certified(np.zeros((len(problem.goals), problem.vectors.shape[1]), points.dtype), np.zeros(1), "empty")
    request = choice.Request(problem.scene, *_weights(problem, float(error), entries), memory, workers)
    refused: list[str] = []
    offers = choice.offers(request, route, refused)
    again: Offer | None = None
    while (offer := again or next(offers, None)) is not None:
        first, again = again is None, None
        try:
            plan = offer.make()
        except Infeasible as reason:
            refused.append(f"{offer.name}: {reason}")
            continue
        output, bound = completed(plan, problem)
        if weight_error(plan, problem.scene) <= error if entries else (bound <= error).all():
            why = "; ".join(refused) if refused else "as asked for" if route else "predicted to be the fastest"
            return Certified(output, bound, f"{offer.name}: {plan.words}; {why}")
        met = f"weights are within {weight_error(plan, problem.scene):.2g} only" if entries else ""
        refused.append(f"{offer.name}: {met or f'the certificate is {float(bound.max()):.2g}'}")
        short = float(bound.max()) / error
        if first and not entries and offer.name != "direct" and short < _NEARLY:
            again = _sharper(offer, request, 1.25 * short)
    raise Infeasible(f"error {error:g}: " + "; ".join(refused))


def _sharper(offer: Offer, request: choice.Request, times: float) -> Offer:
    """The offer of the same route for weights that err so many times less.

    The sums of weights were estimated from some points, where f has no largest value, and may be larger at others.
    """
    asked = dataclasses.replace(request, relative=request.relative / times, floor=request.floor / times)
    return choice.Offer(offer.name, offer.cost, lambda: next(choice.offers(asked, offer.name, [])).make())


def weight_error(plan: Plan, scene: Scene) -> float:
    """ε such that every weight of a plan is within a factor 1 ± ε of the exact one (KG-12)."""
    stray = plan.undecided() if isinstance(plan, (direct.Direct, tree.Tree)) else 0.0
    return (plan.relative + plan.floor / max(scene.least, 2.0**-1000)) * SLACK + stray


def _weights(problem: Problem, error: float, entries: bool) -> tuple[float, float]:
    """(relative, floor) that weights should meet, neither 0 nor infinite."""
    relative, floor = _wanted(problem, error, entries)
    return min(max(relative, 2.0**-1000), 1.0), min(max(floor, 2.0**-1060), 2.0**1000)


def _wanted(problem: Problem, error: float, entries: bool) -> tuple[float, float]:
    scene = problem.scene
    if entries:
        return 0.9 * error, 0.05 * error * scene.least
    vectors = np.abs(problem.vectors.astype(np.float64))
    mass = vectors.sum(axis=0)
    if problem.laplacian:
        mass = mass + len(vectors) * vectors.max(axis=0)
    most = float(mass.max())
    if most == 0.0:
        return 0.5, 1.0
    peak = scene.peak
    if peak == 0.0:
        return 1.0, _SHARE * error / most
    if not peak < math.inf:  # what the sums of a sample of points are
        if problem.laplacian:
            return _SHARE * error / float(vectors.max()) / choice.degree(scene) / 2.0, _SHARE * error / most
        return _SHARE * error / choice.degree(scene, vectors), _SHARE * error / most
    return _SHARE * error / most / peak, _SHARE * error / most


def completed(plan: Plan, problem: Problem) -> tuple[NDArray[Any], Array]:
    """The output in the type of the input and its certificate, (m, columns) or (1, columns) (KG-19)."""
    scene, graph = problem.scene, problem.graph
    vectors = np.array(problem.vectors, np.float64, order="C")
    n, columns = vectors.shape
    sizes = np.abs(vectors)
    mass = sizes.sum(axis=0) * (1.0 + n * U)
    largest = sizes.max(axis=0)
    peak = scene.peak
    # Σ_j w_ij v_j for v = 1, or v ≥ 0, says how large the sums of weights are: at |v| where f has no largest value
    ones = np.ones((n, 1 if problem.laplacian else 0))
    beside = sizes if not (problem.laplacian or peak < math.inf or np.array_equal(sizes, vectors)) else ones
    every = plan.apply(np.concatenate([vectors, beside], axis=1) if beside.size else vectors)
    sums = every[:, :columns]
    relative, floor, lost = plan.relative, plan.floor, plan.rounding
    if not relative + lost * (1.0 + relative) < 0.5:
        return sums.astype(problem.points.dtype), np.full((1, columns), math.inf)
    # Σ_j w_ij|v_j| is at most `reach`, and weights at most (1 + relative)w + floor
    reach = np.broadcast_to(peak * mass, (1, columns)) if peak < math.inf else np.full((1, columns), math.inf)
    share = 1.0 - relative - lost * (1.0 + relative)
    degree = None
    if problem.laplacian:
        unsure = plan.doubt(np.ones((n, 1)))
        degree = every[:, columns:] if scene.function.weights else direct.sizes(scene)
        most = (degree + unsure + n * floor * (1.0 + lost)) / share * SLACK
        reach = np.minimum(most * largest, reach)
    elif not peak < math.inf:
        found = every[:, -columns:] if scene.function.weights else direct.sizes(scene, sizes)
        reach = (found + plan.doubt(sizes) + floor * (1.0 + lost) * mass) / share * SLACK
    bound = (relative + lost * (1.0 + relative)) * reach + floor * (1.0 + lost) * mass + plan.doubt(sizes)
    if problem.laplacian:
        assert degree is not None
        own = sizes
        bound = bound + (relative + lost * (1.0 + relative)) * most * own + floor * (1.0 + lost) * n * own
        bound = bound + unsure * own
        product = degree * vectors
        out = product - sums
        bound = bound + 2.0 * U * (np.abs(product) + np.abs(out))
    elif graph and problem.diagonal:
        product = problem.diagonal * vectors
        out = sums + product
        bound = bound + 2.0 * U * (np.abs(product) + np.abs(out))
    else:
        out = sums
    unit, least = _STORED[problem.points.dtype.name]
    with np.errstate(over="ignore", invalid="ignore"):
        bound = (bound + unit * np.abs(out) * 1.01 + least + n * 2.0**-1000) * SLACK
        out = out.astype(problem.points.dtype, copy=False)
    return out, np.where(np.isfinite(out), bound, math.inf)  # a value that overflowed is near nothing
