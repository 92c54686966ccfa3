"""Monomial features: all products of at most g coordinates of a point, and sums of these over many points.

For a polynomial P(t) = Σ_m c_m t^m the multinomial theorem separates P(⟨q, k⟩) = Σ_α c_|α| (|α| choose α) q^α k^α over
the C(d + g, g) multi-indices α of degree at most g (proofs_notes/attention.md, ATT-3).  A monomial is its parent, one
degree lower, times one coordinate.  The compiled kernels work in float64 on chunks of :data:`CHUNK` points, whose
features stay in the cache.  They release the interpreter lock, so that threads can share the points.

The order of every sum is written out, as ATT-5 counts it.  Second and fourth moments are the exception, because ATT-10
holds for any order of their sums; fourth moments are summed in float32.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.compiled import compiled
from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = [
    "BLOCK", "CHUNK", "SINGLE", "Band", "Coordinates", "Extremes", "Monomials", "centred", "diagonal", "evaluate",
    "extent", "fourth_moments", "largest_norms", "moments", "monomials", "rank", "roundings", "second_moments",
    "unfolded",
]  # fmt: skip

CHUNK = 128  # points whose features are in memory at a time
SINGLE = 2 * CHUNK  # points whose products of four coordinates are summed in float32
BLOCK = 64 * CHUNK  # points that are summed into one table of moments
_BATCH = 8  # features that are added to the output at a time
_EXACT_FACTORIAL = 18  # 18! < 2^53


def rank(dimension: int, degree: int) -> int:
    """The number of monomials: C(dimension + degree, degree)."""
    return math.comb(dimension + degree, degree)


def roundings(dimension: int, degree: int, m: int) -> int:
    """The most roundings that a term of degree m meets, but for the sum over blocks of keys (ATT-5, step 4)."""
    monomials = 2 * max(m - 1, 0)
    chunk, lanes, block = 4, 31, 16 + 4
    weights = 2 + 2 * max(degree - _EXACT_FACTORIAL, 0)
    batches = 6 + rank(dimension, m) // _BATCH
    return monomials + chunk + lanes + block + weights + batches


@dataclass(frozen=True, eq=False)
class Monomials:
    """The monomials of degree ≤ ``degree`` in ``dimension`` variables, in the order of their degrees; the first is 1.

    Monomial a > 0 is monomial ``parent[a]`` times coordinate ``variable[a]``.  ``order[a]`` is its degree and
    ``multinomial[a]`` the number of ways to order its factors: exact up to degree 18, and beyond it a float64 number
    with two roundings for every degree.  ``rank`` is the number of monomials, and ``inner`` the number of those of a
    lower degree than ``degree``, which may be parents.  Arrays are padded to a multiple of eight by monomials of
    weight 0.
    """

    dimension: int
    degree: int
    rank: int
    inner: int
    parent: NDArray[np.int64]
    variable: NDArray[np.int64]
    order: NDArray[np.int64]
    multinomial: Array


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The coordinates of a point whose monomials are formed: x = basisᵀp with p = factor·(point − centre).

    centre: (d,).  basis: (d, r); or (d, 0) for none, and then x = p and r = d.
    """

    centre: Array
    factor: float
    basis: Array

    @property
    def dimension(self) -> int:
        return self.basis.shape[1] or len(self.centre)


def centred(centre: Array, factor: float = 1.0) -> Coordinates:
    """The coordinates factor·(point − centre), without a basis."""
    return Coordinates(centre, factor, np.zeros((len(centre), 0)))


@dataclass(frozen=True)
class Band:
    """The keys of every row: row i attends to i + offset − left ≤ j ≤ i + offset + right, within 0 ≤ j < keys."""

    offset: int
    left: int
    right: int
    keys: int

    def start(self, row: int) -> int:
        """The first key that the row attends to, or that the next row does that attends to any."""
        return min(max(row + self.offset - self.left, 0), self.keys)

    def stop(self, row: int) -> int:
        """One more than the last key of the row."""
        return min(max(row + self.offset + self.right + 1, 0), self.keys)


