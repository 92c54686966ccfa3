"""Sums over near pairs only: points in cells, and f − S for pairs that are at most a distance apart, S a polynomial."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import threads as cpus
from assay.impl.cpu.compiled import compiled
from assay.impl.cpu.kernel_graph import weights
from assay.impl.cpu.kernel_graph.weights import TILE, exponential, weigh

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Numbers = NDArray[np.int64]

__all__ = ["Near", "near"]

_FINE = 3  # cells within the distance, along an axis, where there are not too many
_TASKS = 32


def _near(
    targets: Any, homes: Any, itself: Any, sources: Any, vectors: Any, starts: Any, sizes: Any, reach: Any, code: Any,
    a: Any, b: Any, c: Any, last: Any, series: Any, begin: Any, end: Any, out: Any,
) -> None:  # fmt: skip
    """out[:, i] = Σ_j (f(z_ij) − S(z_ij))v_j over z_ij ≤ ``last``, for begin ≤ i < end.

    targets (d, m) with their cells ``homes`` (d, m) and their own place among the sources ``itself`` (m,), or −1;
    sources (d, n) in the order of their cells, vectors (columns, n), starts: the first source of every cell.
    series: S in powers of u = 2z/last − 1.
    """
    d = targets.shape[0]
    columns = vectors.shape[0]
    z, w, s = np.empty(TILE), np.empty(TILE), np.empty(TILE)
    around = 1
    for _ in range(d - 1):
        around *= 2 * reach + 1
    turn = 2.0 / last
    for i in range(begin, end):
        for k in range(columns):
            out[k, i] = 0.0
        for number in range(around):
            rest, cell, inside, unit = number, np.int64(0), True, np.int64(1)
            for axis in range(d - 2, -1, -1):
                at = homes[axis, i] + rest % (2 * reach + 1) - reach
                rest //= 2 * reach + 1
                inside = inside and at >= 0 and at < sizes[axis]
                unit *= sizes[axis + 1]
                cell += at * unit
            if not inside:
                continue
            low = max(homes[d - 1, i] - reach, 0)
            high = min(homes[d - 1, i] + reach, sizes[d - 1] - 1)
            first, stop = starts[cell + low], starts[cell + high + 1]
            for start in range(first, stop, TILE):
                width = min(TILE, stop - start)
                x = targets[0, i]
                row = sources[0, start : start + width]
                for j in range(width):
                    t = x - row[j]
                    z[j] = t * t
                for axis in range(1, d):
                    x = targets[axis, i]
                    row = sources[axis, start : start + width]
                    for j in range(width):
                        t = x - row[j]
                        z[j] += t * t
                for j in range(width):
                    w[j] = z[j]
                weigh(w, width, code, a, b, c)
                if len(series) > 0:
                    top = series[len(series) - 1]
                    for j in range(width):
                        s[j] = top
                    for k in range(len(series) - 2, -1, -1):
                        term = series[k]
                        for j in range(width):
                            s[j] = s[j] * (turn * z[j] - 1.0) + term
                    for j in range(width):
                        w[j] = w[j] - s[j]
                for j in range(width):
                    w[j] = w[j] if z[j] <= last else 0.0
                if start <= itself[i] < start + width:
                    w[itself[i] - start] = 0.0
                for k in range(columns):
                    part = vectors[k, start : start + width]
                    total = 0.0
                    for j in range(width):
                        total += w[j] * part[j]
                    out[k, i] += total


@functools.cache
def _kernel() -> Callable[..., None]:
    import numba

    types: Any = numba.types
    table, whole, real = types.Array(types.float64, 2, "C"), types.int64, types.float64
    row, wholes = types.Array(types.int64, 1, "C"), types.Array(types.int64, 2, "C")
    signature = types.void(
        table, wholes, row, table, table, row, row, whole, whole, real, real, real, real,
        types.Array(real, 1, "C"), whole, whole, table,
    )  # fmt: skip
    return compiled(_near, signature, weights.FUSED, exp=exponential("float64"), weigh=weigh)


@dataclass(frozen=True, eq=False)
class Near:
    """Points in cells, for sums over pairs with z ≤ last.  most: at least the number of pairs of a target."""

    order: Numbers
    sources: Array
    targets: Array
    homes: Numbers
    itself: Numbers
    shuffle: Numbers
    starts: Numbers
    sizes: Numbers
    reach: int
    last: float
    most: int
    code: tuple[int, float, float, float]
    series: Array
    workers: int

    def apply(self, vectors: Array) -> Array:
        """(n, columns) → (m, columns)."""
        columns = np.ascontiguousarray(vectors[self.order].T)
        m = self.targets.shape[1]
        out = np.empty((len(columns), m))
        kernel = _kernel()
        size = max(16, -(-m // _TASKS))

        def task(begin: int) -> None:
            kernel(
                self.targets, self.homes, self.itself, self.sources, columns, self.starts, self.sizes, self.reach,
                *self.code, self.last, self.series, begin, min(begin + size, m), out,
            )  # fmt: skip

        cpus.share(task, range(0, m, size), self.workers)
        found = np.empty((m, len(columns)))
        found[self.shuffle] = out.T
        return found


def near(
    points: Array, targets: Array | None, last: float, code: tuple[int, float, float, float], series: Array,
    workers: int,
) -> Near:  # fmt: skip
    """Points and targets in cells, for sums over pairs with z ≤ ``last`` = r².  Every such pair is in cells that meet.

    A cell has a side s of at least r/3·(1 + 10^-6).  Where |x − y| ≤ k·s(1 − 10^-7), the numbers of the cells of x and
    y differ by at most k, also after rounding, because they are below 2^20 + 4.
    """
    n = len(points)
    goals = points if targets is None else targets
    low = points.min(axis=0)
    spans = points.max(axis=0) - low
    radius = math.sqrt(last)
    side = max(radius / _FINE * (1.0 + 1e-6), float(spans.max()) / 2**20, 1e-300)
    while float(np.prod(np.floor(spans / side) + 1.0)) > 4.0 * n + 1024.0:
        side *= 1.3
    sizes = np.floor(spans / side).astype(np.int64) + 1
    reach = math.ceil(radius / side * (1.0 + 1e-7))

    def cells(x: Array) -> Numbers:
        far = np.clip(np.floor((x - low) / side), -1.0 - reach, sizes + float(reach))
        return np.ascontiguousarray(far.T.astype(np.int64))

    home = np.minimum(np.maximum(cells(points), 0), sizes[:, None] - 1)
    keys = np.ravel_multi_index(tuple(home), tuple(map(int, sizes)))
    order = np.argsort(keys, kind="stable")
    counts = np.bincount(keys, minlength=int(np.prod(sizes)))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    sources = np.ascontiguousarray(points[order].T)
    if targets is None:
        shuffle, itself, homes, moved = order, np.arange(n), np.ascontiguousarray(home[:, order]), sources
    else:
        homes = cells(goals)
        shuffle = np.lexsort(homes[::-1])
        homes = np.ascontiguousarray(homes[:, shuffle])
        itself, moved = np.full(len(goals), -1), np.ascontiguousarray(goals[shuffle].T)
    return Near(order, sources, moved, homes, itself, shuffle, starts, sizes, reach, last, n, code, series, workers)
