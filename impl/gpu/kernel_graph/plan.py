"""Which polynomial takes the place of a function of the squared distance on a GPU, and what its sums may err (GPU-19).

The host decides by what it was told or waited for: how far points and targets are from the middle of the points, and
how large the vectors are.  Nothing here lies on the device.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.features import monomials
from assay.impl.cpu.kernel_graph import polynomial, smooth
from assay.impl.cpu.kernel_graph.sums import SLACK, U, gamma
from assay.impl.gpu import features
from assay.spec.approximation import Infeasible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.smooth import Degree

__all__ = [
    "FUNCTIONS", "VANISHED", "Known", "Matrix", "Plan", "Shape", "direct_work", "planned", "polynomial_work",
]  # fmt: skip

#: The functions that a polynomial takes the place of, as on the CPU.
FUNCTIONS = ("gaussian", "rational", "inverse_multiquadric", "polynomial")

_SHARE = 0.45  # of the error that is asked, for the weights; as much for a point's own, and a little for roundings
#: What underflow may take of a sum, for each point (GPU-19).
VANISHED = 2.0**-1000
# Of distances from the middle: powers of them up to the 16th are numbers, or refused.
_LEAST, _MOST = 2.0**-200, 2.0**400
_MOST_ENTRIES = 2.0**300  # the sum of sizes of the matrix
_PARTS = 512  # of the range of t, where e^-t is bounded

_WEIGHT, _EACH_FEATURE = 30.0, 4.0  # operations of a weight, and of a feature beside its products with vectors
_HOST = {
    True: 5e6,
    False: 6e7,
}  # operations that a card does while the host makes a row of the matrix: alone, or joined
_LAUNCHES = 1e9  # and while the kernels of the polynomial start
_AT_ONCE = 8  # columns for which weights or features are made once


@dataclass(frozen=True)
class Shape:
    """How many points, targets, coordinates and columns there are, and whether targets are the points themselves.

    laplacian: of a graph, whether the sums are those of its Laplacian.
    """

    points: int
    targets: int
    dimension: int
    columns: int
    graph: bool
    laplacian: bool = False

    @staticmethod
    def of(points: Any, vectors: Any, targets: Any, *, laplacian: bool = False) -> Shape:
        """That of arrays (n, d), (n, columns), and (m, d) or ``None``."""
        goals = points if targets is None else targets
        return Shape(len(points), len(goals), points.shape[1], vectors.shape[1], targets is None, laplacian)

    @property
    def summed(self) -> int:
        """The columns that a polynomial sums: those of the vectors, and of ones for the degrees of a Laplacian."""
        return self.columns + int(self.laplacian)


@dataclass(frozen=True)
class Known:
    """Bounds of the distances of points and of targets from the middle of the points, and of Σ|v| of a column.

    mass: with a Laplacian, of Σ_j(|v_j| + max|v|).
    """

    reach: float
    other: float
    mass: float


@dataclass(frozen=True, eq=False)
class Matrix:
    """Row r joins feature r of a target to features columns[e] of points by entries[e], starts[r] ≤ e < starts[r + 1].

    those: which of the monomials in the coordinates, and |x|² after them, are features; ``None`` for all.
    """

    those: NDArray[np.int64] | None
    starts: NDArray[np.int64]
    columns: NDArray[np.int64]
    entries: NDArray[np.float64]

    @property
    def rank(self) -> int:
        return len(self.starts) - 1

    @property
    def bytes(self) -> int:
        return 8 * (len(self.starts) + 2 * len(self.entries))


@dataclass(frozen=True, eq=False)
class Plan:
    """A polynomial of scaled points x = (point − middle)/scale, and what its sums err.

    decay: of the factors e^(−decay|x|²) of centred points, or ``None``.  own: the weight of a point with itself.
    The error is at most floor·Σ|v| + doubt·|v_i|, the second only of a graph, and floor·Σ_j(|v_j| + |v_i|) of its
    Laplacian.  spans: of points that are summed apart.
    """

    degree: int
    width: int
    scale: float
    decay: float | None
    matrix: Matrix
    own: float
    floor: float
    doubt: float
    reach: float
    other: float
    spans: int


def planned(name: str, parameter: float, shape: Shape, known: Known, error: float, memory: int) -> Plan:
    """The plan of least degree for an error; raises :class:`~assay.spec.approximation.Infeasible` where there is none.

    memory: the most bytes that it may take on the device.
    """
    reach, other = (max(each * (1.0 + 2.0**-30), _LEAST) for each in (known.reach, known.other))
    if not max(reach, other) <= _MOST:
        raise Infeasible(
            f"points are up to {max(known.reach, known.other):.3g} from their middle, more than {_MOST:.3g}"
        )
    if not known.mass < 2.0**1000:
        raise Infeasible(f"vectors sum up to {known.mass:.3g}, more than float64 holds in sums")
    wanted = min(max(_SHARE * error / known.mass if known.mass > 0.0 else 1.0, 2.0**-1000), 1.0)
    d = shape.dimension
    farthest = (reach + other) ** 2 * SLACK
    # f ≤ f(0) = 1 but for powers of z, which need no approximation
    found = smooth.least_degree(name, parameter, d, farthest, reach * other * SLACK, 0.0, wanted)
    if found.rank > polynomial.MOST_RANK:
        raise Infeasible(
            f"degree {found.degree} in {d} dimensions has rank {found.rank}, more than {polynomial.MOST_RANK}"
        )
    part, power = math.frexp(max(reach, other))
    scale = 2.0 ** (power - (part == 0.5))
    decay = parameter * scale * scale if found.centred else None
    if decay is not None:
        matrix, (floor, doubt), own = _centred(found, d, decay), (0.0, 0.0), 1.0
    else:
        coefficients = _scaled(found, scale)
        matrix, own = _joined(d, found.degree, tuple(coefficients.tolist())), float(coefficients[0])
    sizes = float(np.abs(matrix.entries).sum())
    if not sizes <= _MOST_ENTRIES:
        raise Infeasible("the coefficients of the polynomial leave float64")
    spans = _spans(shape, matrix, d + (decay is None), memory)
    additions = features.summed(shape.points, spans) + int(np.diff(matrix.starts).max()) + -(-matrix.rank // 4) + 3
    p = found.degree
    if decay is not None:
        roundings = 4.0 * p + 2.0 * decay * (d + 5.0) + 8.0 + additions + _of_weights(p) + 4.0
        grain = gamma(roundings) * _largest_sum(found)
        floor, doubt = found.relative + grain, found.relative + 2.0 * grain + 2.0 * U
    else:
        powers = ((reach + other) / scale * SLACK) ** (2.0 * np.arange(p + 1.0))
        roundings = 2.0 * p * (d + 3.0) + additions + _of_matrix(d, p) + 4.0
        grain = gamma(roundings) * float((np.abs(coefficients) * powers).sum()) * SLACK
        floor, doubt = found.floor + grain, 2.0 * grain
    floor = (floor + polynomial.UNDERFLOW * (1.0 + sizes)) * SLACK
    taken_off = shape.graph and not shape.laplacian  # a point's own weight, which cancels in a Laplacian
    predicted = (floor + (doubt if taken_off else 0.0) + VANISHED) * known.mass + shape.points * VANISHED
    if not predicted * SLACK * SLACK <= error:  # what is lost in computing both
        raise Infeasible(f"error {error:g}: the certificate of degree {p} may be {predicted:.2g}")
    return Plan(p, d + (decay is None), scale, decay, matrix, own, floor, doubt, reach, other, spans)


def _spans(shape: Shape, matrix: Matrix, width: int, memory: int) -> int:
    """How many spans of points may be summed apart.  Raises :class:`Infeasible` where there is no room for one."""
    rows = shape.points + (0 if shape.graph else shape.targets)
    arrays = 4 if shape.laplacian else 3  # with the column of ones the vectors are laid once more
    fixed = 8 * (rows * (width + 1) + (arrays * shape.points + 2 * shape.targets) * shape.summed)
    each = 8 * matrix.rank * (shape.summed + 1)
    table = 8 * 4 * matrix.rank + matrix.bytes
    room = (memory - fixed - table) // each - 2  # beside the sums over spans: their sum, and the weights of features
    if room < 1:
        raise Infeasible(
            f"rank {matrix.rank} needs {(fixed + table + 3 * each) / 2**20:.3g} MiB, more than the "
            f"{memory / 2**20:.3g} MiB allowed"
        )
    return int(room)


def _of_weights(degree: int) -> float:
    """The roundings of a weight c_k·(2λ)^k·multinomial (the last has two for each degree beyond 18)."""
    return degree + 2.0 * max(degree - 18, 0) + 3.0


def _of_matrix(dimension: int, degree: int) -> float:
    """The roundings of an entry of the matrix: of two sums of products, and of their factors."""
    return 2.0 * polynomial.basis(dimension, degree).most + 3.0 * degree + 24.0


def _largest_sum(found: Degree) -> float:
    """At least Σ|c_k|t^k·e^(−t) for 0 ≤ t ≤ high: in each part of the range t^k at its end, and e^(−t) at its begin."""
    ends = np.linspace(0.0, found.high, _PARTS + 1)
    powers = ends[1:, None] ** np.arange(found.degree + 1.0)
    return float((powers @ np.abs(found.coefficients) * np.exp(-ends[:-1])).max()) * SLACK


def _scaled(found: Degree, scale: float) -> NDArray[np.float64]:
    """The coefficients of a polynomial of |x − y|², of scaled points."""
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.array(found.coefficients) * (scale * scale / found.high) ** np.arange(found.degree + 1.0)
    if not np.isfinite(scaled).all():
        raise Infeasible("the coefficients of the polynomial overflow")
    return scaled


def _centred(found: Degree, dimension: int, decay: float) -> Matrix:
    """The diagonal c_k·(2·decay)^k·(|α| choose α) of P(2·decay·⟨x, y⟩)."""
    table = monomials(dimension, found.degree)
    powers = np.cumprod([1.0, *[2.0 * decay] * found.degree])
    entries = np.array(found.coefficients)[table.order] * powers[table.order] * table.multinomial
    each = np.arange(len(entries) + 1)
    return Matrix(None, each, each[:-1], entries)


@functools.lru_cache(maxsize=8)
def _joined(dimension: int, degree: int, coefficients: tuple[float, ...]) -> Matrix:
    """The matrix of Σ_k a_k|x − y|^(2k) between the features of KG-6."""
    made = polynomial.matrix(polynomial.basis(dimension, degree), np.array(coefficients)).tocsr()
    return Matrix(
        _features(dimension, degree), made.indptr.astype(np.int64), made.indices.astype(np.int64),
        np.asarray(made.data, np.float64),
    )  # fmt: skip


@functools.lru_cache(maxsize=16)
def _features(dimension: int, degree: int) -> NDArray[np.int64]:
    """The places of x^α, |α| ≤ p, and of s^(p − |α|) x^α, |α| < p, among the monomials in x and s."""
    table = monomials(dimension + 1, degree)
    parent, variable, order = (x[: table.rank] for x in (table.parent, table.variable, table.order))
    last = variable == dimension
    last[0] = False
    pure = np.flatnonzero(~last)  # in the order of the monomials in x alone
    without = np.zeros(table.rank, np.int64)  # for each monomial its factor in x alone, as a number of that order
    without[pure] = np.arange(len(pure))
    for m in range(1, degree + 1):
        these = np.flatnonzero(last & (order == m))
        without[these] = without[parent[these]]
    high = np.flatnonzero(last & (order == degree))
    return np.concatenate([pure, high[np.argsort(without[high], kind="stable")]])


def direct_work(shape: Shape) -> float:
    """About how many operations all pairs take."""
    each = (2.0 * shape.dimension + _WEIGHT + _AT_ONCE) * -(-shape.columns // _AT_ONCE)
    return each * shape.points * shape.targets


def polynomial_work(shape: Shape, plan: Plan | None = None) -> float:
    """About how many operations the sums of a plan take, or of none at least."""
    if plan is None:
        return _LAUNCHES
    each = (_EACH_FEATURE + 1.0 + _AT_ONCE) * -(-shape.summed // _AT_ONCE)
    joined = len(plan.matrix.entries) * (shape.summed + 1.0) + _HOST[plan.decay is not None] * plan.matrix.rank
    return (shape.points + shape.targets) * plan.matrix.rank * each + joined + _LAUNCHES