@dataclass(frozen=True, eq=False)
class Extremes:
    """The extremes over some rows, from which a certificate is computed.

    share: the least computed Z/touched.  moment: the largest Ŵ/Z.  least, largest (d_v,): the least and the largest
    output of every column.
    """

    share: float
    moment: float
    least: Array
    largest: Array

    def joined(self, other: Extremes) -> Extremes:
        return Extremes(
            min(self.share, other.share), max(self.moment, other.moment),
            np.minimum(self.least, other.least), np.maximum(self.largest, other.largest),
        )  # fmt: skip


@functools.lru_cache(maxsize=32)
def monomials(dimension: int, degree: int) -> Monomials:
    """The table of all monomials of at most a degree; it takes memory O(rank)."""
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


def extent(points: NDArray[Any]) -> tuple[Array, Array, Array]:
    """The sum (rounded), the least and the largest value of every column of (n, d) points; each is (d,)."""
    d = points.shape[1]
    total, least, largest = np.zeros(d), np.empty(d), np.empty(d)
    _compiled("_extent", points.dtype)(points, total, least, largest)
    return total, least, largest


def largest_norms(points: NDArray[Any], coordinates: Coordinates, *, beside: bool = False) -> tuple[float, float]:
    """Upper bounds of max ‖x‖₂ and, if ``beside``, of max ‖p − basis·x‖₂, over the coordinates x = basisᵀp of points.

    They exceed the norms of the stored numbers x and of the rounded differences by at most a factor 1 + 1e-12 and
    1e-153·√d.  Without ``beside`` the second is 0.  On overflow a bound is +inf.
    """
    d, r = len(coordinates.centre), coordinates.dimension
    squares = np.zeros(2)
    _compiled("_largest_squares", points.dtype)(
        points, coordinates.centre, coordinates.factor, coordinates.basis, beside, squares
    )

    def root(square: float, count: int) -> float:
        if not square < math.inf:
            return math.inf
        return math.sqrt(square) * (1.0 + (count + 8) * 2.0**-52) + math.sqrt(count) * 2.0**-510

    return root(float(squares[0]), r), root(float(squares[1]), d) if beside else 0.0


def moments(
    points: NDArray[Any], values: NDArray[Any], table: Monomials, *, coordinates: Coordinates, middle: Array,
    shrink: Array, first: int, last: int,
) -> Array:  # fmt: skip
    """(padded rank, w + 1): Σ_j x_j^α y_j and Σ_j x_j^α over points first ≤ j < last, at most :data:`BLOCK` of them.

    y_j = shrink·(value − middle), float64.
    """
    out = np.zeros((len(table.parent), values.shape[1] + 1))
    _compiled("_moments", points.dtype)(
        points, values, coordinates.centre, coordinates.factor, coordinates.basis, middle, shrink,
        table.parent, table.variable, table.inner, first, last, out,
    )  # fmt: skip
    return out


