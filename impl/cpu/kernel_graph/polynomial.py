"""Sums with a polynomial of the squared distance, by features of its rank (KG-6).

P(|x − y|²) of degree p is φ(x)ᵀ M φ(y) with the features x^α, |α| ≤ p, and |x|^(2k) x^α, |α| = p − k, k = 1 … p: they
are C(d + p, p) + C(d + p − 1, p − 1), and no fewer do.  Points are centred and scaled by a power of two, so that
|x| ≤ 1.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph import polynomial_kernels
from assay.impl.cpu.kernel_graph.polynomial_kernels import CHUNK
from assay.impl.cpu.kernel_graph.problem import ends
from assay.impl.cpu.kernel_graph.sums import SLACK, gamma
from assay.impl.cpu.threads import Borrowed, share
from assay.spec.approximation import Infeasible
from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = [
    "MOST_RANK", "UNDERFLOW", "Basis", "Frame", "Polynomial", "additions", "balanced", "basis",
    "evaluated", "fitted", "frame", "matrix", "moments", "monomials", "multinomial", "planned", "rank",
]  # fmt: skip

MOST_RANK = 20_000
UNDERFLOW = 2.0**-960  # more than underflow takes of coefficients and of sums of columns below 1, a unit of the matrix
_CHUNKS = 8  # of points that are evaluated together, and at least of those whose moments are a table of their own
_TABLES = 64  # of moments at most


def rank(dimension: int, degree: int) -> int:
    """C(d + p, p) + C(d + p − 1, p − 1)."""
    return math.comb(dimension + degree, degree) + (math.comb(dimension + degree - 1, degree - 1) if degree else 0)


@dataclass(frozen=True, eq=False)
class Basis:
    """The features in the order in which they are visited: parent before child, and a child's children before the next.

    The a-th is number ``feature[a]``, the product of ``depth[a]`` factors; its parent is the last one before it with a
    factor less, and ``factor[a]`` the coordinate that it has more; from coordinate d on, |x|^(2(·−d)).
    lift: the matrix that writes |x|^(2a) x^α, 2a + 2|α| ≤ …, row (α, a), in the features.  full: those (α, a).
    most: the most numbers that a column of ``lift`` adds up.
    """

    dimension: int
    degree: int
    depth: NDArray[np.int64]
    factor: NDArray[np.int64]
    feature: NDArray[np.int64]
    full: tuple[tuple[tuple[int, ...], int], ...]
    lift: Any
    most: int

    @property
    def rank(self) -> int:
        return len(self.feature)


@functools.lru_cache(maxsize=16)
def basis(dimension: int, degree: int) -> Basis:
    """The features of a dimension and degree."""
    sparse = required("scipy.sparse", "cpu")
    zero = (0,) * dimension
    index: dict[tuple[tuple[int, ...], int], int] = {(zero, 0): 0}
    parent, factor = [0], [0]
    last: list[tuple[int, ...]] = [zero]
    for _ in range(degree):
        grown = []
        for alpha in last:
            top = max((c for c in range(dimension) if alpha[c]), default=0)
            for c in range(top, dimension):
                beta = (*alpha[:c], alpha[c] + 1, *alpha[c + 1 :])
                index[beta, 0] = len(parent)
                parent.append(index[alpha, 0])
                factor.append(c)
                grown.append(beta)
        last = grown
    pure = [alpha for alpha, _ in index]
    for alpha in pure:
        k = degree - sum(alpha)
        if k >= 1:
            index[alpha, k] = len(parent)
            parent.append(index[alpha, 0])
            factor.append(dimension + k)
    full: list[tuple[tuple[int, ...], int]] = []
    rows, columns, values = [], [], []
    for alpha in pure:
        c = sum(alpha)
        for a in range(degree - c + 1):
            j = 2 * a + c
            k = max(j - degree, 0)
            rest = a - k  # |x|^(2k) stays, |x|^(2·rest) is multiplied out
            for gamma_ in _compositions(rest, dimension):
                ways = math.factorial(rest)
                for g in gamma_:
                    ways //= math.factorial(g)
                beta = tuple(x + 2 * g for x, g in zip(alpha, gamma_, strict=True))
                rows.append(len(full))
                columns.append(index[beta, k])
                values.append(float(ways))
            full.append((alpha, a))
    lift = sparse.csr_array((values, (rows, columns)), shape=(len(full), len(parent)))
    most = int(np.bincount(columns, minlength=len(parent)).max())
    return Basis(dimension, degree, *_visited(parent, factor), tuple(full), lift, most)


@functools.lru_cache(maxsize=16)
def monomials(dimension: int, degree: int) -> Basis:
    """The features x^α, |α| ≤ p, alone: C(d + p, p)."""
    whole = basis(dimension, degree)
    those = whole.feature < math.comb(dimension + degree, degree)  # the last are children only
    pure = tuple(each for each in whole.full if each[1] == 0)
    return Basis(dimension, degree, whole.depth[those], whole.factor[those], whole.feature[those], pure, None, 1)


def _visited(parent: list[int], factor: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """depth, factor and feature of a basis, from the parent and the factor of every feature."""
    children: list[list[int]] = [[] for _ in parent]
    for f in range(len(parent) - 1, 0, -1):
        children[parent[f]].append(f)
    depth, feature = [], []
    left = [(0, 0)]
    while left:
        f, k = left.pop()
        depth.append(k)
        feature.append(f)
        left += [(child, k + 1) for child in children[f]]
    return np.array(depth), np.array(factor)[feature], np.array(feature)


def multinomial(alpha: tuple[int, ...]) -> float:
    """The number of ways to order the factors of x^α."""
    ways = math.factorial(sum(alpha))
    for k in alpha:
        ways //= math.factorial(k)
    return float(ways)


def _compositions(total: int, parts: int) -> list[tuple[int, ...]]:
    """All ways to write ``total`` as an ordered sum of ``parts`` whole numbers."""
    found = []
    for bars in itertools.combinations(range(total + parts - 1), parts - 1):
        ends = (-1, *bars, total + parts - 1)
        found.append(tuple(ends[k + 1] - ends[k] - 1 for k in range(parts)))
    return found


def matrix(basis_: Basis, coefficients: Array) -> Any:
    """M in the features: φ(x)ᵀ M φ(y) = Σ_k a_k |x − y|^(2k), a sparse array.

    It joins x^α and x^β only where α − β is even in every coordinate.
    """
    sparse = required("scipy.sparse", "cpu")
    p = basis_.degree
    place = {each: k for k, each in enumerate(basis_.full)}
    rows, columns, values = [], [], []
    for alpha, a in basis_.full:
        c = sum(alpha)
        ways = math.factorial(c)
        for x in alpha:
            ways //= math.factorial(x)
        for b in range(p - c - a + 1):
            k = a + b + c
            many = math.factorial(k) // (math.factorial(a) * math.factorial(b) * math.factorial(c)) * ways * (-2) ** c
            rows.append(place[alpha, a])
            columns.append(place[alpha, b])
            values.append(float(many) * coefficients[k])
    count = len(basis_.full)
    middle = sparse.csr_array((values, (rows, columns)), shape=(count, count))
    return basis_.lift.T @ middle @ basis_.lift


@dataclass(frozen=True, eq=False)
class Frame:
    """Centre and scale of some points: x' = (x − centre)/scale has |x'| ≤ reach ≤ 1."""

    centre: Array
    scale: float
    reach: float
    other: float

    def coordinates(self, points: Array) -> Array:
        """(d, n): x' of (n, d) points."""
        return np.asarray(np.ascontiguousarray((points - self.centre).T) / self.scale)


