"""Elimination of the nodes of a graph, with a relative error that no condition number enlarges (KG-17).

A node k is eliminated by star–mesh: every pair i, j of its neighbours gains the weight w_ki·w_kj/s_k, s_k = Σ_j w_kj.
Only sums, products and quotients of numbers that are not negative are taken, so that no digit cancels.  Effective
resistances come out as enclosures.  Potentials of a current come out with a bound on each: one node is grounded,
and the currents that enter and those that leave are solved for apart.

A graph here is complete: all its weights are above 0.  Where they span at most 2^960, float64 holds them, and blocks of
nodes are eliminated by products of matrices: seconds for 1,000 nodes.  Beyond that every weight has an exponent of its
own (:mod:`assay.impl.cpu.kernel_graph.wide`).

What an ordinary solver of L x = b returns has no correct digit where the condition number exceeds 10^16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph import wide
from assay.impl.cpu.progress import told
from assay.spec.floating_point import require_usual
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from assay.impl.cpu.progress import Told

    Array = NDArray[np.float64]

__all__ = ["Graph", "Potentials", "Resistances", "potentials", "require_size", "resistances"]

_UNIT = Fraction(1, 2**53)
_SPAN = 960  # binary orders of magnitude between weights of which plain float64 takes resistances
_SPAN_OF_POTENTIALS = 320
_SPAN_OF_CURRENTS = 100
_MOST = 5000  # nodes
_MOST_WIDE = 2500
_SMALL = 256  # nodes up to which blocks are short, for the sake of the bound
_FEW = 8  # nodes of which every pair is eliminated for itself


@dataclass(frozen=True, eq=False)
class Graph:
    """A complete graph of n ≥ 2 nodes with weights mantissa·2^exponent above 0, all symmetric.

    mantissa (n, n): float64; the diagonal is not read, and only what is above it is.
    exponent (n, n): int64, or ``None`` where the mantissas are the weights.
    error: every true weight is a stored one times a factor within [1/(1 + error), 1 + error].

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.

    >>> Graph(np.ones((3, 3))).nodes
    3
    """

    mantissa: Array
    exponent: NDArray[np.int64] | None = None
    error: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        mantissa = np.asarray(self.mantissa, dtype=np.float64)
        if mantissa.ndim != 2 or mantissa.shape[0] != mantissa.shape[1] or len(mantissa) < 2:
            raise InvalidInstance(f"mantissa: shape {mantissa.shape}, expected a square of at least 2 nodes")
        if self.exponent is not None and np.shape(self.exponent) != mantissa.shape:
            raise InvalidInstance(f"exponent: shape {np.shape(self.exponent)}, expected {mantissa.shape}")
        above = mantissa[np.triu_indices(len(mantissa), 1)] if len(mantissa) <= _FEW else None
        least, most = _extent(mantissa) if above is None else (above.min(), above.max())
        if not (least > 0.0 and math.isfinite(most)):
            i, j = _first_bad(mantissa)
            raise InvalidInstance(f"mantissa: weight {mantissa[i, j]} of nodes {i} and {j}, expected one above 0")
        if self.error < 0:
            raise InvalidInstance(f"error: {self.error}, expected a number of at least 0")
        object.__setattr__(self, "mantissa", mantissa)

    @property
    def nodes(self) -> int:
        """n."""
        return len(self.mantissa)

    def scaled(self, span: int) -> tuple[Array, int] | None:
        """(weights, k) with stored weights = weights·2^k, within 2^±(span/2), symmetric; ``None`` where they span more.

        The diagonal is 0.
        """
        if self.exponent is None:
            least, most = (math.frexp(x)[1] for x in _extent(self.mantissa))
        else:
            power = np.frexp(self.mantissa)[1] + self.exponent
            above = [power[i, i + 1 :] for i in range(self.nodes - 1)]
            least, most = min(int(x.min()) for x in above), max(int(x.max()) for x in above)
        if most - least > span - 2:
            return None
        shift = (most + least) // 2
        exponent: Any = (
            -shift if self.exponent is None else np.clip(self.exponent - shift, -2000, 2000).astype(np.int32)
        )
        return _mesh(np.ldexp(np.triu(self.mantissa, 1), exponent)), shift


@dataclass(frozen=True, eq=False)
class Resistances:
    """Effective resistances, each mantissa·2^exponent but for a factor within [1/(1 + error), 1 + error] (KG-17).

    mantissa, exponent (pairs,).
    """

    mantissa: Array
    exponent: NDArray[np.int64]
    error: Fraction

    @property
    def lower(self) -> Array:
        """(pairs,) float64 numbers that are at most the resistances."""
        return self._bound(Fraction(1) / (1 + self.error), down=True)

    @property
    def upper(self) -> Array:
        """(pairs,) float64 numbers that are at least the resistances, +∞ where none is."""
        return self._bound(1 + self.error, down=False)

    def fraction(self, pair: int) -> Fraction:
        """The computed resistance of a pair, as it stands."""
        return Fraction(float(self.mantissa[pair])) * Fraction(2) ** int(self.exponent[pair])

    def _bound(self, factor: Fraction, *, down: bool) -> Array:
        bounds = [_outward(self.fraction(pair) * factor, down=down) for pair in range(len(self.mantissa))]
        return np.array(bounds, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Potentials:
    """Potentials x (n,) with L x = b and x = 0 at the grounded node: |value − x| ≤ error, number by number (KG-17)."""

    value: Array
    error: Array
    ground: int


def resistances(graph: Graph, pairs: Iterable[tuple[int, int]], *, progress: bool | Told = False) -> Resistances:
    """The effective resistance of every pair of nodes, by elimination of all others.

    pairs: of nodes; a node and itself have resistance 0 and are refused.  All pairs of n nodes cost about six times
    what one costs: nodes of which no pair is asked for are eliminated once for all, then the others are halved.
    progress: as :func:`~assay.impl.cpu.progress.told`.
    Raises :class:`~assay.spec.problem.InvalidInstance` for a pair that is none, and for more than 5,000 nodes, 2,500
    where the weights leave float64.  ``FloatingPointError`` in an unusual floating-point environment.

    >>> path = Graph(np.array([[0, 2.0, 1.0], [0, 0, 2.0], [0, 0, 0]]))  # 2 beside 1 in series, so 1/2 and 1 abreast
    >>> found = resistances(path, [(0, 2)])
    >>> bool(found.lower[0] <= 0.5 <= found.upper[0]), found.error < 1e-13
    (True, True)
    """
    require_usual()
    n = graph.nodes
    listed = [(int(i), int(j)) for i, j in pairs]
    for i, j in listed:
        if not (0 <= i < n and 0 <= j < n and i != j):
            raise InvalidInstance(f"pairs: ({i}, {j}), expected two different nodes from 0 to {n - 1}")
    scaled = graph.scaled(_SPAN)
    require_size(n, plain=scaled is not None)
    mantissa, exponent = np.zeros(len(listed)), np.zeros(len(listed), dtype=np.int64)
    with told(progress, "eliminating") as tell:
        if scaled is not None:
            weights, shift = scaled
            for at, weight in _between(weights, np.arange(n), list(enumerate(listed)), _block(n), _Steps(tell, n**3)):
                mantissa[at], power = math.frexp(1.0 / weight)
                exponent[at] = power - shift
            count = _count(n, 2, plain=True) + 1
        else:
            parts = wide.laid(graph.mantissa, graph.exponent)
            for at, (m, e) in _between_wide(parts, np.arange(n), list(enumerate(listed)), _Steps(tell, n**3)):
                mantissa[at], power = math.frexp(1.0 / m)
                exponent[at] = power - e
            count = _count(n, 2, plain=False) + 1
    return Resistances(mantissa, exponent, _grown(count, graph.error))


def potentials(
    graph: Graph, right_side: Array, *, ground: int | None = None, progress: bool | Told = False
) -> Potentials:
    """The potentials of the currents ``right_side`` (n,), which add up to exactly 0, with x = 0 at the grounded node.

    ground: a node; the last one with the largest outflow if it is not given, which leaves the fewest currents to add.
    Raises :class:`~assay.spec.problem.InvalidInstance` where the currents do not add up to 0, where potentials leave
    float64, and as :func:`resistances` does.

    >>> found = potentials(Graph(np.array([[0, 0.5], [0, 0]])), np.array([1.0, -1.0]))
    >>> found.value.tolist(), found.ground
    ([2.0, 0.0], 1)
    """
    require_usual()
    n = graph.nodes
    current = np.asarray(right_side, dtype=np.float64)
    if current.shape != (n,) or not np.isfinite(current).all():
        raise InvalidInstance(f"right_side: shape {current.shape}, expected {n} finite numbers")
    if total := sum(map(Fraction, current.tolist())):
        raise InvalidInstance(f"right_side: the currents add up to {float(total):.3g}, expected exactly 0")
    if ground is None:
        ground = n - 1 - int(np.argmin(current[::-1]))
    if not 0 <= ground < n:
        raise InvalidInstance(f"ground: {ground}, expected a node from 0 to {n - 1}")
    order = np.append(np.delete(np.arange(n), ground), ground)
    entering = np.stack([np.maximum(current, 0.0), np.maximum(-current, 0.0)], axis=1)
    entering[ground] = 0.0
    most = float(entering.max(initial=0.0))
    lift = 0 if most == 0.0 else math.frexp(most)[1]
    narrow = float(entering[entering > 0.0].min(initial=math.inf)) >= most * 2.0**-_SPAN_OF_CURRENTS
    scaled = graph.scaled(_SPAN_OF_POTENTIALS) if narrow else None
    require_size(n, plain=scaled is not None)
    entering = np.ldexp(entering, -lift)[order]
    with told(progress, "eliminating") as tell:
        if scaled is not None:
            weights, shift = scaled
            solved = _substituted(weights[np.ix_(order, order)], entering, _Steps(tell, n**3))
            mantissa, power = np.frexp(solved)
            exponent = power.astype(np.int64) - shift + lift
        else:
            parts = tuple(x[np.ix_(order, order)] for x in wide.laid(graph.mantissa, graph.exponent))
            mantissa, exponent = wide.substituted(parts[0], parts[1], entering)
            exponent += lift
            tell(n**3, n**3)
    if (exponent[mantissa > 0.0] > 1000).any() or (exponent[mantissa > 0.0] < -900).any():
        raise InvalidInstance("right_side: potentials that leave float64, expected other units of current")
    parted = np.ldexp(mantissa, exponent.astype(np.int32))
    back = np.empty_like(parted)
    back[order] = parted
    relative = _grown(_count_potentials(n, plain=scaled is not None), Fraction(0))
    # x_i is a ratio of polynomials of degrees n − 2 and n − 1 in the weights
    share = (2 * n - 3) * graph.error
    if share >= Fraction(1, 2):
        raise InvalidInstance(f"error: {float(graph.error):.3g}, expected less than 1/{4 * n} for {n} nodes")
    relative = (1 + relative) * (1 + share / (1 - share)) - 1
    value = back[:, 0] - back[:, 1]
    error = _up(float(relative)) * back.sum(axis=1) * (1 + 2.0**-50) + 2.0**-53 * np.abs(value)
    return Potentials(value, np.asarray(error * (1 + 2.0**-50)), ground)


# --- the plain arithmetic ---------------------------------------------------------------------------------------------


class _Steps:
    """Tells how much work is done, in multiplications."""

    def __init__(self, tell: Told, total: int) -> None:
        self.tell, self.total, self.done = tell, total, 0

    def did(self, work: int) -> None:
        self.done += work
        self.tell(min(self.done, self.total), self.total)


def _block(n: int) -> int:
    """How many nodes a product of matrices eliminates."""
    return 8 if n <= _SMALL else 32


def _eliminated(weights: Array, keep: int, block: int, steps: _Steps) -> Array:
    """Eliminate all nodes but the last ``keep``, in place; returns their s (n − keep,).

    weights (n, n + columns): what is above the diagonal is read, and the columns beyond n, currents.  Row k ends as
    that of the graph in which k is eliminated, and the last rows as the graph that is left.  KG-17 counts roundings.
    """
    n = len(weights)
    sums = np.zeros(max(n - keep, 0))
    shares = np.zeros((block, weights.shape[1]))
    for start in range(0, n - keep, block):
        stop = min(start + block, n - keep)
        for k in range(start, stop):
            row = weights[k, k + 1 :]
            if k > start:
                row += shares[: k - start, k] @ weights[start:k, k + 1 :]
            sums[k] = _sum(row[: n - k - 1])
            shares[k - start, k + 1 :] = row / sums[k]
        weights[stop:, stop:] += shares[: stop - start, stop:n].T @ weights[start:stop, stop:]
        steps.did(3 * (stop - start) * (n - stop) ** 2)
    return sums


def _sum(row: Array) -> float:
    """The sum of m numbers, each of which passes through at most :func:`_depth` additions."""
    length = max(math.isqrt(len(row)), 1)
    whole = len(row) // length * length
    pieces = row[:whole].reshape(-1, length).sum(axis=1)
    rest = row[whole:].sum() if whole < len(row) else 0.0
    return float(pieces.sum() + rest)


def _depth(m: int) -> int:
    """Additions through which a number passes in :func:`_sum`, in whatever order NumPy adds a piece."""
    length = max(math.isqrt(m), 1)
    return length - 1 + max(m // length, 1) + 1


def _mesh(weights: Array) -> Array:
    """A symmetric matrix from what is above the diagonal."""
    upper = np.triu(weights, 1)
    return np.asarray(upper + upper.T)


def _between(weights: Array, names: Any, pairs: Any, block: int, steps: _Steps) -> Any:
    """Yield (number, weight of the graph of the two nodes alone) for numbered pairs of the nodes ``names``."""
    if not pairs:
        return
    wanted = np.array(sorted({node for _, pair in pairs for node in pair}))
    others = np.setdiff1d(np.arange(len(names)), at := np.searchsorted(names, wanted))
    if len(others):
        order = np.concatenate([others, at])
        ordered = weights[np.ix_(order, order)]
        _eliminated(ordered, len(at), block, steps)
        weights = _mesh(ordered[len(others) :, len(others) :])
        names = wanted
    if len(names) == 2:
        yield from ((number, float(weights[0, 1])) for number, _ in pairs)
        return
    for part in _parted(names, pairs):
        yield from _between(weights, names, part, block, steps)


def _parted(names: Any, pairs: Any) -> Any:
    """The pairs in groups, each of which has at most about half of the nodes."""
    if len(names) <= _FEW:
        groups: dict[Any, Any] = {}
        for number, pair in pairs:
            groups.setdefault(frozenset(pair), []).append((number, pair))
        return groups.values()
    quarter = {int(name): 4 * place // len(names) for place, name in enumerate(names)}
    inner: list[Any] = []
    groups = {}
    for number, pair in pairs:
        two = frozenset(quarter[node] for node in pair)
        if len(two) == 1:
            inner.append((two, (number, pair)))
        else:
            groups.setdefault(two, []).append((number, pair))
    for two, numbered in inner:  # into a group that has this quarter anyway
        near = next((other for other in groups if two < other), two)
        groups.setdefault(near, []).append(numbered)
    return groups.values()


def _substituted(weights: Array, entering: Array, steps: _Steps) -> Array:
    """The potentials (n, columns) of currents ≥ 0, the last node grounded, by elimination and back substitution."""
    n = len(weights)
    table = np.concatenate([weights, entering], axis=1)
    sums = _eliminated(table, 1, _block(n), steps)
    found = np.zeros((n, entering.shape[1]))
    for k in range(n - 2, -1, -1):
        for column in range(entering.shape[1]):
            inflow = table[k, n + column] + _sum(table[k, k + 1 : n] * found[k + 1 :, column])
            found[k, column] = inflow / sums[k]
    return found


# --- the wide arithmetic ----------------------------------------------------------------------------------------------


def _between_wide(parts: Any, names: Any, pairs: Any, steps: _Steps) -> Any:
    """As :func:`_between`, of mantissas and exponents."""
    if not pairs:
        return
    wanted = np.array(sorted({node for _, pair in pairs for node in pair}))
    others = np.setdiff1d(np.arange(len(names)), at := np.searchsorted(names, wanted))
    if len(others):
        order = np.concatenate([others, at])
        mantissa, exponent = (x[np.ix_(order, order)] for x in parts)
        parts = wide.left(mantissa, exponent, len(at))
        steps.did(len(names) ** 3 - len(at) ** 3)
        names = wanted
    if len(names) == 2:
        yield from ((number, (float(parts[0][0, 1]), int(parts[1][0, 1]))) for number, _ in pairs)
        return
    for part in _parted(names, pairs):
        yield from _between_wide(parts, names, part, steps)


# --- the bounds -------------------------------------------------------------------------------------------------------


def _per_step(n: int, m: int, *, plain: bool) -> int:
    """Roundings that an elimination from m nodes, of a graph that had n, is off by: a factor (1 ± u)^±this."""
    return 3 * (_block(n) + 2) + _depth(m - 1) if plain else wide.per_step(m)


def _count(n: int, keep: int, *, plain: bool) -> int:
    """Roundings of the whole elimination of n nodes but ``keep`` (KG-17)."""
    steps = sum(_per_step(n, m, plain=plain) for m in range(keep + 1, n + 1))
    blocks = (_block(n) + 3) * (-(-n // _block(n)) + _halvings(n)) if plain else 0
    return steps + blocks


def _halvings(n: int) -> int:
    """More blocks that are begun where pairs are parted: each level of that begins at most one anew."""
    return 2 * n.bit_length() + _FEW


def _count_potentials(n: int, *, plain: bool) -> int:
    """Roundings of a potential (KG-17): those of every graph count once for each factor of its degree."""
    rows = _block(n) + 2 if plain else 0
    total = 0
    for m in range(2, n + 1):
        depth = _depth(m - 1) if plain else wide.depth(m)
        total += 2 * (m - 1) * _per_step(n, m, plain=plain) + 3 * rows + 2 * depth + 4
        if plain and (n - m) % _block(n) == 0:
            total += 2 * (m - 1) * (_block(n) + 3)
    return total


def _grown(count: int, error: Fraction) -> Fraction:
    """e with (1 + error)(1 − u)^−count ≤ 1 + e: γ_count, enlarged by the weights' own error."""
    share = count * _UNIT
    if share >= Fraction(1, 2):
        raise InvalidInstance(f"{count} roundings: the bound of the elimination says nothing any more")
    return (1 + share / (1 - share)) * (1 + error) - 1


