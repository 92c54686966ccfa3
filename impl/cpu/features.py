"""Monomial features: all products of at most g coordinates of a point, and sums over many points of them.

For a polynomial P(t) = Σ_m c_m t^m the multinomial theorem separates P(⟨q, k⟩) = Σ_α c_|α| (|α| choose α) q^α k^α over
the C(d + g, g) multi-indices α of degree at most g (proofs_notes/attention.md, ATT-3).  A monomial is its parent, one
degree lower, times one coordinate.  The compiled kernels work in float64 on chunks of :data:`CHUNK` points, whose
features stay in the cache; they release the interpreter, so that threads can share the points.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["BLOCK", "CHUNK", "Monomials", "evaluate", "extent", "largest_norm", "moments", "monomials", "rank"]

CHUNK = 128  # points whose features are held at a time
BLOCK = 64 * CHUNK  # points that are summed into one table of moments
_BATCH = 8  # features that are added to the output at a time


def rank(dimension: int, degree: int) -> int:
    """The number of monomials: C(dimension + degree, degree)."""
    return math.comb(dimension + degree, degree)


@dataclass(frozen=True, eq=False)
class Monomials:
    """The monomials of degree ≤ ``degree`` in ``dimension`` variables, by degree; the first is 1.

    Monomial a > 0 is monomial ``parent[a]`` times coordinate ``variable[a]``.  ``order[a]`` is its degree and
    ``multinomial[a]`` the number of ways to order its factors, a float64 that 2·degree roundings led to.
    ``inner``: how many are of a lower degree than ``degree``, so may be parents.  Arrays are padded to a multiple of
    eight by monomials that are to have weight 0.
    """

    dimension: int
    degree: int
    rank: int
    inner: int
    parent: NDArray[np.int64]
    variable: NDArray[np.int64]
    order: NDArray[np.int64]
    multinomial: NDArray[np.float64]


@functools.lru_cache(maxsize=32)
def monomials(dimension: int, degree: int) -> Monomials:
    """The table of monomials; memory O(rank)."""
    parents, variables = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]
    ways = [np.ones(1)]
    last, run, first = np.zeros(1, np.int64), np.zeros(1, np.int64), 0
    for m in range(1, degree + 1):
        children = dimension - last  # coordinates from the last one on: every multi-index once
        above = np.repeat(np.arange(len(last)), children)
        step = np.arange(len(above)) - np.repeat(np.cumsum(children) - children, children)
        variable = last[above] + step
        run = np.where(step == 0, run[above], 0) + 1  # the exponent of that coordinate
        parents.append(first + above)
        variables.append(variable)
        ways.append(ways[-1][above] * m / run)
        first += len(last)
        last = variable
    count = sum(map(len, parents))
    pad = -count % _BATCH

    def joined(parts: list[Any], fill: float) -> Any:
        return np.concatenate([*parts, np.full(pad, fill, parts[0].dtype)])

    order = [np.full(len(each), m, np.int64) for m, each in enumerate(parents)]
    return Monomials(
        dimension, degree, count, first if degree else 0,
        joined(parents, 0), joined(variables, 0), joined(order, 0), joined(ways, 0.0),
    )  # fmt: skip


def extent(points: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Sum (rounded), least and largest value of every column of (n, d) points."""
    d = points.shape[1]
    total, least, largest = np.zeros(d), np.empty(d), np.empty(d)
    _compiled("_extent", points.dtype.name)(points, total, least, largest)
    return total, least, largest


def largest_norm(points: NDArray[Any], centre: NDArray[np.float64]) -> float:
    """At least max_i ‖p_i − centre‖₂, within (1 + 1e-12)· and + 1e-153·√d of it; +inf on overflow (ATT-5)."""
    d = int(points.shape[1])
    square = float(_compiled("_largest_square", points.dtype.name)(points, centre))
    if not square < math.inf:
        return math.inf
    return math.sqrt(square) * (1.0 + (d + 8) * 2.0**-52) + math.sqrt(d) * 2.0**-510


