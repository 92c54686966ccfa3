"""What one box of a tree sends to another: f as a certified expansion in Chebyshev polynomials of both boxes (KG-10).

Boxes of one level are cubes of side s whose numbers differ by o, |o|_∞ ≥ 2.  With ξ and η in [−1, 1]^d the places in
the boxes, z = s²ζ(u), ζ = Σ(o_i + b·u_i)², u = (ξ − η)/2 and b = 1 + 2^-20.  f(s²ζ) is interpolated in u, which is
certified by the size of f in ellipses; T_m((ξ − η)/2) is a sum of T_k(ξ)T_l(η) with known coefficients; and terms with
|k|² + |l|² > D are left out, whose sizes are summed.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph import tree_kernels
from assay.impl.cpu.kernel_graph.sums import SLACK, U, gamma
from assay.impl.cpu.kernel_graph.tree_kernels import ROWS, TOGETHER
from assay.spec.approximation import Infeasible

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.kernel_graph.functions import Function

    Array = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["ENLARGED", "MOST_OFFSET", "Basis", "Designed", "Packed", "basis", "designed", "offsets", "packed"]

ENLARGED = 1.0 + 2.0**-20  # boxes are taken so much larger that a point whose box is decided by rounding is inside
MOST_OFFSET = 3  # of the numbers of boxes whose parents are neighbours
_DEGREES = (4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40)
_RHO = np.geomspace(1.02, 16.0, 160)
_BIN = 2  # of |k|² + |l|², in which the sizes of coefficients are summed
_MOST_SQUARE = 420  # of |k|² + |l|²
_TRIGONOMETRIC = 24.0 * U  # what the nodes and an entry of the transform err, entries over 2/(P + 1)
_LEAST = 2.0**-960  # of what a weight may err: products that underflow are far below it


def offsets(dimension: int) -> tuple[tuple[int, ...], ...]:
    """The differences of boxes up to reflections and permutations: 3 ≥ o_1 ≥ … ≥ o_d ≥ 0, o_1 ≥ 2."""
    every = itertools.combinations_with_replacement(range(MOST_OFFSET, -1, -1), dimension)
    return tuple(o for o in every if o[0] >= 2)


@functools.cache
def _products(degree: int) -> Array:
    """H with T_m((x − y)/2) = Σ H[m, k, l]T_k(x)T_l(y): dyadic fractions of at most m bits, so float64 holds them."""
    size = degree + 1
    found = np.zeros((size, size, size))

    def times(a: Array) -> Array:  # x times a polynomial whose coefficients are the rows of a
        out = np.zeros_like(a)
        out[1:] += a[:-1] / 2.0
        out[:-1] += a[1:] / 2.0
        out[1] += a[0] / 2.0
        return out

    found[0, 0, 0] = 1.0
    if degree > 0:
        found[1, 1, 0], found[1, 0, 1] = 0.5, -0.5
    for m in range(2, size):
        before = found[m - 1]
        found[m] = times(before) - times(before.T).T - found[m - 2]
    found.setflags(write=False)
    return found


@functools.cache
def _histogram(degree: int) -> Array:
    """(P + 1, bins): Σ|H[m, k, l]| over the k² + l² of a bin, whose number is rounded up; the last bin has the rest."""
    sizes = np.abs(_products(degree))
    k = np.arange(degree + 1) ** 2
    bins = np.minimum(-(-(k[:, None] + k) // _BIN), _MOST_SQUARE // _BIN + 1)
    found = np.zeros((degree + 1, _MOST_SQUARE // _BIN + 2))
    for m in range(degree + 1):
        np.add.at(found[m], bins, sizes[m])
    found.setflags(write=False)
    return found


@dataclass(frozen=True, eq=False)
class Designed:
    """The expansion of one offset: coefficients in u, the largest |k|² + |l|² that is kept, and what is proved.

    error: |w̃ − w| of one weight, rounding included.  size: at least the sum of all |coefficients| in both boxes.
    entries: about how many coefficients are kept.
    """

    offset: tuple[int, ...]
    coefficients: Array
    square: int
    error: float
    size: float
    entries: float


def _upper(function: Function, z: Array) -> Array:
    """At least f(z) for f decreasing, z > 0 right to 2^-39 of itself; +∞ where z is less than what f may shift it."""
    low = z * (1.0 - 2.0**-38) - 2.0**-48 * function.shift
    value = function(np.maximum(low, z * 0.5))
    safe = np.where(low >= z * 0.5, value, math.inf)
    return np.asarray((safe + 2.0**-48 * (np.abs(safe) + function.terms)) * SLACK + 2.0**-1059)


def _lower(function: Function, z: float) -> float:
    """At most f(z) for f decreasing and non-negative."""
    value = float(function(np.array([z * (1.0 + 2.0**-38) + 2.0**-48 * function.shift]))[0])
    return max(0.0, (value - 2.0**-48 * (abs(value) + function.terms)) * (1.0 - 2.0**-30) - 2.0**-1059)


def interpolation(function: Function, square: float, offset: tuple[int, ...], degree: int) -> float:
    """At least |g − Ig| on [−1, 1]^d for g(u) = f(square·ζ(u)) and I the interpolation of this degree an axis (KG-10).

    f is completely monotone, so that |f(z)| ≤ f(Re z) where Re z > 0.
    """
    b = ENLARGED
    major, minor = (_RHO + 1.0 / _RHO) / 2.0, (_RHO - 1.0 / _RHO) / 2.0
    lebesgue = _lebesgue(degree)
    total = 0.0
    for axis, c in enumerate(offset):
        rest = sum(max(0.0, o - b) ** 2 for other, o in enumerate(offset) if other != axis)
        # Re (c + bu)² = b²(A² + B²)s² + 2cbAs + c² − b²B² on the ellipse, s the cosine of the angle
        bend = b * b * (major**2 + minor**2)
        s = -np.minimum(c * b * major / bend, 1.0)
        least = bend * s * s + 2.0 * c * b * major * s + c * c - b * b * minor**2 + rest
        least = least - 2.0**-40 * (bend + c * c + rest)
        fine = least > 2.0**-8
        if not fine.any():
            return math.inf
        rho = _RHO[fine]
        bound = 4.0 * _upper(function, square * least[fine]) * rho ** float(-degree) / (rho - 1.0)
        total += lebesgue**axis * float(bound.min())
    return total * SLACK


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # what is no number is refused
def designed(
    function: Function, square: float, offset: tuple[int, ...], relative: float, floor: float, count: int
) -> Designed:
    """The expansion for boxes of side √square with weights within relative·w + floor of f, f completely monotone.

    count: at least the points of a box, for the roundings of their sum.
    Raises :class:`~assay.spec.approximation.Infeasible`.
    """
    d = len(offset)
    b = ENLARGED
    far = square * sum((o + b) ** 2 for o in offset) * SLACK
    close = square * sum(max(0.0, o - b) ** 2 for o in offset) / SLACK
    smallest, largest = _lower(function, far), float(_upper(function, np.array([close]))[0])
    allowed = relative * smallest + floor
    if not (allowed >= _LEAST and largest < math.inf):
        raise Infeasible(f"weights from {smallest:.2g} to {largest:.2g} between boxes")
    for degree in _DEGREES:
        analytic = interpolation(function, square, offset, degree)
        if analytic <= 0.1 * allowed:
            break
    else:
        raise Infeasible(f"interpolation of degree {degree} is within {analytic:.2g}, not {0.1 * allowed:.2g}")
    size = degree + 1
    cosines = _cosines(size)
    g, noise = _at_nodes(function, square, offset, cosines[1])
    lebesgue = _lebesgue(degree)
    transform = cosines * (2.0 / size)
    transform[0] /= 2.0
    peak = float(np.abs(g).max())
    for axis in range(d):
        g = np.moveaxis(np.tensordot(transform, g, (1, axis)), 0, axis)
    rough = (2.0 * size) ** ((d + 1) / 2.0) * d * (gamma(size + 3.0) + _TRIGONOMETRIC) * peak * 1.01
    g = np.ascontiguousarray(g)
    tail = np.cumsum(_spread(np.abs(g), _histogram(degree))[::-1])[::-1] * SLACK
    bins = int(np.argmax(np.append(tail[1:], 0.0) <= 0.75 * allowed))  # bins beyond this one are left out
    if bins > _MOST_SQUARE // _BIN:
        raise Infeasible(f"an expansion with |k|² + |l|² up to {_MOST_SQUARE} leaves out {float(tail[-1]):.2g}")
    cut = bins * _BIN
    left_out = float(tail[bins + 1])
    steps = gamma(_roundings(d, degree, cut, count)) + 8.0 * cut * U
    error = (analytic + lebesgue**d * noise + rough + left_out + steps * float(tail[0])) * SLACK
    if not error <= allowed:
        raise Infeasible(f"rounding between boxes is {error - analytic - left_out:.2g}, more than {allowed:.2g}")
    ball = math.pi**d / math.gamma(d + 1.0) * float(cut) ** d / 4.0**d
    zeros = sum(o == 0 for o in offset)
    return Designed(offset, g, cut, error, float(tail[0]), (ball + 3.0 * cut ** (d / 2.0) + 32.0) / 2.0**zeros)


def _lebesgue(degree: int) -> float:
    """At least Lebesgue's constant of the zeros of T_(P+1)."""
    return (2.0 / math.pi * math.log(degree + 1.0) + 1.0) * SLACK


