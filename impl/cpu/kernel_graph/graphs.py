"""Graphs whose weights are known as floating-point numbers: of a sparse matrix, or of points and a function.

What every proof of this package needs of a graph: tiles of its weights, its degrees, and how far a computed weight may
be from the exact one (KG-13).  The weights of a sparse matrix are exact by definition.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from assay.impl.cpu.kernel_graph.extra import sparse, trees
from assay.spec.kernel_graph.functions import named
from assay.spec.kernel_graph.instance import require_apart
from assay.spec.problem import InvalidInstance
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.kernel_graph.functions import Function

    Array = NDArray[np.float64]

__all__ = [
    "BLOCK",
    "CACHED",
    "Graph",
    "PointGraph",
    "SparseGraph",
    "adjacency",
    "from_edges",
    "of_points",
    "row_blocks",
]

#: Numbers of a block of rows of weights, 32 MiB.
BLOCK = 1 << 22

#: Numbers of a block that is gone through once for every coordinate, 512 KiB: it stays in a core's cache.
CACHED = 1 << 16


class Graph(Protocol):
    """A graph on ``n`` nodes with weights that are computed in float64.

    relative, absolute: the exact weight of every pair lies within ``relative``·w + ``absolute`` of the computed w.
    """

    @property
    def n(self) -> int: ...

    @property
    def relative(self) -> float: ...

    @property
    def absolute(self) -> float: ...

    def tile(self, rows: slice, columns: slice) -> Array:
        """The weights between some rows and columns, a new array; 0 on the diagonal of the graph."""
        ...

    def degrees(self) -> Array:
        """(n,): computed sums of the computed weights of every node, each within γ_n of the exact sum."""
        ...


@dataclass(frozen=True, eq=False)
class SparseGraph:
    """A graph whose weights are the numbers of a symmetric sparse matrix, taken as exact."""

    matrix: Any
    n: int
    relative: float = 0.0
    absolute: float = 0.0

    def tile(self, rows: slice, columns: slice) -> Array:
        """The weights between some rows and columns, a new array."""
        dense: Array = self.matrix[rows, columns].toarray()
        return dense

    def degrees(self) -> Array:
        """(n,): sums of the weights of every node."""
        sums: Array = np.asarray(self.matrix.sum(axis=1), dtype=np.float64).reshape(-1)
        return sums


@dataclass(frozen=True, eq=False)
class PointGraph:
    """The graph of points: two points have the weight f(z), z their squared distance, computed in float64 (KG-13).

    points (n, d) float64, exact as stored.  function: f, with its declared properties.  name, parameter: as products
    of this package are asked for it.
    """

    points: Array
    function: Function
    name: Any
    parameter: float

    @property
    def n(self) -> int:
        """The number of points."""
        return len(self.points)

    @functools.cached_property
    def far(self) -> float:
        """A bound of all squared distances: the squared diagonal of the points' box."""
        sides = np.ptp(self.points, axis=0) * (1.0 + 2.0**-40)
        return float((sides * sides).sum() * (1.0 + 2.0**-40))

    @functools.cached_property
    def relative(self) -> float:
        """η: the exact weight of every pair lies within η·w + ``absolute`` of the computed w; infinite if unknown."""
        f = self.function
        rate = float(gamma(self.points.shape[1] + 8, 2.0**-53))  # d + 2 of z, and the 4 that values of f may make of it
        own = 2.0**-47
        if f.lipschitz is not None and (f.shift == 0.0 or f.power > 0.0):
            slope = float(np.max(f.lipschitz(np.zeros(1), np.full(1, self.far * (1 + 2 * rate)))))
            moved = 1.01 * (slope * rate + f.power * 2.0**-51)
            return math.expm1(moved) * (1 + own) + own if moved < 600.0 else math.inf
        if f.monotone is None:
            return math.inf
        worst = 0.0
        for rows in row_blocks(self.n):
            z = self.squared(rows, slice(0, self.n))
            off = 2.0**-50 * f.shift + (z > 0.0) * self.points.shape[1] * 2.0**-1070
            low, high = f.between(np.maximum(z * (1 - 2 * rate) - off, 0.0), z * (1 + 2 * rate) + off)
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.where(high > low, (high - low) / np.abs(low), 0.0)
            share[np.arange(len(share)), np.arange(rows.start, rows.stop)] = 0.0
            worst = max(worst, float(share.max()))
        return worst * 1.01 + own

    @functools.cached_property
    def absolute(self) -> float:
        """What underflow may add to the error of a weight."""
        if self.function.singular_at_zero:
            return 2.0**-1060
        tiny = self.points.shape[1] * 2.0**-1070  # squares of differences that underflow
        low, high = self.function.between(np.zeros(1), np.full(1, tiny))
        return float((high - low)[0]) + 2.0**-1060

    def squared(self, rows: slice, columns: slice) -> Array:
        """The squared distances between some rows and columns."""
        first, second = self.points[rows], self.points[columns]
        z = np.zeros((len(first), len(second)))
        for part in row_blocks(len(first), max(1, CACHED // max(len(second), 1))):
            here, apart = z[part], np.empty_like(z[part])
            for x, y in zip(first[part].T, second.T, strict=True):
                np.subtract(x[:, None], y, out=apart)
                apart *= apart
                here += apart
        return z

    def tile(self, rows: slice, columns: slice) -> Array:
        """The weights between some rows and columns, a new array; 0 on the diagonal of the graph."""
        return self._kept[rows, columns].copy() if self.n * self.n <= BLOCK else self._computed(rows, columns)

    @functools.cached_property
    def _kept(self) -> Array:
        """All weights of a small graph: proofs ask for them again and again."""
        return self._computed(slice(0, self.n), slice(0, self.n))

    def _computed(self, rows: slice, columns: slice) -> Array:
        z = self.squared(rows, columns)
        own = np.arange(max(rows.start, columns.start), min(rows.stop, columns.stop))
        z[own - rows.start, own - columns.start] = 1.0
        weights: Array = np.array(self.function(z))
        weights[own - rows.start, own - columns.start] = 0.0
        return weights

    @functools.cached_property
    def _degrees(self) -> Array:
        found = np.empty(self.n)
        for rows in row_blocks(self.n):
            found[rows] = self.tile(rows, slice(0, self.n)).sum(axis=1)
        return found

    def degrees(self) -> Array:
        """(n,): sums of the weights of every node."""
        return self._degrees

    def differences(self, x: Array) -> tuple[Array, Array]:
        """Σ_j w_ij(x_i − x_j) for every i, and a bound of what these sums rounded, (n,) each (KG-16).

        What remains, the errors of the weights, of the differences and of their products, is the same for (i, j) and
        (j, i) up to the sign: a flow whose share of the energy is at most ``relative`` + 2^-51 of |x|_L's.
        """
        n = self.n
        sums, sizes = np.empty(n), np.empty(n)
        for rows in row_blocks(n):
            terms = self.tile(rows, slice(0, n))
            terms *= x[rows, None] - x
            sizes[rows] = np.abs(terms).sum(axis=1)
            sums[rows] = _halved(terms)
        halvings = math.ceil(math.log2(max(n, 2))) + 1
        return sums, float(gamma(halvings, 2.0**-53)) * sizes * (1.0 + float(gamma(n + 2, 2.0**-53)))


def _halved(terms: Array) -> Array:
    """Sums along the second axis by halving it, with ⌈log₂⌉ roundings for every term; ``terms`` is overwritten."""
    width = terms.shape[1]
    while width > 1:
        half = (width + 1) // 2
        terms[:, : width - half] += terms[:, half:width]
        width = half
    return terms[:, 0]


def of_points(points: Any, function: Any, parameter: float = 1.0) -> PointGraph:
    """The graph of points (n, d), as an instance of ``kernel_graph_solve`` describes it.

    Raises InvalidInstance for wrong arrays, an unknown function, one whose weights may be negative, and points that
    coincide where the function is singular.
    """
    array = np.asarray(points)
    if array.ndim != 2 or array.dtype.name not in ("float16", "float32", "float64", "bfloat16"):
        raise InvalidInstance(f"points: {array.dtype.name} of shape {array.shape}, expected floats of shape (n, d)")
    exact = np.ascontiguousarray(array, dtype=np.float64)
    if not len(exact) or not np.isfinite(exact).all() or np.abs(exact).max(initial=0.0) > 2.0**480:
        raise InvalidInstance("points: expected one point at least, of finite numbers below 2^480")
    try:
        f = named(function, parameter)
    except ValueError as error:
        raise InvalidInstance(str(error)) from None
    if not f.weights:
        raise InvalidInstance(
            f"function: {f.name} with parameter {parameter} may be negative: no graph has its weights"
        )
    if f.singular_at_zero:
        require_apart(exact)
        near = _nearest(exact)
        if near < 2.0**-450:
            raise InvalidInstance(f"points: two points have distance {near:g}, whose square float64 does not hold")
    found = PointGraph(exact, f, function, float(parameter))
    if function == "inverse_multiquadric" and not float(parameter) * found.far < 2.0**1020:
        raise InvalidInstance("points: too far from each other for float64 to hold 1 + parameter·z")
    name = f if function == "arc_cosine" else function  # points of float32 are no unit vectors of float64
    return PointGraph(exact, f, name, float(parameter))


def _nearest(points: Array) -> float:
    """The least distance of two points, computed."""
    if len(points) < 2:
        return math.inf
    return float(trees().cKDTree(points).query(points, k=2)[0][:, 1].min())


def adjacency(graph: Any, name: str) -> SparseGraph:
    """The graph of a symmetric (n, n) matrix of weights, sparse or dense, without loops.

    name: what the caller calls the argument.

    Raises InvalidInstance for a matrix that is not square, not symmetric, not finite, of complex numbers, with negative
    weights (a Laplacian matrix among others) or with loops.
    """
    library = sparse()
    matrix = graph if library.issparse(graph) else library.csr_array(np.atleast_2d(np.asarray(graph)))
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InvalidInstance(f"{name}: shape {tuple(matrix.shape)}, expected (n, n)")
    if matrix.dtype.kind not in "fiub":
        raise InvalidInstance(f"{name}: weights of type {matrix.dtype}, expected real numbers")
    if matrix.dtype.itemsize > 8:
        raise InvalidInstance(f"{name}: weights of type {matrix.dtype}, which float64 does not hold")
    matrix = library.csr_array(matrix, dtype=np.float64, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    if not np.isfinite(matrix.data).all():
        raise InvalidInstance(f"{name}: a weight is infinite or NaN")
    if (matrix.data < 0).any():
        raise InvalidInstance(f"{name}: a weight is negative; expected weights of edges, not a Laplacian matrix")
    if matrix.diagonal().any():
        raise InvalidInstance(f"{name}: node {int(np.flatnonzero(matrix.diagonal())[0])} has a loop, expected none")
    if (matrix != matrix.T).nnz:
        raise InvalidInstance(f"{name}: the matrix is not symmetric")
    return SparseGraph(matrix, matrix.shape[0])


def from_edges(n: int, left: NDArray[np.int64], right: NDArray[np.int64], weight: Array) -> Any:
    """The symmetric csr_array of n nodes whose edges, each given once, have these weights."""
    ends = np.concatenate([left, right]), np.concatenate([right, left])
    return sparse().coo_array((np.concatenate([weight, weight]), ends), shape=(n, n)).tocsr()


def row_blocks(n: int, rows: int | None = None) -> list[slice]:
    """Slices of ``rows`` rows each; without it a block of n columns has about :data:`BLOCK` numbers."""
    rows = rows or max(1, min(n, BLOCK // max(n, 1)))
    return [slice(first, min(first + rows, n)) for first in range(0, n, rows)]


def outward(value: float, upward: bool) -> float:
    """The neighbouring float64 number, upward or downward: what one rounding to nearest may have hidden."""
    return math.nextafter(value, math.inf if upward else -math.inf)
