"""Sums over all pairs of points, as they are defined: tiles of sources, threads that share the targets.

The class of the arithmetic is that of the points: float32 or float64, coordinates subtracted as they are stored.  Sums
of a tile of 512 sources are in that type, and tiles are summed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph import rounding, weights
from assay.impl.cpu.kernel_graph.overflow import unwarned
from assay.impl.cpu.kernel_graph.problem import checked
from assay.impl.cpu.kernel_graph.sums import SLACK, U, gamma
from assay.impl.cpu.progress import told
from assay.impl.cpu.threads import Borrowed, available, require_number
from assay.spec.floating_point import require_usual

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.problem import Problem, Scene

    Array = NDArray[np.float64]

__all__ = ["Direct", "exact", "plain", "planned", "sizes", "summed"]

_PIECE = 64  # targets of a task, at least


@unwarned
def exact(
    points: NDArray[Any],
    vectors: NDArray[Any],
    *,
    function: Any,
    parameter: float = 1.0,
    laplacian: bool = False,
    diagonal: float = 0.0,
    targets: NDArray[Any] | None = None,
    threads: int | None = None,
    progress: bool | Callable[[int, int], None] = False,
) -> NDArray[Any]:
    """Σ_j f(|x_i − x_j|²)v_j over j ≠ i, with ``diagonal``·v_i; or the Laplacian's multiply Σ_j f(…)(v_i − v_j).

    points (n, d) and vectors (n, columns) of one type, float32 or float64; the result is (n, columns) of that type.
    With ``targets`` (m, d) it is (m, columns): sums over all pairs, without a diagonal.  function and parameter are
    those of :class:`assay.spec.kernel_graph.Instance`.  threads: the most threads (default: the CPUs of this process);
    the result does not depend on their number.  progress: True shows a bar; a function is called with (targets done,
    targets in all).

    Time O(m·n·(d + columns)), memory a copy of the inputs and a tile a thread.  Raises
    :class:`~assay.spec.problem.InvalidInstance` for bad input and ``ValueError`` for bad ``threads``.

    >>> line = np.array([[0.0], [1.0], [3.0]])
    >>> exact(line, np.ones((3, 1)), function="polynomial", parameter=1).ravel()
    array([10.,  5., 13.])
    """
    problem = checked(points, vectors, function, parameter, laplacian, diagonal, targets)
    require_number(threads)
    with told(progress, "kernel sums") as tell:
        return summed(problem, threads or available(), tell)


def summed(problem: Problem, workers: int, tell: Callable[[int, int], None] | None = None) -> NDArray[Any]:
    """The sums of a checked problem in the arithmetic of its points."""
    scene, work = problem.scene, problem.points.dtype
    sources = np.ascontiguousarray(problem.points.T, work)
    targets = sources if problem.graph else np.ascontiguousarray(problem.goals.T, work)
    vectors = np.ascontiguousarray(problem.vectors.T, work)
    run = _own if scene.code is None else _compiled
    out = run(scene, targets, sources, vectors, problem.laplacian, problem.diagonal, workers, tell)
    return np.ascontiguousarray(out.T)


def plain(scene: Scene, vectors: Array, workers: int, values: Any = None) -> Array:
    """Σ_j f(z_ij)v_j (m, columns) in float64, for the graph without j = i; ``values``: another f."""
    sources = np.ascontiguousarray(scene.points.T)
    targets = sources if scene.graph else np.ascontiguousarray(scene.goals.T)
    columns = np.ascontiguousarray(vectors.T)
    if values is None and scene.code is not None:
        out = _compiled(scene, targets, sources, columns, False, 0.0, workers, None)
    else:
        out = _own(scene, targets, sources, columns, False, 0.0, workers, None, values)
    return np.ascontiguousarray(out.T)


def sizes(scene: Scene, vectors: Array | None = None) -> Array:
    """Σ_j |f(z_ij)|v_j (m, columns) in float64, for the graph without j = i; v = 1 by default.

    With v ≥ 0 it is what sums of weights are for f of either sign.
    """
    ones = np.ones((len(scene.points), 1))
    return plain(scene, ones if vectors is None else vectors, 1, lambda z: np.abs(scene.function(z)))


@dataclass(frozen=True, eq=False)
class Direct:
    """Sums over all pairs in float64, as a plan (KG-18)."""

    scene: Scene
    relative: float
    floor: float
    rounding: float
    workers: int
    words: str

    def apply(self, vectors: Array) -> Array:
        return plain(self.scene, vectors, self.workers)

    def doubt(self, sizes: Array) -> Array | float:
        """What undecided pairs add, for |vectors|: where a rounded distance may move f by more than ``relative``."""
        scene = self.scene
        if scene.code is not None and scene.name != "threshold":
            return 0.0
        return plain(scene, sizes, self.workers, self.spread) * (1.0 + 2.0**-20)

    def undecided(self) -> float:
        """What ``doubt`` may add to one weight, relative to it: a bound of the largest such share of all pairs."""
        scene = self.scene
        if scene.code is not None and scene.name != "threshold":
            return 0.0
        # a sum over the pairs of a target is no less than the largest of them
        shares = plain(scene, np.ones((len(scene.points), 1)), self.workers, self.share)
        return float(shares.max(initial=0.0)) * (1.0 + 2.0**-20)

    def spread(self, z: NDArray[Any]) -> NDArray[Any]:
        """How far the weight of a pair with the computed squared distance z may be from f(z)."""
        scene = self.scene
        apart = 2.0 * (scene.points.shape[1] + 4.0) * U * SLACK
        # twice the change of the argument that values of f may have (KTOL-0), and what underflow took
        off = 2.0**-50 * scene.function.shift + 2.0 * scene.lost
        low, high = scene.function.between(np.maximum(z * (1.0 - apart) - off, 0.0), z * (1.0 + apart) + off)
        return np.asarray(high - low)

    def share(self, z: NDArray[Any]) -> NDArray[Any]:
        """:meth:`spread` relative to the weight."""
        spread, value = self.spread(z), np.abs(self.scene.function(z))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(spread > 0.0, spread / value, 0.0)


def planned(scene: Scene, workers: int) -> Direct:
    """The plan of direct sums, which exists for every function.

    Raises :class:`~assay.spec.approximation.Infeasible` where f is infinite at 0 and a squared distance underflows.
    """
    relative, floor = rounding.of_pairs(scene)
    n = len(scene.points)
    flat = n if scene.code is None else min(n, weights.TILE) + -(-n // weights.TILE)
    return Direct(scene, relative, floor, gamma(flat + 6.0), workers, "all pairs in float64")


def _compiled(
    scene: Scene, targets: NDArray[Any], sources: NDArray[Any], vectors: NDArray[Any], laplacian: bool,
    diagonal: float, workers: int, tell: Callable[[int, int], None] | None,
) -> NDArray[Any]:  # fmt: skip
    """(columns, m): a named function, by compiled kernels."""
    require_usual()
    work = sources.dtype
    count = targets.shape[1]
    out = np.empty((len(vectors), count), work)
    kernel = weights.direct(work.name)
    assert scene.code is not None
    code, a, b, c = scene.code
    a, b = work.type(a), work.type(b)
    piece = max(_PIECE, -(-count // (16 * workers)))
    done = 0

    def task(first: int) -> int:
        last = min(first + piece, count)
        kernel(
            targets, sources, vectors, vectors, code, a, b, c, scene.graph, laplacian, diagonal,
            first, last, out,
        )  # fmt: skip
        return int(last - first)

    with Borrowed(workers) as pool:
        for finished in pool.map(task, range(0, count, piece)):
            done += finished
            if tell is not None:
                tell(done, count)
    return out


def _own(
    scene: Scene, targets: NDArray[Any], sources: NDArray[Any], vectors: NDArray[Any], laplacian: bool,
    diagonal: float, workers: int, tell: Callable[[int, int], None] | None, values: Any = None,
) -> NDArray[Any]:  # fmt: skip
    """(columns, m): a function of the user's own, which takes an array of squared distances."""
    count, n = targets.shape[1], sources.shape[1]
    out = np.empty((len(vectors), count), sources.dtype)
    weigh = values or scene.function
    rows = max(1, weights.TILE * weights.TILE // max(n, 1))
    for first in range(0, count, rows):
        last = min(first + rows, count)
        z = np.zeros((last - first, n), out.dtype)
        for x, y in zip(targets, sources, strict=True):
            apart = x[first:last, None] - y
            z += apart * apart
        own = np.arange(last - first)
        if scene.graph:
            z[own, first + own] = 1.0  # the function may be infinite at 0
        weight = np.asarray(weigh(z), out.dtype)
        if scene.graph:
            weight[own, first + own] = 0.0
        for k, row in enumerate(vectors):
            if laplacian:
                out[k, first:last] = (weight * (row[first:last, None] - row)).sum(axis=1)
            else:
                out[k, first:last] = (weight * row).sum(axis=1)
                if scene.graph and diagonal:
                    out[k, first:last] += out.dtype.type(diagonal) * row[first:last]
        if tell is not None:
            tell(last, count)
    return out