def _cosines(size: int) -> Array:
    """T_m at the zeros of T_size, (m, zero), each within 16u: cosines of angles between 0 and π/2."""
    turns = np.multiply.outer(np.arange(size), 2 * np.arange(size) + 1) % (4 * size)
    turns = np.minimum(turns, 4 * size - turns)
    angles = np.minimum(turns, 2 * size - turns) * (math.pi / (2.0 * size))
    return np.asarray(np.where(turns <= size, 1.0, -1.0) * np.cos(angles))


def _at_nodes(function: Function, square: float, offset: tuple[int, ...], nodes: Array) -> tuple[Array, float]:
    """f(square·ζ) at all tuples of nodes, and how far a value may be from the one at the exact nodes."""
    d = len(offset)
    zeta = np.zeros((len(nodes),) * d)
    for axis, o in enumerate(offset):
        shape = [1] * d
        shape[axis] = len(nodes)
        zeta = zeta + ((o + ENLARGED * nodes) ** 2).reshape(shape)
    z = square * zeta
    # ζ > 0.9 moves by 34√d·u of itself with the nodes, and is rounded d + 5 times; f has 2^-51(z + shift) of its own
    off = z * ((96.0 + 2.0 * d) * U) + 2.0**-49 * function.shift
    if not float((off / z).max()) < 0.25:
        raise Infeasible("distances are smaller than what the function rounds")
    low, high = function.between(z - off, z + off)
    g = function(z)
    return g, float((high - low).max()) + 2.0**-48 * (float(np.abs(g).max()) + function.terms) + 2.0**-1058