def second_moments(points: NDArray[Any], coordinates: Coordinates, first: int, last: int) -> Array:
    """(r, r): Σ_j x_j x_jᵀ over points first ≤ j < last, summed in any order."""
    r = coordinates.dimension
    out = np.zeros((-(-r // 4) * 4,) * 2)
    _compiled("_second_moments", points.dtype)(
        points, coordinates.centre, coordinates.factor, coordinates.basis, first, last, out
    )
    return out[:r, :r]


def fourth_moments(points: NDArray[Any], coordinates: Coordinates, first: int, last: int) -> Array:
    """Σ_j x_a x_b x_c x_d over points first ≤ j < last, for a ≤ b ≤ c ≤ d: row (c, d), column (a, b).

    The N = r(r + 1)/2 pairs a ≤ b are numbered as in ``np.triu_indices``.  The shape is (N + 3, N + 1); entries for
    other orders of a, b, c, d have no meaning.  The coordinates must have a basis.  Products of two coordinates are
    rounded to float32.  Sums over :data:`SINGLE` points are in float32 too, in any order; sums of these are in float64.
    """
    r = coordinates.dimension
    pairs = r * (r + 1) // 2
    out = np.zeros((pairs + 3, pairs + 1))
    _compiled("_fourth_moments", points.dtype)(
        points, coordinates.centre, coordinates.factor, coordinates.basis, first, last, out
    )
    return out


def unfolded(sums: Array, n: int) -> Array:
    """(N, N): T = Σ_j φ_j φ_jᵀ/n of ATT-10, from the sums of :func:`fourth_moments`.

    φ is the vector of the products x_a x_b, a ≤ b, those with a < b times √2.
    """
    pairs = sums.shape[1] - 1
    out = np.empty((pairs, pairs))
    _compiled("_unfolded", sums.dtype)(sums, len(diagonal(pairs)), n, out)
    return out


def diagonal(pairs: int) -> NDArray[np.int64]:
    """(r,): the numbers of the pairs a = b among the N = r(r + 1)/2 pairs a ≤ b."""
    r = (math.isqrt(8 * pairs + 1) - 1) // 2
    a = np.arange(r)
    return a * (2 * r + 1 - a) // 2


def evaluate(
    points: NDArray[Any], table: Monomials, weighted: Array, *, coordinates: Coordinates, middle: Array, grow: Array,
    hull: tuple[Array, Array], first: int, last: int, out: NDArray[Any], order: int, ratio: float, slack: float,
    kurtosis: float, coefficients: Array, band: Band, touched: NDArray[np.int64], keys: NDArray[Any],
    values: NDArray[Any], key_coordinates: Coordinates,
) -> Extremes:  # fmt: skip
    """Write rows first … last−1 of out = middle + grow·N/Z, cut to the hull, and return their extremes.

    (N, Z) = Σ_α x^α weighted_α.  Where ``order`` > 0, one more column of this sum is G, the sum of (ratio·s_j)^order
    over the keys.  ``weighted``: a table (padded rank, w + 1 or w + 2) for every chunk of rows, or one for all chunks,
    of the keys that all rows of the chunk attend to.  Keys that only some rows of a chunk attend to are added one by
    one, with the polynomial itself as weight.  ``touched``: for every table the number of keys that entered it.

    The extremes: Z/touched is −inf where Z is no positive number.  W = n + G′ with n the number of keys and
    G′ = G + slack·touched; where ``kurtosis`` > 0, W = n + kurtosis·G′²/n.
    """
    w = out.shape[1]
    found = np.array([math.inf, 0.0])
    least, largest = np.full(w, math.inf), np.full(w, -math.inf)
    _compiled("_evaluate", points.dtype)(
        points, coordinates.centre, coordinates.factor, coordinates.basis, table.parent, table.variable, table.inner,
        weighted, middle, grow, *hull, first, last, out, order, ratio, slack, kurtosis, coefficients, band.offset,
        band.left, band.right, band.keys, touched, keys, values, key_coordinates.centre, key_coordinates.factor,
        found, least, largest,
    )  # fmt: skip
    return Extremes(float(found[0]), float(found[1]), least, largest)


@functools.cache
def _compiled(name: str, dtype: np.dtype[Any]) -> Callable[..., Any]:
    """The compiled kernel of a name for one dtype of the points and any strides."""
    numba = required("numba", "cpu")

    from assay.impl.cpu.feature_kernels import FUSED, KERNELS, steps

    types: Any = numba.types  # its annotations do not fit its own calls
    real = {"float32": types.float32, "float64": types.float64}[dtype.name]
    number, index = types.float64, types.int64

    def view(of: Any, dimensions: int) -> Any:
        return types.Array(of, dimensions, "A", readonly=True)

    vector, column = types.Array(number, 1, "C"), types.Array(index, 1, "C")
    points, square, tables = view(real, 2), types.Array(number, 2, "C"), types.Array(number, 3, "C")
    signature = {
        "_extent": types.void(points, vector, vector, vector),
        "_largest_squares": types.void(points, vector, number, square, types.boolean, vector),
        "_moments": types.void(
            points, points, vector, number, square, vector, vector, column, column, index, index, index, square
        ),
        "_second_moments": types.void(points, vector, number, square, index, index, square),
        "_fourth_moments": types.void(points, vector, number, square, index, index, square),
        "_unfolded": types.void(square, index, number, square),
        "_evaluate": types.void(
            points, vector, number, square, column, column, index, tables, vector, vector, vector, vector, index, index,
            types.Array(real, 2, "A"), index, number, number, number, vector, index, index, index, index, column,
            points, points, vector, number, vector, vector, vector,
        ),
    }[name]  # fmt: skip
    return compiled(KERNELS[name], signature, FUSED, **steps())
