"""Which route serves a request: every route makes an offer with a predicted time, or says why it cannot.

Predictions are nanoseconds of one core of an AMD EPYC of 2024; ``costs.route`` corrects them for the processor at hand.
Only speed depends on them.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.impl.cpu import costs
from assay.impl.cpu.kernel_graph import direct, gaussians, grid, nodes, nonuniform, polynomial, smooth, tree
from assay.spec.approximation import Infeasible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.problem import Scene
    from assay.impl.cpu.kernel_graph.sums import Plan

    Array = NDArray[np.float64]

__all__ = ["ROUTES", "Offer", "Request", "degree", "offers"]

ROUTES = ("direct", "grid", "nonuniform", "gaussians", "tree", "polynomial")

_PAIR = {"gaussian": 0.9, "laplacian": 1.1, "matern": 1.3, "arc_cosine": 18.0, "threshold": 0.5, "polynomial": 0.5}
_EXPANSIONS = ((35.0, 0.7), (29.0, 2.6), (115.0, 3.9), (1500.0, 4.2))  # c, a: c·digits^a entries in d dimensions
_PASSED = 0.18  # of a point and a function of a box, up or down
_OWN = 5.0  # a pair of a function of the user's own in a tree
_BESIDE = 1 << 14  # sources, about, that show how many pairs are near: the offers of many points would cost seconds
_POWER = 18.0  # of a power that is not half a whole number


@dataclass(frozen=True, eq=False)
class Request:
    """What a plan should meet: weights within relative·w + floor of the exact ones."""

    scene: Scene
    relative: float
    floor: float
    memory: int
    workers: int


@dataclass(frozen=True, eq=False)
class Offer:
    """A route that is predicted to serve: the time of one column in nanoseconds of a core."""

    name: str
    cost: float
    make: Callable[[], Plan]


def offers(request: Request, route: str | None, refused: list[str]) -> Iterator[Offer]:
    """The offers for a request, the cheapest first, or the one of ``route``; reasons go to ``refused``.

    Raises :class:`~assay.spec.approximation.Infeasible` where the route that is asked for cannot serve.
    """
    if route is not None:
        yield _MAKERS[route](request)
        return
    found = []
    for name, maker in _MAKERS.items():
        try:
            found.append(maker(request))
        except Infeasible as reason:
            refused.append(f"{name}: {reason}")
    yield from sorted(found, key=lambda offer: offer.cost * costs.route(offer.name))


def degree(scene: Scene, sizes: Array | None = None) -> float:
    """About the largest sum of weights of a point, or of weights times ``sizes`` (n, columns), from some points."""
    count = min(len(scene.goals), 48)
    chosen = np.unique(np.linspace(0, len(scene.goals) - 1, count).astype(int))
    z = ((scene.goals[chosen, None] - scene.points[None]) ** 2).sum(axis=2)
    if scene.graph:
        z[np.arange(len(chosen)), chosen] = np.inf
    weight = np.zeros_like(z)
    apart = np.isfinite(z) & (z > 0.0)
    with np.errstate(over="ignore"):
        weight[apart] = np.abs(scene.function(z[apart]))
    with np.errstate(over="ignore", invalid="ignore"):
        sums = weight.sum(axis=1) if sizes is None else weight @ sizes
    return 1.5 * float(np.where(np.isnan(sums), np.inf, sums).max(initial=0.0)) + 1e-300


def pair(scene: Scene) -> float:
    """Nanoseconds of one pair of the direct sums."""
    if scene.code is None:
        return 20.0
    if scene.name in ("rational", "coulomb"):
        return 1.0 if scene.parameter <= 32.0 and (2.0 * scene.parameter).is_integer() else _POWER
    return float(_PAIR.get(scene.name, 1.0) + 0.1 * scene.points.shape[1])


def _direct(request: Request) -> Offer:
    scene = request.scene
    cost = pair(scene) * len(scene.goals) * len(scene.points)
    return Offer("direct", cost, functools.partial(direct.planned, scene, request.workers))


def _require_gaussian(scene: Scene) -> int:
    """The dimension, where there is a Gaussian on a grid."""
    if scene.name != "gaussian":
        raise Infeasible("the function is no Gaussian")
    return _require_grid(scene)


def _require_grid(scene: Scene) -> int:
    """The dimension, where grids have as many."""
    d = int(scene.points.shape[1])
    if d > grid.MOST_DIMENSION:
        raise Infeasible(f"{d} dimensions, more than {grid.MOST_DIMENSION}")
    return d


def _grid(request: Request) -> Offer:
    scene = request.scene
    d = _require_gaussian(scene)
    design = grid.designed(scene.parameter, d, request.relative, request.floor)
    count = nodes.number(scene.box, design.step, design.width)
    each = 0.08 * design.padded * design.width ** (d - 1) + 35.0 * d
    cost = each * (len(scene.points) + len(scene.goals)) + 3.0 * count
    return Offer(
        "grid",
        cost,
        lambda: grid.gaussian(
            scene.points, scene.targets, scene.box, scene.parameter, request.relative, request.floor, request.memory,
            request.workers,
        ),
    )  # fmt: skip


def _nonuniform(request: Request) -> Offer:
    scene = request.scene
    d = _require_gaussian(scene)
    # where weights are asked for relatively, the least one says what they may err absolutely
    allowed = request.floor + request.relative * scene.least
    sides = scene.box[1] - scene.box[0]
    both = len(scene.points) + len(scene.goals)
    design = nonuniform.designed(scene.parameter, float(sides.max()), d, 0.98 * allowed, both)
    return Offer(
        "nonuniform",
        nonuniform.cost(design, both),
        lambda: nonuniform.gaussian(
            scene.points, scene.targets, scene.box, scene.parameter, allowed, request.memory, request.workers
        ),
    )  # fmt: skip


def _gaussians(request: Request) -> Offer:
    """The offer with the distance of near pairs that is predicted to cost the least."""
    scene = request.scene
    if scene.name not in gaussians.FUNCTIONS:
        raise Infeasible("the function is not known as a sum of Gaussians" if scene.name != "gaussian" else "it is one")
    d = _require_grid(scene)
    count = min(len(scene.goals), 64)
    chosen = np.unique(np.linspace(0, len(scene.goals) - 1, count).astype(int))
    beside = scene.points[:: -(-len(scene.points) // _BESIDE)]
    z = ((scene.goals[chosen, None] - beside[None]) ** 2).sum(axis=2)
    if not scene.farthest < 2.0**1000:
        raise Infeasible("points are too far from each other for float64 to hold squared distances")
    high, rest = scene.farthest, max(math.log(4.0 / request.relative), 1.0)
    step = 7.5 / (rest + 4.0)
    both = float(len(scene.points) + len(scene.goals))
    width = 8.0 * math.ceil((rest + 4.0) / 8.0 * 0.9)
    each = both * (0.12 * width**d + 60.0 * d)
    rate = {"rational": 1.0, "inverse_multiquadric": scene.parameter}.get(scene.name, math.inf)
    best = (math.inf, 0.0)
    for k in range(2, 40):
        radius = math.sqrt(high) * 2.0 ** (-k / 2.0)
        most = (rest + 2.0) / radius**2
        if most > rate * rest * 1.5:
            radius, most = 0.0, rate * rest * 1.5
        terms = max(0.0, math.log(max(most * high / 6.0, 1.0)) / step)
        pairs = float((z <= radius * radius).mean()) * len(scene.points) * 2.5
        cost = terms * each + len(scene.goals) * pairs * (pair(scene) + 5.0) + both * 200.0 + 5e7
        nodes = (math.sqrt(high * most * (rest + 4.0)) * 0.7 + width) ** d
        if 20.0 * nodes <= request.memory and cost + 4.0 * nodes * terms < best[0]:
            best = (cost + 4.0 * nodes * terms, radius)
        if radius == 0.0:
            break
    if not best[0] < math.inf:
        raise Infeasible("no distance of near pairs has grids that fit in the memory")
    return Offer(
        "gaussians",
        best[0],
        lambda: gaussians.planned(
            scene, request.relative, request.floor, best[1], request.memory, request.workers
        ),
    )  # fmt: skip


def _tree(request: Request) -> Offer:
    """The offer as it would be for points that fill a cube."""
    scene = request.scene
    tree.require_served(scene)
    d, n, m = scene.points.shape[1], len(scene.points), len(scene.goals)
    with np.errstate(over="ignore"):
        half = max(float(scene.function(np.array([scene.farthest / 4.0]))[0]), 1e-300)
    digits = -math.log10(min(max(request.relative + request.floor / half, 1e-15), 0.1))
    front, power = _EXPANSIONS[d - 1]
    entries, functions = front * digits**power, 0.8 * math.sqrt(front * digits**power) * d**2
    each = pair(scene) if scene.code is not None else _OWN  # of large arrays, without which boxes cost more
    best, sent = math.inf, 0.0
    for level in range(2, 20):
        boxes = 2.0 ** (d * level)
        sent += min(boxes * (6**d - 3**d), float(n) * m) * (entries * tree.ENTRY + 100.0)
        passed = (level - 1.0) * (n + m) * functions * _PASSED
        best = min(best, sent + passed + float(n) * m * min(3.0**d / boxes, 1.0) * each)
    designs = 600.0 * entries * math.factorial(d) + 2e7
    return Offer(
        "tree",
        best + designs,
        lambda: tree.planned(scene, request.relative, request.floor, each, request.memory, request.workers),
    )


def _polynomial(request: Request) -> Offer:
    scene = request.scene
    found = smooth.degree_of(scene, request.relative, request.floor)
    if found.rank > polynomial.MOST_RANK:
        raise Infeasible(f"rank {found.rank}, more than {polynomial.MOST_RANK}")
    # the weights of features, or the matrix between them; the features themselves are kept from call to call
    made = (800.0 if found.centred else 12e3) * found.rank
    cost = (len(scene.points) + len(scene.goals)) * found.rank * 0.22 + made
    return Offer("polynomial", cost, lambda: smooth.planned(scene, found, request.workers))


_MAKERS: dict[str, Callable[[Request], Offer]] = {
    "direct": _direct, "grid": _grid, "nonuniform": _nonuniform, "gaussians": _gaussians,
    "tree": _tree, "polynomial": _polynomial,
}  # fmt: skip