def _roundings(d: int, degree: int, cut: int, count: int) -> float:
    """At least how many roundings a term passes from a vector to what a level adds to a sum."""
    base, most = math.isqrt(cut) + 1.0, math.isqrt(_MOST_SQUARE) + 1.0
    coefficient = d * (degree + 2.0)
    moment = d + TOGETHER + count / TOGETHER + 4.0
    sent = base**d + 6.0**d + 6.0
    value = most + most ** (d - 1) + d + 4.0
    return coefficient + moment + sent + value


def _spread(sizes: Array, histogram: Array) -> Array:
    """(bins,): Σ_m|G_m| Π_i|H[m_i, k_i, l_i]| over the (k, l) of a bin of |k|² + |l|²; the last bin has the rest."""
    bins = histogram.shape[1]
    state = np.tensordot(sizes, histogram, (0, 0))  # the first axis becomes the last, as bins
    while state.ndim > 1:
        found = np.zeros(state.shape[1:])
        for bin_ in np.flatnonzero(histogram.any(axis=0)):
            part = np.tensordot(histogram[:, bin_], state, (0, 0))
            found[..., bin_:] += part[..., : bins - bin_]
            found[..., -1] += part[..., bins - bin_ :].sum(axis=-1)
        state = found
    return state


@dataclass(frozen=True, eq=False)
class Basis:
    """The functions T_k with |k|² ≤ square, as :mod:`tree_kernels` wants them.

    degrees (N, d), norms (N,): k and |k|², which grows; rank: the place of k, by its number to ``base``.  turns (d!, N)
    and signs (2^d, N): what permuting and reflecting axes does.  lines, places: see :mod:`tree_kernels`.
    """

    square: int
    base: int
    degrees: Ints
    norms: Ints
    rank: Ints
    turns: Ints
    signs: Array
    lines: Ints
    places: Ints

    @property
    def size(self) -> int:
        return len(self.degrees)