def frame(points: Array, targets: Array | None) -> Frame:
    """The frame of points and targets; ``other`` is the reach of the targets."""
    low, high = ends(points)
    centre = (low + high) / 2.0

    def far(x: Array) -> float:
        if not len(x):
            return 0.0
        squares = np.zeros(len(x))
        for column, c in zip(x.T, centre, strict=True):
            moved = column - c
            squares += moved * moved
        square = float(squares.max())
        return float(math.sqrt(square) * (1.0 + (x.shape[1] + 8) * 2.0**-52) + 1e-290)

    reach = far(points)
    other = reach if targets is None else far(targets)
    if not max(reach, other) < 2.0**500:  # its square is a number, too
        raise Infeasible("points are too far from each other for float64 to hold squared distances")
    scale = 2.0 ** math.ceil(math.log2(max(reach, other)))
    return Frame(centre, scale, reach / scale, other / scale)


@dataclass(frozen=True, eq=False)
class Polynomial:
    """Sums with Σ_k a_k (|x − y|/scale)^(2k) for fixed points, as a plan."""

    points: Array
    targets: Array | None
    frame: Frame
    coefficients: Array
    basis: Basis
    matrix: Any
    relative: float
    floor: float
    rounding: float
    grain: float
    workers: int

    @property
    def words(self) -> str:
        return f"degree {self.basis.degree} in the squared distance, rank {self.basis.rank}"

    def doubt(self, sizes: Array) -> Array | float:
        """What subtracting a point's own vector rounds."""
        return 2.0 * self.grain * sizes if self.targets is None else 0.0

    def apply(self, vectors: Array) -> Array:
        """(n, columns) → (m, columns); for the graph, without j = i."""
        vectors, exponents = balanced(vectors)
        weighted = self.matrix @ moments(self.basis, self._factors, self.points, vectors, self.workers)
        out = evaluated(
            self.basis, self._factors, self.points if self.targets is None else self.targets, weighted, self.workers
        )
        if self.targets is None:
            out -= self.coefficients[0] * vectors
        return np.asarray(np.ldexp(out, exponents))

    def _factors(self, points: Array) -> Array:
        """(d + 1 + p, n): the coordinates, 1, and the powers of |x|²."""
        x = self.frame.coordinates(points)
        square = (x * x).sum(axis=0)
        factors = [*x, np.ones_like(square)]
        for _ in range(self.basis.degree):
            factors.append(factors[-1] * square)
        return np.array(factors)