def require_size(n: int, *, plain: bool) -> None:
    """Raise InvalidInstance for more nodes than are eliminated; plain: where the weights are float64 numbers."""
    most = _MOST if plain else _MOST_WIDE
    if n > most:
        why = "" if plain else " whose weights leave float64"
        raise InvalidInstance(f"mantissa: a graph of {n} nodes{why}, expected at most {most}")


def _extent(mantissa: Array) -> tuple[float, float]:
    """The least and the largest number above the diagonal; NaN where one is."""
    rows = [mantissa[i, i + 1 :] for i in range(len(mantissa) - 1)]
    return float(np.min([x.min() for x in rows])), float(np.max([x.max() for x in rows]))


def _first_bad(mantissa: Array) -> tuple[int, int]:
    bad = np.triu(~((mantissa > 0.0) & np.isfinite(mantissa)), 1)
    i, j = np.argwhere(bad)[0]
    return int(i), int(j)


def _outward(x: Fraction, *, down: bool) -> float:
    """A float64 below, or above, a rational: 0 and +∞ where there is none near."""
    try:
        near = x.numerator / x.denominator
    except OverflowError:
        return float(np.finfo(np.float64).max) if down else math.inf
    return math.nextafter(near, 0.0 if down else math.inf)


def _up(x: float) -> float:
    return math.nextafter(x, math.inf)