@functools.lru_cache(maxsize=16)
def basis(dimension: int, square: int) -> Basis:
    """The basis of one dimension and largest |k|²."""
    d, base = dimension, math.isqrt(square) + 1
    every = np.stack(np.meshgrid(*[np.arange(base)] * d, indexing="ij"), axis=-1).reshape(-1, d)
    norms = (every**2).sum(axis=1)
    every, norms = every[norms <= square], norms[norms <= square]
    order = np.argsort(norms, kind="stable")
    every, norms = every[order], norms[order]
    powers = base ** np.arange(d - 1, -1, -1)
    rank = np.full(base**d, -1)
    rank[every @ powers] = np.arange(len(every))
    turns = []
    for turn in itertools.permutations(range(d)):  # function k' of turned axes is k with k[turn[i]] = k'[i]
        moved = np.empty_like(every)
        moved[:, list(turn)] = every
        turns.append(rank[moved @ powers])
    flips = np.arange(2**d)[:, None] >> np.arange(d) & 1
    signs = 1.0 - 2.0 * (flips @ (every.T % 2) % 2)
    heads = np.unique(every[:, : d - 1], axis=0) if d > 1 else np.zeros((1, 0), np.int64)
    counts = np.array([math.isqrt(square - int((h**2).sum())) + 1 for h in heads])
    lines = np.concatenate([heads, counts[:, None]], axis=1)
    places = np.zeros((len(lines), base), np.int64)
    for line, (head, count) in enumerate(zip(heads, counts, strict=True)):
        whole = np.concatenate([np.tile(head, (count, 1)), np.arange(count)[:, None]], axis=1)
        places[line, :count] = rank[whole @ powers]
    kind = np.int64
    return Basis(
        square, base, every, norms.astype(kind), rank.astype(kind), np.array(turns, kind),
        np.ascontiguousarray(signs), np.ascontiguousarray(lines, kind), places,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Packed:
    """The coefficients of the expansions of one level, as :func:`tree_kernels.sent` reads them."""

    orders: Ints
    held: Ints
    firsts: Ints
    groups: Ints
    data: Array

    @property
    def bytes(self) -> int:
        return self.data.nbytes + self.groups.nbytes + self.orders.nbytes


def packed(found: list[Designed], where: Basis, run: Callable[[Callable[[int], None], range], None]) -> Packed:
    """All expansions of a level in one table; ``run`` calls a function for every number of a range."""
    orders = np.zeros((len(found), where.size), np.int64)
    parts: list[tuple[Ints, Ints, Array]] = [(np.zeros(0, np.int64), np.zeros((0, 4), np.int64), np.zeros(0))] * len(
        found
    )

    def one(index: int) -> None:
        parts[index] = _packed(found[index], where)

    run(one, range(len(found)))
    starts = np.cumsum([0, *(len(data) for _, _, data in parts)])
    for index, (order, groups, _) in enumerate(parts):
        orders[index, : len(order)] = order
        groups[:, 3] += starts[index]
    return Packed(
        orders, np.array([len(order) for order, _, _ in parts], np.int64),
        np.cumsum([0, *(len(groups) for _, groups, _ in parts)]).astype(np.int64),
        np.concatenate([groups for _, groups, _ in parts]), np.concatenate([data for _, _, data in parts]),
    )  # fmt: skip


def _packed(design: Designed, where: Basis) -> tuple[Ints, Ints, Array]:
    """The order of the functions of one expansion, its groups of rows, and its coefficients in them.

    k_i + l_i is even where o_i = 0, so functions are sorted by the parity of these k_i, and by |k|² among equals: a row
    then has the first so many functions of its own kind.
    """
    count = int(np.searchsorted(where.norms, design.square, side="right"))
    even = [axis for axis, o in enumerate(design.offset) if o == 0]
    kind = (where.degrees[:count, even] % 2) @ (1 << np.arange(len(even), dtype=np.int64))
    order = np.lexsort((where.norms[:count], kind))
    kinds, norms = kind[order], where.norms[order]
    groups = []
    at = 0
    for each in np.unique(kinds):
        low, stop = np.searchsorted(kinds, [each, each + 1])
        for head in range(low, stop, ROWS):
            wide = int(np.searchsorted(norms[low:stop], design.square - norms[head], side="right"))
            groups.append((head, low, wide, at))
            at += ROWS * wide
    table = np.array(groups, np.int64)
    values, lefts, rights = _coefficients(design, where.base)
    place = np.empty(count, np.int64)
    place[order] = np.arange(count)
    row, column = place[where.rank[lefts]], place[where.rank[rights]]
    group = np.searchsorted(table[:, 0], row, side="right") - 1
    head, low, wide, begin = table[group].T
    data = np.zeros(at)
    data[begin + (row - head) * wide + column - low] = values
    return order, table, data


def _coefficients(design: Designed, base: int) -> tuple[Array, Ints, Ints]:
    """The coefficients with |k|² + |l|² ≤ square, and k and l as numbers to ``base``."""
    size, d = design.coefficients.shape[0], len(design.offset)
    table = _products(size - 1)
    kernel = tree_kernels.contract()
    state: Array = design.coefficients.reshape(1, size, -1)
    degree = left = right = np.zeros(1, np.int64)
    for axis, o in enumerate(design.offset):
        k, l = np.meshgrid(np.arange(min(size, base)), np.arange(min(size, base)), indexing="ij")  # noqa: E741
        keep = (k + l < size) & (k * k + l * l <= design.square) & ((o > 0) | ((k + l) % 2 == 0))
        k, l = k[keep], l[keep]  # noqa: E741
        squares = k * k + l * l
        order = np.argsort(squares, kind="stable")
        pairs = (k[order].astype(np.int64), l[order].astype(np.int64), squares[order].astype(np.int64))
        none: Any = np.zeros(0, np.int64)
        rest = state.shape[2]
        count = kernel(
            state, degree, left, right, table, *pairs, design.square, base, np.zeros((0, rest)), none, none, none
        )
        out = np.empty((count, rest))
        numbers = [np.empty(count, np.int64) for _ in range(3)]
        kernel(state, degree, left, right, table, *pairs, design.square, base, out, *numbers)
        degree, left, right = numbers
        state = out.reshape(count, size, -1) if axis < d - 1 else out
    return np.ascontiguousarray(state.reshape(-1)), left, right