def moments(
    points: NDArray[Any], values: NDArray[Any], table: Monomials, *, centre: NDArray[np.float64], factor: float,
    middle: NDArray[np.float64], shrink: NDArray[np.float64], first: int, last: int, by_chunk: bool = False,
) -> NDArray[np.float64]:  # fmt: skip
    """(1, padded rank, w + 1): Σ_j x_j^α y_j and Σ_j x_j^α over points first ≤ j < last, at most :data:`BLOCK`.

    x_j = factor·(point − centre), y_j = shrink·(value − middle), float64.  ``by_chunk``: a table for every chunk.
    """
    chunks = -(-(last - first) // CHUNK) if by_chunk else 1
    out = np.zeros((chunks, len(table.parent), values.shape[1] + 1))
    _compiled("_moments", points.dtype.name)(
        points, values, centre, factor, middle, shrink, table.parent, table.variable, table.inner, table.rank,
        first, last, out,
    )  # fmt: skip
    return out


def evaluate(
    points: NDArray[Any], table: Monomials, weighted: NDArray[np.float64], *, factor: float,
    middle: NDArray[np.float64], grow: NDArray[np.float64], least: NDArray[np.float64], largest: NDArray[np.float64],
    first: int, last: int, out: NDArray[Any], keys: int, near: NDArray[np.float64], near_values: NDArray[np.float64],
    coefficients: NDArray[np.float64], causal: bool,
) -> tuple[float, NDArray[np.float64]]:  # fmt: skip
    """Rows first … last−1 of out = middle + grow·N/Z, cut to [least, largest].

    (N, Z) = Σ_α x^α weighted_α with x = factor·point and ``weighted`` (1, padded rank, w + 1), or where ``causal`` one
    table for every chunk, of the keys before it, to which the keys of the chunk itself are added one by one: row
    first + i sees ``near`` (·, d) and ``near_values`` (·, w + 1) up to number i, weighted by the polynomial itself.

    Returns the least Z/(number of keys) (−inf where one is no positive number) and the largest |out| of every column.
    """
    size = np.zeros(out.shape[1])
    lowest = float(
        _compiled("_evaluate", points.dtype.name)(
            points, factor, table.parent, table.variable, table.inner, weighted, middle, grow, least, largest,
            first, last, out, size, keys, near, near_values, coefficients, causal,
        )
    )  # fmt: skip
    return lowest, size


@functools.cache
def _compiled(name: str, dtype: str) -> Callable[..., Any]:
    """One kernel for one dtype of the points, any strides."""
    import numba

    types: Any = numba.types  # its annotations do not fit its own calls
    real = {"float32": types.float32, "float64": types.float64}[dtype]
    number, index = types.float64, types.int64

    def view(of: Any, dimensions: int) -> Any:
        return types.Array(of, dimensions, "A", readonly=True)

    vector, column = types.Array(number, 1, "C"), types.Array(index, 1, "C")
    signature = {
        "_extent": types.void(view(real, 2), vector, vector, vector),
        "_largest_square": number(view(real, 2), vector),
        "_moments": types.void(
            view(real, 2), view(real, 2), vector, number, vector, vector, column, column, index, index, index, index,
            types.Array(number, 3, "C"),
        ),
        "_evaluate": number(
            view(real, 2), number, column, column, index, types.Array(number, 3, "C"), vector, vector, vector, vector,
            index, index, types.Array(real, 2, "A"), vector, index, types.Array(number, 2, "C"),
            types.Array(number, 2, "C"), vector, types.boolean,
        ),
    }[name]  # fmt: skip
    known = __name__.startswith("assay.")  # a cache written under another module name could not be read under this one
    # sums in any order, fused products: what ATT-5 allows
    compiled: Callable[..., Any] = numba.njit(
        signature, nogil=True, cache=known, error_model="numpy", fastmath={"contract", "reassoc", "nsz"}
    )(globals()[name])
    return compiled


def _extent(points: Any, total: Any, least: Any, largest: Any) -> None:
    n, d = points.shape
    for c in range(d):
        total[c] = 0.0
        least[c] = points[0, c]
        largest[c] = points[0, c]
    for i in range(n):
        for c in range(d):
            x = np.float64(points[i, c])
            total[c] += x
            least[c] = min(least[c], x)
            largest[c] = max(largest[c], x)


def _largest_square(points: Any, centre: Any) -> Any:
    n, d = points.shape
    most = 0.0
    for i in range(n):
        square = 0.0
        for c in range(d):
            x = np.float64(points[i, c]) - centre[c]
            square += x * x
        if not square < np.inf:
            return np.inf
        most = max(most, square)
    return most


def _moments(
    points: Any, values: Any, centre: Any, factor: Any, middle: Any, shrink: Any, parent: Any, variable: Any,
    inner: Any, rank: Any, first: Any, last: Any, out: Any,
) -> None:  # fmt: skip
    d, w = points.shape[1], values.shape[1]
    x = np.zeros((d, 128))
    y = np.zeros((w + 1, 128))
    f = np.ones((inner + 1, 128))
    for start in range(first, last, 128):
        count = min(128, last - start)
        table = out[(start - first) // 128 if out.shape[0] > 1 else 0]
        for j in range(count):
            for c in range(d):
                x[c, j] = (np.float64(points[start + j, c]) - centre[c]) * factor
            for c in range(w):
                y[c, j] = (np.float64(values[start + j, c]) - middle[c]) * shrink[c]
            y[w, j] = 1.0
        for j in range(count, 128):
            for c in range(w + 1):
                y[c, j] = 0.0
        for a in range(rank):
            row = f[min(a, inner)]
            if a > 0:
                above, by = f[parent[a]], x[variable[a]]
                for j in range(128):
                    row[j] = above[j] * by[j]
            c = 0
            while c + 4 <= w + 1:
                y0, y1, y2, y3 = y[c], y[c + 1], y[c + 2], y[c + 3]
                s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
                for j in range(128):
                    s0 += row[j] * y0[j]
                    s1 += row[j] * y1[j]
                    s2 += row[j] * y2[j]
                    s3 += row[j] * y3[j]
                table[a, c] += s0
                table[a, c + 1] += s1
                table[a, c + 2] += s2
                table[a, c + 3] += s3
                c += 4
            while c < w + 1:
                y0 = y[c]
                s0 = 0.0
                for j in range(128):
                    s0 += row[j] * y0[j]
                table[a, c] += s0
                c += 1


def _evaluate(
    points: Any, factor: Any, parent: Any, variable: Any, inner: Any, weighted: Any, middle: Any, grow: Any,
    least: Any, largest: Any, first: Any, last: Any, out: Any, size: Any, keys: Any,
    near: Any, near_values: Any, coefficients: Any, causal: Any,
) -> Any:  # fmt: skip
    d, w, padded = points.shape[1], out.shape[1], parent.shape[0]
    x = np.zeros((d, 128))
    f = np.ones((inner + 8, 128))
    total = np.zeros((w + 1, 128))
    s = np.zeros(128)
    lowest = np.inf
    for start in range(first, last, 128):
        count = min(128, last - start)
        table = weighted[(start - first) // 128 if causal else 0]
        for j in range(count):
            for c in range(d):
                x[c, j] = np.float64(points[start + j, c]) * factor
        for c in range(w + 1):
            for j in range(128):
                total[c, j] = 0.0
        for batch in range(0, padded, 8):
            for a in range(batch, batch + 8):
                row = f[a if a < inner else inner + a - batch]
                if a > 0:
                    above, times = f[parent[a]], x[variable[a]]
                    for j in range(128):
                        row[j] = above[j] * times[j]
                else:
                    for j in range(128):
                        row[j] = 1.0
            f0, f1 = f[batch if batch < inner else inner], f[batch + 1 if batch + 1 < inner else inner + 1]
            f2, f3 = f[batch + 2 if batch + 2 < inner else inner + 2], f[batch + 3 if batch + 3 < inner else inner + 3]
            f4, f5 = f[batch + 4 if batch + 4 < inner else inner + 4], f[batch + 5 if batch + 5 < inner else inner + 5]
            f6, f7 = f[batch + 6 if batch + 6 < inner else inner + 6], f[batch + 7 if batch + 7 < inner else inner + 7]
            for c in range(w + 1):
                t = total[c]
                m0, m1, m2, m3 = (
                    table[batch, c],
                    table[batch + 1, c],
                    table[batch + 2, c],
                    table[batch + 3, c],
                )
                m4, m5, m6, m7 = (
                    table[batch + 4, c], table[batch + 5, c], table[batch + 6, c], table[batch + 7, c]
                )  # fmt: skip
                for j in range(128):
                    t[j] += (f0[j] * m0 + f1[j] * m1 + f2[j] * m2 + f3[j] * m3) + (
                        f4[j] * m4 + f5[j] * m5 + f6[j] * m6 + f7[j] * m7
                    )
        if causal:
            before = start - first
            for t in range(before, min(before + count, near.shape[0])):
                for j in range(t - before, count):
                    s[j] = 0.0
                for c in range(d):
                    by = near[t, c]
                    for j in range(t - before, count):
                        s[j] += x[c, j] * by
                for j in range(t - before, count):
                    p = coefficients[coefficients.shape[0] - 1]
                    for m in range(coefficients.shape[0] - 2, -1, -1):
                        p = p * s[j] + coefficients[m]
                    s[j] = p
                for c in range(w + 1):
                    by = near_values[t, c]
                    for j in range(t - before, count):
                        total[c, j] += s[j] * by
        for j in range(count):
            z = total[w, j]
            if not (z > 0.0 and z < np.inf):
                lowest = -np.inf
                z = 1.0
            lowest = min(lowest, z / (min(start + j + 1, keys) if causal else keys))
            for c in range(w):
                o = min(max(middle[c] + grow[c] * (total[c, j] / z), least[c]), largest[c])
                out[start + j, c] = o
                size[c] = max(size[c], abs(o))
    return lowest
