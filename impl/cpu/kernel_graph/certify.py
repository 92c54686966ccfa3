"""A proved interval for how well one graph approximates another, x'L_Hx between lower and upper times x'L_Gx (KG-14).

The proof is one factorisation by Cholesky's method for each side, in float64, whose success proves the inequality.
Eigenvalues of Lanczos' method only say where it is worth trying.  The weights of a sparse matrix are taken as exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph import cholesky
from assay.impl.cpu.kernel_graph.extra import eigen, traversal
from assay.impl.cpu.kernel_graph.graphs import SparseGraph, adjacency, row_blocks
from assay.impl.cpu.kernel_graph.overflow import unwarned
from assay.impl.cpu.progress import told as shown
from assay.spec.problem import InvalidInstance
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.graphs import Graph

    Array = NDArray[np.float64]
    Told = Callable[[int, int], None]

__all__ = ["MOST", "Interval", "certify", "estimate", "holds", "proves"]

#: The most nodes for which a graph is certified: the tiles of 20,000 take 1.6 GB, those of 40,000 four times that.
MOST = 40_000

_UNIT = 2.0**-53


@dataclass(frozen=True)
class Interval:
    """lower·x'L_Gx ≤ x'L_Hx ≤ upper·x'L_Gx for every vector x, proved.

    attained: two quotients x'L_Hx / x'L_Gx, the least and the largest that were found, each rounded towards the other,
    so that no interval that leaves one of them out can be proved.  proof: ``computed``, as a computation in float64
    whose success proves the inequality has shown it.  route: one line that says how.
    """

    lower: float
    upper: float
    attained: tuple[float, float]
    proof: str
    route: str

    @property
    def error(self) -> float:
        """The least ε such that x'L_Hx is within (1 ± ε)·x'L_Gx by this interval."""
        return max(1.0 - self.lower, self.upper - 1.0)


@unwarned
def certify(original: Any, approximation: Any, *, slack: float = 3e-4, progress: bool | Told = False) -> Interval:
    """The interval between whose ends H's Laplacian is proved to lie, in multiples of G's.

    original: G, a symmetric (n, n) matrix of weights, sparse or dense, or a graph of points (``kernel_graph.Points``).
    approximation: H, a symmetric matrix of weights; anybody's, not only of :func:`sparsify`.
    slack: how much wider than the estimated interval the first attempt of a proof is, as a share of its width.
    progress: True shows a bar, and a function is called with (done, total) for each proof.

    ``lower`` is 0, which needs no proof, where no more could be proved; ``upper`` is infinite where nothing was proved,
    as it must be where H joins parts of G that G does not.  A disconnected G is certified part by part.  The memory is
    n²/2 float64 numbers, 1.6 GB for n = 20,000, and the work n³/3 multiplications for each of about three
    factorisations.

    Raises InvalidInstance for wrong matrices, different numbers of nodes and more than ``MOST`` nodes.
    """
    first, second = _pair(original, approximation)
    if not 0 < slack < math.inf:
        raise InvalidInstance(f"slack: {slack!r}, expected a positive number")
    labels = _parts(first)
    if labels is None:
        return _connected(first, second, slack, progress)
    ends = second.matrix.tocoo()
    if (labels[ends.coords[0]] != labels[ends.coords[1]]).any():
        return Interval(0.0, math.inf, (math.inf, -math.inf), "computed", "the second graph joins parts of the first")
    intervals = []
    for part in range(int(labels.max()) + 1):
        nodes = np.flatnonzero(labels == part)
        if len(nodes) > 1:
            inside = [SparseGraph(each.matrix[nodes][:, nodes], len(nodes)) for each in (first, second)]
            intervals.append(_connected(inside[0], inside[1], slack, progress))
    if not intervals:
        return Interval(1.0, 1.0, (1.0, 1.0), "computed", "neither graph has an edge")
    return Interval(
        min(each.lower for each in intervals), max(each.upper for each in intervals),
        (min(each.attained[0] for each in intervals), max(each.attained[1] for each in intervals)),
        "computed", f"{len(intervals)} connected parts; " + intervals[0].route,
    )  # fmt: skip


@unwarned
def holds(original: Any, approximation: Any, lower: float, upper: float, *, progress: bool | Told = False) -> bool:
    """Whether lower·L_G ⪯ L_H ⪯ upper·L_G was proved; False says that it was not, not that it is false.

    Arguments as in :func:`certify`.  G must be connected, or the answer is False.
    """
    first, second = _pair(original, approximation)
    if not 0 <= lower <= upper < math.inf:
        raise InvalidInstance(f"lower, upper: {lower!r}, {upper!r}, expected 0 <= lower <= upper, finite")
    with shown(progress, "proving") as told:
        below = lower == 0 or proves(first, second, lower, upper=False, told=told)
        return below and proves(first, second, upper, upper=True, told=told)


def _pair(original: Any, approximation: Any) -> tuple[Any, SparseGraph]:
    first = original if hasattr(original, "tile") else adjacency(original, "original")
    second = approximation if isinstance(approximation, SparseGraph) else adjacency(approximation, "approximation")
    if first.n != second.n:
        raise InvalidInstance(f"approximation: {second.n} nodes, expected {first.n} as the original has")
    if first.n < 1:
        raise InvalidInstance("original: no nodes, expected one at least")
    if first.n > MOST:
        raise InvalidInstance(
            f"original: {first.n} nodes, expected {MOST} at most (n²/2 numbers are kept); probe() takes larger graphs"
        )
    return first, second


def _parts(graph: Graph) -> NDArray[np.int32] | None:
    """The part of every node of a disconnected sparse graph; None where it is connected or all weights are positive."""
    if not isinstance(graph, SparseGraph):
        return None
    count, labels = traversal().connected_components(graph.matrix, directed=False)
    found: NDArray[np.int32] | None = None if count == 1 else labels
    return found


# --- the proof --------------------------------------------------------------------------------------------------------


def proves(graph: Graph, other: SparseGraph, multiple: float, *, upper: bool, told: Told | None = None) -> bool:
    """Whether L_H ⪯ multiple·L_G (``upper``) or L_H ⪰ multiple·L_G is proved by one factorisation (KG-14)."""
    p, q = (multiple, -1.0) if upper else (-multiple, 1.0)
    # The exact weights of G lie within 1 ± η of the computed ones: the claim is proved for the latter, and harder.
    if graph.relative:
        p = math.nextafter(p * (1.0 - 2.0 * graph.relative if upper else 1.0 + 2.0 * graph.relative), -math.inf)
    return _positive(graph, other, p, q, told) is not None


def _scaling(degrees: Array) -> tuple[Array, Array] | None:
    """Powers of two s ≈ degrees^(−1/2) and the vector v of the added term; None where a degree has no such power."""
    if not (np.isfinite(degrees).all() and (degrees > 0).all()):
        return None
    exponent = np.frexp(degrees)[1]
    scale = np.ldexp(1.0, -(exponent // 2))
    v = scale * (degrees / np.sqrt(degrees.sum()))
    return (scale, v) if np.isfinite(v).all() and (v > 0).all() and np.isfinite(scale * scale).all() else None


def _positive(
    graph: Graph, other: SparseGraph | None, p: float, q: float, told: Told | None = None, added: float = 1.0
) -> cholesky.Factor | None:
    """A factor of S(p·L_G + q·L_H)S + added·vv' − shift·I, whose existence proves p·L_G + q·L_H ⪰ 0.

    p is any number, q is 1 or −1.  S holds powers of two, so that scaling rounds nothing.
    """
    n = graph.n
    first = graph.degrees()
    scaled = _scaling(first)
    if scaled is None:
        return None
    scale, v = scaled
    second = np.zeros(n) if other is None else other.degrees()
    diagonal = p * first + q * second
    matrix = None if other is None else other.matrix
    squared = scale * scale
    weight = squared * (abs(p) * first + second)
    main = squared * diagonal + added * (v * v)
    # Entry errors: 4 roundings an entry off the diagonal, γ_{n+8} on it, by Schur's test no larger than the degrees.
    g = float(gamma(n + 12, _UNIT))
    error = 1.01 * ((g + 8 * _UNIT) * float(weight.max()) + 8 * _UNIT * added * float(v @ v))
    error += 1.01 * abs(p) * graph.absolute * n * float(squared.max())
    trace = 1.01 * float(np.abs(main).sum())
    shift = error + cholesky.rounding(n, trace) + 2 * _UNIT * float(np.abs(main).max())
    if not math.isfinite(shift):
        return None
    places = cholesky.bounds_of_tiles(n)

    def tile(i: int, j: int) -> Array:
        rows, columns = slice(*places[i]), slice(*places[j])
        here = graph.tile(rows, columns)
        here *= -p
        if matrix is not None:
            found = matrix[rows, columns].tocoo()
            here[found.coords] -= q * found.data
        here *= scale[rows, None]
        here *= scale[columns]
        here += np.multiply.outer(added * v[rows], v[columns])
        if i == j:
            np.fill_diagonal(here, main[rows] - shift)
        return here

    return cholesky.factored(n, tile, told)


# --- where it is worth trying -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Reference:
    """A factor of G's scaled Laplacian, with which the extremes of several H are estimated, and G's degrees."""

    factor: cholesky.Factor
    degrees: Array
    scale: Array
    v: Array


def reference(graph: Graph, told: Told | None = None) -> Reference | None:
    """The factor with which :func:`estimate` works; None where G falls apart in float64."""
    degrees = graph.degrees()
    scaled = _scaling(degrees)
    factor = None if scaled is None else _positive(graph, None, 1.0, 1.0, told)
    return None if scaled is None or factor is None else Reference(factor, degrees, *scaled)


def estimate(known: Reference, other: SparseGraph, tolerance: float = 1e-4) -> tuple[float, float, Array, Array]:
    """Estimates of the least and the largest quotient x'L_Hx / x'L_Gx, and vectors x that come near them.

    They come from inside: the truth is at least as wide.  An estimate is no proof.
    """
    n, scale, v, factor = known.factor.n, known.scale, known.v, known.factor
    degrees = other.degrees()
    ratio = float(degrees.sum() / known.degrees.sum())  # a quotient of traces, inside the interval: for constants
    matrix = other.matrix

    def product(vector: Array) -> Array:
        y = factor.backward(np.asarray(vector).reshape(-1))
        scaled = scale * y
        return factor.forward(scale * (degrees * scaled - matrix @ scaled) + v * (ratio * float(v @ y)))

    library = eigen()
    operator = library.LinearOperator((n, n), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(n)
    found = []
    for which in ("SA", "LA"):
        if n > 24:  # Lanczos' method with fewer steps than nodes
            try:
                _, vectors = library.eigsh(operator, k=1, which=which, tol=tolerance, v0=start, ncv=24, maxiter=300)
                vector = vectors[:, 0]
            except library.ArpackNoConvergence as unfinished:
                vector = unfinished.eigenvectors[:, 0] if unfinished.eigenvectors.shape[1] else start
        else:
            dense = np.column_stack([product(e) for e in np.eye(n)])
            symmetric = (dense + dense.T) / 2
            known_vectors = np.linalg.eigh(symmetric)[1] if np.isfinite(symmetric).all() else dense
            vector = known_vectors[:, 0 if which == "SA" else -1]
        x = scale * factor.backward(vector)
        if np.abs(x - x.mean()).max() <= 1e-3 * np.abs(x).max():  # constants, where all quotients are equal
            x = scale * factor.backward(start)
        found.append(x)
    quotients = [_plain_quotient(known, degrees, matrix, x) for x in found]
    order = (0, 1) if quotients[0] <= quotients[1] else (1, 0)
    return quotients[order[0]], quotients[order[1]], found[order[0]], found[order[1]]


def _plain_quotient(known: Reference, degrees: Array, matrix: Any, x: Array) -> float:
    """x'L_Hx / x'L_Gx, from the factor of G, without bounds."""
    v, scale = known.v, known.scale
    y = x / scale
    y = y - (float(v @ y) / float(v @ (1.0 / scale))) / scale  # the constant vector taken away
    x = scale * y
    below = known.factor
    z = np.zeros_like(y)
    for i, (first, last) in enumerate(cholesky.bounds_of_tiles(below.n)):  # Rᵀy
        for j, (left, right) in enumerate(cholesky.bounds_of_tiles(below.n)[: i + 1]):
            z[left:right] += below.tiles[i][j].T @ y[first:last]
    return float(x @ (degrees * x - matrix @ x)) / float(z @ z)


def quotient(graph: Graph, other: SparseGraph, x: Array) -> tuple[float, float]:
    """Bounds of x'L_Hx / x'L_Gx for one vector, (lower, upper): sums of squares, which lose no digits (KG-14)."""
    n = graph.n
    ends = other.matrix.tocoo()
    up = ends.coords[0] < ends.coords[1]
    steps = x[ends.coords[0][up]] - x[ends.coords[1][up]]
    numerator = float((ends.data[up] * steps * steps).sum())
    denominator = 0.0
    for rows in row_blocks(n):
        steps = x[rows, None] - x[None, :]
        denominator += float(np.einsum("ij,ij,ij->", graph.tile(rows, slice(0, n)), steps, steps)) / 2
    loss = float(gamma(n * n + 16, _UNIT))
    above = denominator * (1 + loss) * (1 + graph.relative) + graph.absolute * n * float(x @ x) * 2
    below = denominator * (1 - loss) * (1 - graph.relative) - graph.absolute * n * float(x @ x) * 2
    if not below > 2.0**-900 or not math.isfinite(above):
        return 0.0, math.inf
    rate = loss + 8 * _UNIT
    return numerator * (1 - rate) / above, numerator * (1 + rate) / below


def _connected(graph: Graph, other: SparseGraph, slack: float, progress: bool | Told) -> Interval:
    if graph.n < 2:
        return Interval(1.0, 1.0, (1.0, 1.0), "computed", "a graph of one node")
    with shown(progress, "estimating") as told:
        known = reference(graph, told)
    if known is None:
        return Interval(
            0.0, math.inf, (math.inf, -math.inf), "computed", "not certified: the first graph falls apart in float64"
        )
    low, high, least, most = estimate(known, other)
    del known
    attained = quotient(graph, other, least)[1], quotient(graph, other, most)[0]
    if high <= low * (1 + 1e-12):
        low = high = (low + high) / 2
    return prove_near(graph, other, low, high, attained, slack, progress)


def prove_near(
    graph: Graph, other: SparseGraph, low: float, high: float, attained: tuple[float, float], slack: float,
    progress: bool | Told,
) -> Interval:  # fmt: skip
    """The interval that is proved near an estimated one: each side is tried farther out until a proof succeeds."""
    width = max(high - low, 1e-9 * high)
    proofs = 0
    with shown(progress, "proving") as told:
        upper, room = math.inf, slack
        while room < 64:
            proofs += 1
            if proves(graph, other, high + room * width, upper=True, told=told):
                upper = high + room * width
                break
            room *= 8
        lower, room = 0.0, slack
        while low - room * width > 0:
            proofs += 1
            if proves(graph, other, low - room * width, upper=False, told=told):
                lower = low - room * width
                break
            room *= 8
    return Interval(
        lower, upper, attained, "computed", f"{proofs} factorisations of {graph.n} nodes in float64, around an estimate"
    )
