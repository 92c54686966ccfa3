"""Sums over all pairs of points, as they are defined: tiles of sources, threads that share the targets.

The class of the arithmetic is that of the points: float32 or float64, coordinates subtracted as they are stored.  Sums
of a tile of 512 sources are in that type, and tiles are summed in float64.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph import weights
from assay.impl.cpu.kernel_graph.problem import Problem, checked
from assay.impl.cpu.progress import told
from assay.impl.cpu.threads import available
from assay.spec.floating_point import require_usual

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["exact", "summed"]

_PIECE = 64  # targets of a task, at least


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
    if threads is not None and threads < 1:
        raise ValueError(f"threads: {threads!r}, expected at least 1")
    with told(progress, "kernel sums") as tell:
        return summed(problem, threads or available(), tell)


def summed(
    problem: Problem, workers: int, tell: Callable[[int, int], None] | None = None, dtype: np.dtype[Any] | None = None
) -> NDArray[Any]:
    """The sums of a checked problem in the arithmetic of ``dtype`` (default: the type of its points)."""
    require_usual()
    work = dtype or problem.points.dtype
    sources = np.ascontiguousarray(problem.points.T, work)
    targets = sources if problem.graph else np.ascontiguousarray(problem.goals.T, work)
    vectors = np.ascontiguousarray(problem.vectors.T, work)
    count = targets.shape[1]
    out = np.empty((len(vectors), count), work)
    if problem.code is None:
        _own(problem, targets, sources, vectors, out)
        return np.ascontiguousarray(out.T)
    kernel = weights.direct(work.name)
    code, a, b, c = problem.code
    piece = max(_PIECE, -(-count // (16 * workers)))
    starts = range(0, count, piece)
    done = 0

    def task(first: int) -> int:
        last = min(first + piece, count)
        kernel(
            targets, sources, vectors, vectors, code, work.type(a), work.type(b), c, problem.graph, problem.laplacian,
            problem.diagonal, first, last, out,
        )  # fmt: skip
        return last - first

    with ThreadPoolExecutor(workers) as pool:
        for finished in pool.map(task, starts):
            done += finished
            if tell is not None:
                tell(done, count)
    return np.ascontiguousarray(out.T)


def _own(
    problem: Problem, targets: NDArray[Any], sources: NDArray[Any], vectors: NDArray[Any], out: NDArray[Any]
) -> None:
    """The same for a function of the user's own, which takes an array of squared distances."""
    count, n = targets.shape[1], sources.shape[1]
    rows = max(1, weights.TILE * weights.TILE // max(n, 1))
    for first in range(0, count, rows):
        last = min(first + rows, count)
        z = np.zeros((last - first, n), out.dtype)
        for x, y in zip(targets, sources, strict=True):
            apart = x[first:last, None] - y
            z += apart * apart
        own = np.arange(last - first)
        if problem.graph:
            z[own, first + own] = 1.0  # the function may be infinite at 0
        weight = np.asarray(problem.values(z), out.dtype)
        if problem.graph:
            weight[own, first + own] = 0.0
        for k, row in enumerate(vectors):
            if problem.laplacian:
                out[k, first:last] = (weight * (row[first:last, None] - row)).sum(axis=1)
            else:
                out[k, first:last] = (weight * row).sum(axis=1)
                if problem.graph and problem.diagonal:
                    out[k, first:last] += out.dtype.type(problem.diagonal) * row[first:last]