def balanced(vectors: Array) -> tuple[Array, Any]:
    """Columns whose largest size is in [1/2, 1), and the exponents of the powers of two by which they were divided.

    So what underflows in a sum is small beside Σ|v|; exponents are within ±1000.
    """
    exponents = np.clip(np.frexp(np.abs(vectors).max(axis=0))[1], -1000, 1000)
    return np.asarray(np.ldexp(vectors, -exponents)), exponents


def moments(basis_: Basis, factors: Callable[[Array], Array], points: Array, vectors: Array, workers: int) -> Array:
    """(rank, columns): Σ_j φ(x_j) v_j, with the factors of the features at some points by ``factors``."""

    block = CHUNK * _chunks_of(len(points))

    def part(start: int) -> Array:
        given, vector = factors(points[start : start + block]), vectors[start : start + block]
        out = np.zeros((basis_.rank, vector.shape[1]))
        f, x, y = _scratch(basis_, len(given), vector.shape[1])
        polynomial_kernels.moments()(
            given, np.ascontiguousarray(vector), basis_.depth, basis_.factor, basis_.feature, f, x, y, out
        )
        return out

    total = np.zeros((basis_.rank, vectors.shape[1]))
    with Borrowed(workers) as pool:
        for each in pool.map(part, range(0, len(points), block)):
            total += each
    return total


def evaluated(basis_: Basis, factors: Callable[[Array], Array], points: Array, weights: Array, workers: int) -> Array:
    """(n, columns): φ(x)ᵀ weights at all points, with the factors of the features at some points by ``factors``."""
    out = np.empty((len(points), weights.shape[1]))
    block = CHUNK * _CHUNKS

    def part(start: int) -> None:
        given = factors(points[start : start + block])
        f, x, y = _scratch(basis_, len(given), weights.shape[1])
        polynomial_kernels.evaluate()(
            given, weights, basis_.depth, basis_.factor, basis_.feature, f, x, y, out[start : start + block]
        )

    share(part, range(0, len(points), block), workers)
    return out


def additions(points: int, rank_: int) -> int:
    """The most additions that a term meets in :func:`moments` and then in :func:`evaluated`."""
    block = _chunks_of(points)
    return min(points, CHUNK) + min(-(-points // CHUNK), block) + -(-points // (CHUNK * block)) + rank_


def _chunks_of(points: int) -> int:
    """The chunks of a table of moments."""
    return max(_CHUNKS, -(-points // (CHUNK * _TABLES)))


def _scratch(basis_: Basis, factors: int, columns: int) -> tuple[Array, Array, Array]:
    """f, x and y of the kernels, rows of a chunk: f is 1 where nothing was written, x is 0.

    Rows begin with a cache line, as a vector that straddles two takes twice the time.
    """
    counts = (basis_.degree + 1, factors, columns)
    flat = np.zeros((sum(counts) + 1) * CHUNK)
    first = -(flat.ctypes.data // flat.itemsize) % (64 // flat.itemsize)
    rows = flat[first : first + sum(counts) * CHUNK].reshape(-1, CHUNK)
    rows[: counts[0]] = 1.0
    return rows[: counts[0]], rows[counts[0] : -columns], rows[-columns:]


def planned(
    points: Array, targets: Array | None, where: Frame, coefficients: Array, relative: float, floor: float, workers: int
) -> Polynomial:
    """The plan for P(z) = Σ_k a_k (z/scale²)^k, which is within relative·|f| + floor of the function that is meant."""
    d, p = points.shape[1], len(coefficients) - 1
    if rank(d, p) > MOST_RANK:
        raise Infeasible(f"degree {p} in {d} dimensions has rank {rank(d, p)}, more than {MOST_RANK}")
    table = basis(d, p)
    sizes = sum(abs(a) * (where.reach + where.other) ** (2 * k) for k, a in enumerate(coefficients)) * SLACK
    features = 2 * p * (d + 4) + 8
    grain = gamma(2 * features + additions(len(points), table.rank) + 2 * table.most + 3 * p + 24) * sizes
    joined = matrix(table, np.asarray(coefficients))
    lost = UNDERFLOW * (1.0 + float(np.abs(joined.data).sum()))
    return Polynomial(
        points, targets, where, np.asarray(coefficients), table, joined, relative, floor + grain + lost, 0.0, grain,
        workers,
    )  # fmt: skip


def fitted(values: Any, degree: int, last: float) -> Array:
    """The coefficients a_0 … a_p of an interpolant of ``values`` on [0, last] in Chebyshev points."""
    nodes = np.cos((np.arange(degree + 1) + 0.5) * math.pi / (degree + 1))
    found = np.polynomial.chebyshev.chebfit(nodes, values((nodes + 1.0) * last / 2.0), degree)
    series: Any = np.polynomial.Chebyshev(found, domain=[0.0, last]).convert(kind=np.polynomial.Polynomial)
    return np.asarray(series.coef, np.float64)
