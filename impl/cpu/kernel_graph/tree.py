"""Sums with a completely monotone function by a tree of boxes: far boxes by Chebyshev expansions (KG-10).

Points are sorted along a curve through cubes of a tree.  A pair of neighbouring boxes is split until its pairs of
points are few; boxes that are no neighbours, but whose parents are, send each other an expansion in both boxes, whose
number of terms is the least that is proved to be enough for their distance.  What has few points is summed pair by
pair.  Moments are taken from the points at every level, so that no error is carried from one level to the next.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import threads as cpus
from assay.impl.cpu.kernel_graph import direct, rounding, tree_kernels, tree_operators
from assay.impl.cpu.kernel_graph.sums import SLACK, U, gamma
from assay.impl.cpu.kernel_graph.weights import TILE
from assay.spec.approximation import Infeasible

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.problem import Scene
    from assay.impl.cpu.kernel_graph.tree_operators import Basis, Designed, Packed

    Array = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["ENTRY", "MOST_DIMENSION", "Tree", "planned", "require_served"]

MOST_DIMENSION = 4
ENTRY = 0.1  # nanoseconds of one coefficient of an expansion
_SPLIT = 0.7  # of the cost of the expansions between children for which neighbours are split
_BITS = 60  # of the number of a box
_SIDE_BITS = 30  # of the side of the root, so that the middle of every box is a float64 number
_EXPANDED = 1 << 20  # pairs of boxes that are looked at together
_TASKS = 32
_PAIRS = 1 << 16  # near pairs whose distances are in memory together
_COLUMNS = 4  # whose moments are held at a time, where the memory allows


@dataclass(frozen=True, eq=False)
class Side:
    """Points in the order of the tree.

    order (n,); points (d, n) as given; whole, rest (d, n): points less the lowest corner, as unevaluated sums; cells
    (n, d): their boxes at the deepest level; keys (n,): the numbers of these boxes along the curve.
    """

    order: Ints
    points: Array
    whole: Array
    rest: Array
    cells: Ints
    keys: Ints


@dataclass(frozen=True, eq=False)
class Sides:
    """Sources and targets in one root box of side ``length``, divided ``depth`` times."""

    length: float
    depth: int
    sources: Side
    targets: Side


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of a level that hold points, in the order of the curve, and where their children begin."""

    starts: Ints
    ends: Ints
    cells: Ints

    @property
    def counts(self) -> Ints:
        return self.ends - self.starts


@dataclass(frozen=True, eq=False)
class Level:
    """What boxes of one level send to each other: pairs sorted by parts of the targets and by their operators."""

    sources: Boxes
    targets: Boxes
    places: tuple[Array, Array]
    pairs: tuple[Ints, Ints, Ints, Ints, Ints]
    parts: Ints
    packed: Packed
    factor: float


@dataclass(frozen=True, eq=False)
class Close:
    """Boxes of targets whose sums over ranges of sources are direct."""

    boxes: Boxes
    firsts: Ints
    lows: Ints
    highs: Ints


def sides(points: Array, targets: Array | None) -> Sides:
    """Points and targets in the order of one tree."""
    d = points.shape[1]
    low, high = points.min(axis=0), points.max(axis=0)
    if targets is not None:
        low, high = np.minimum(low, targets.min(axis=0)), np.maximum(high, targets.max(axis=0))
    with np.errstate(over="ignore"):
        span = float((high - low).max())
    if span == 0.0:
        span = 1.0  # one point, or one place
    if not 2.0**-400 < span < 2.0**400:
        raise Infeasible(f"the points span {span:.3g}")
    mantissa, exponent = math.frexp(span * (1.0 + 2.0**-40))
    length = math.ldexp(math.floor(math.ldexp(mantissa, _SIDE_BITS)) + 1.0, exponent - _SIDE_BITS)
    depth = min(20, _BITS // d)
    source = _side(points, low, length, depth)
    return Sides(length, depth, source, source if targets is None else _side(targets, low, length, depth))


def _side(points: Array, low: Array, length: float, depth: int) -> Side:
    x = np.ascontiguousarray(points.T)
    base = low[:, None]
    whole = x - base
    back = whole - x  # what whole lost: Knuth's sum of two numbers without a condition
    rest = (x - (whole - back)) - (base + back)
    most = 2**depth - 1
    cells = np.clip(np.floor(whole * (2.0**depth / length)), 0.0, most).astype(np.int64)
    keys = np.zeros(x.shape[1], np.int64)
    for bit in range(depth - 1, -1, -1):
        for row in cells:
            keys = (keys << 1) | ((row >> bit) & 1)
    order = np.argsort(keys, kind="stable")
    return Side(
        order, np.ascontiguousarray(x[:, order]), np.ascontiguousarray(whole[:, order]),
        np.ascontiguousarray(rest[:, order]), np.ascontiguousarray(cells[:, order].T), keys[order],
    )  # fmt: skip


def boxes(side: Side, level: int, depth: int) -> Boxes:
    """The boxes of a level."""
    d = side.cells.shape[1]
    keys = side.keys >> (d * (depth - level))
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    ends = np.append(starts[1:], len(keys))
    return Boxes(starts, ends, side.cells[starts] >> (depth - level))


@dataclass(frozen=True, eq=False)
class Tree:
    """Near pairs one by one, and far boxes by expansions, as a plan."""

    scene: Scene
    sides: Sides
    levels: tuple[Level, ...]
    close: tuple[Close, ...]
    basis: Basis
    relative: float
    floor: float
    rounding: float
    together: int  # columns whose moments are held at a time
    workers: int
    words: str

    def apply(self, vectors: Array) -> Array:
        """(n, columns) → (m, columns)."""
        columns = np.ascontiguousarray(vectors[self.sides.sources.order].T)
        out = np.zeros((len(columns), self.sides.targets.points.shape[1]))
        if self.levels:
            # columns of a size about 1: what underflows is then in the floor
            exponents = np.clip(np.frexp(np.abs(columns).max(axis=1, keepdims=True))[1], -1000, 1000)
            scaled = np.ldexp(columns, -exponents)
            for level in self.levels:
                for first in range(0, len(columns), self.together):
                    self._far(level, scaled[first : first + self.together], out[first : first + self.together])
            with np.errstate(over="ignore"):  # a value that overflows has no certificate
                out = np.ldexp(out, exponents)
        out += self._near(columns)
        sums = np.empty(out.T.shape)
        sums[self.sides.targets.order] = out.T
        return sums

    def _far(self, level: Level, columns: Array, out: Array) -> None:
        """Add what boxes of one level send to each other."""
        c, size = len(columns), self.basis.size
        moments = np.empty((len(level.sources.starts), c, size))
        local = np.zeros((len(level.targets.starts), c, size))
        gather, scatter, send = tree_kernels.moments(), tree_kernels.values(), tree_kernels.sent()
        where, table = self.basis, level.packed

        def up(begin: int) -> None:
            gather(
                level.places[1], columns, level.sources.starts, level.sources.ends, where.lines, where.places, begin,
                min(begin + up_size, len(moments)), moments,
            )  # fmt: skip

        def across(part: int) -> None:
            send(
                *level.pairs, level.parts[part], level.parts[part + 1], level.factor, moments, where.turns, where.signs,
                table.orders, table.held, table.firsts, table.groups, table.data, local,
            )  # fmt: skip

        def down(begin: int) -> None:
            scatter(
                level.places[0], local, level.targets.starts, level.targets.ends, where.lines, where.places, begin,
                min(begin + down_size, len(local)), out,
            )  # fmt: skip

        up_size, down_size = -(-len(moments) // _TASKS), -(-len(local) // _TASKS)
        cpus.share(up, range(0, len(moments), up_size), self.workers)
        cpus.share(across, range(len(level.parts) - 1), self.workers)
        cpus.share(down, range(0, len(local), down_size), self.workers)

    def _near(self, columns: Array, values: Callable[[Array], Array] | None = None) -> Array:
        """(columns, m): the direct sums, in the order of the tree."""
        source, target = self.sides.sources, self.sides.targets
        out = np.zeros((len(columns), target.points.shape[1]))
        code = self.scene.code if values is None else None
        for close in self.close:
            count = len(close.boxes.starts)
            size = max(1, -(-count // (4 * _TASKS)))

            def compiled(begin: int, close: Close = close, size: int = size, count: int = count) -> None:
                assert code is not None
                tree_kernels.near()(
                    target.points, source.points, columns, close.boxes.starts, close.boxes.ends, close.firsts,
                    close.lows, close.highs, self.scene.graph, *code, begin, min(begin + size, count), out,
                )  # fmt: skip

            if code is not None:
                cpus.share(compiled, range(0, count, size), self.workers)
            else:
                self._own(close, columns, values or self.scene.function, out)
        return out

    def _own(self, close: Close, columns: Array, values: Callable[[Array], Array], out: Array) -> None:
        """The sums of some boxes with a function that takes arrays, of many pairs at a time."""
        source, target = self.sides.sources.points, self.sides.targets.points
        starts, counts = close.boxes.starts, close.boxes.ends - close.boxes.starts
        boxes = np.repeat(np.arange(len(starts)), counts)
        chosen = np.arange(len(boxes)) + np.repeat(starts - np.cumsum(counts) + counts, counts)
        passed = np.concatenate([[0], np.cumsum(close.highs - close.lows)])[close.firsts]  # sources before every box
        ends = np.cumsum(np.diff(passed)[boxes])  # pairs up to every target
        at = done = 0
        while at < len(boxes):
            end = max(at + 1, int(np.searchsorted(ends, done + _PAIRS, "right")))
            part = (chosen, boxes, close.firsts, close.lows, close.highs, self.scene.graph, at, end)
            z = np.empty(ends[end - 1] - done)
            tree_kernels.apart()(target, source, *part, z)
            weight = np.empty_like(z)
            weight[:] = values(z)
            tree_kernels.weighted()(weight, columns, *part, out)
            at, done = end, int(ends[end - 1])

    def doubt(self, sizes: Array) -> Array | float:
        """What undecided near pairs add, as :meth:`direct.Direct.doubt` has it."""
        if self.scene.code is not None:
            return 0.0
        return self._doubted(sizes, self._all().spread)

    def undecided(self) -> float:
        """A bound of the largest share of a weight that :meth:`doubt` may add."""
        if self.scene.code is not None:
            return 0.0
        return float(self._doubted(np.ones((len(self.scene.points), 1)), self._all().share).max(initial=0.0))

    def _doubted(self, sizes: Array, values: Callable[[Array], Array]) -> Array:
        found = self._near(np.ascontiguousarray(sizes[self.sides.sources.order].T), values)
        out = np.empty(found.T.shape)
        out[self.sides.targets.order] = found.T * (1.0 + 2.0**-20)
        return out

    def _all(self) -> direct.Direct:
        return direct.planned(self.scene, self.workers)


def require_served(scene: Scene) -> None:
    """Raise Infeasible for what the tree does not take."""
    d, f = scene.points.shape[1], scene.function
    if d > MOST_DIMENSION:
        raise Infeasible(f"{d} dimensions, more than {MOST_DIMENSION}")
    if not (f.completely_monotone and f.monotone == "decreasing" and f.weights):
        raise Infeasible("the function is not declared completely monotone")
    if f.last < math.inf:
        raise Infeasible("the function ends")


def planned(scene: Scene, relative: float, floor: float, pair: float, memory: int, workers: int) -> Tree:
    """The plan whose weights are within relative·w + floor of the exact ones (KG-10).

    pair: nanoseconds of one pair, which decide what is summed pair by pair.
    Raises :class:`~assay.spec.approximation.Infeasible`.
    """
    require_served(scene)
    near_relative, near_floor = rounding.of_pairs(scene)
    if scene.code is None:
        rounding.require_resolved(scene)  # boxes do not doubt
    d, n = scene.points.shape[1], len(scene.points)
    found = sides(scene.points, scene.targets)
    workers = workers if scene.code is not None else 1  # a function of the user's own need not bear threads
    builder = _Builder(scene, found, relative, floor, memory, workers, pair)
    levels, close = builder.run()
    square = max((design.square for designs in builder.used for design in designs), default=0)
    where = tree_operators.basis(d, square)
    run = functools.partial(_run, workers)
    distinct = {id(designs): 40.0 * sum(design.entries for design in designs) for designs in builder.used}
    if sum(distinct.values()) > memory:
        raise Infeasible(f"{sum(distinct.values()):.3g} bytes for expansions, more than {memory:.3g}")
    # Coulomb's expansions are those of boxes of side 1 at every level
    tables: dict[int, Packed] = {}
    ready = []
    for (make, factor), designs in zip(levels, builder.used, strict=True):
        if id(designs) not in tables:
            tables[id(designs)] = tree_operators.packed(designs, where, run)
        ready.append(make(tables[id(designs)], factor))
    size = max((len(x.sources.starts) + len(x.targets.starts) for x in ready), default=0) * where.size * 8
    held = sum(table.bytes for table in tables.values()) + builder.bytes
    if size + held > memory:
        raise Infeasible(f"{size + held:.3g} bytes for boxes, more than {memory:.3g}")
    together = min(_COLUMNS, int(memory - held) // max(size, 1))
    met, met_floor = near_relative, near_floor
    if ready:
        met, met_floor = max(near_relative, relative), max(near_floor, floor)
        each = zip(levels, builder.used, strict=True)
        met_floor += 2.0**-960 * max(factor * (1.0 + x.size) for (_, factor), designs in each for x in designs)
    elif builder.reason:
        raise Infeasible(builder.reason)
    # near pairs: sums of a tile, and tiles; or one sum.  Then what levels and ranges add
    flat = TILE + n // TILE + 2 if scene.code is not None else n
    words = (
        f"{len(ready)} levels of boxes, expansions of up to {where.size} functions, "
        f"{builder.pairs / max(len(scene.goals), 1):.0f} sources of a target one by one"
    )
    return Tree(
        scene, found, tuple(ready), tuple(close), where, met * SLACK, met_floor * SLACK,
        gamma(flat + len(ready) + 2.0 * len(close) + 8.0), together, workers, words,
    )  # fmt: skip


def _run(workers: int, call: Callable[[int], None], numbers: range) -> None:
    cpus.share(call, numbers, workers)


class _Builder:
    """The walk through pairs of boxes, level by level."""

    def __init__(
        self, scene: Scene, where: Sides, relative: float, floor: float, memory: int, workers: int, pair: float
    ) -> None:  # fmt: skip
        self.scene, self.where, self.memory, self.workers = scene, where, memory, workers
        self.relative, self.floor = relative, floor
        self.d = scene.points.shape[1]
        self.offsets = tree_operators.offsets(self.d)
        self.used: list[list[Designed]] = []
        self.bytes = 0
        self.pairs = 0.0
        self.reason = ""
        self.known: dict[float, list[Designed]] = {}
        self.cost = pair

    def designs(self, level: int) -> tuple[list[Designed], float]:
        """The expansions of a level, and what they are to be multiplied with."""
        side = self.where.length / 2.0**level
        square, factor, relative, floor = side * side, 1.0, self.relative, self.floor
        if self.scene.name == "coulomb":
            square, factor, floor = 1.0, float(side ** (-2.0 * self.scene.parameter)), 0.0
            relative -= 32.0 * U  # the factor errs by a few u
            if not 2.0**-900 < factor < 2.0**900:
                raise Infeasible(f"weights of {factor:.2g}")
        if square not in self.known:
            made: list[Any] = [None] * len(self.offsets)

            def one(index: int) -> None:
                made[index] = tree_operators.designed(
                    self.scene.function, square, self.offsets[index], relative, floor, len(self.scene.points)
                )

            _run(self.workers, one, range(len(self.offsets)))
            self.known[square] = made
        return self.known[square], factor

    def run(self) -> tuple[list[tuple[Callable[[Packed, float], Level], float]], list[Close]]:
        where, d = self.where, self.d
        depth = where.depth
        here = [boxes(side, 0, depth) for side in (where.targets, where.sources)]
        target = source = np.zeros(1, np.int64)
        levels: list[tuple[Callable[[Packed, float], Level], float]] = []
        close: list[Close] = []
        for level in range(depth + 1):
            counts = here[0].counts[target].astype(float) * here[1].counts[source]
            split = np.zeros(len(target), bool)
            if level < depth:
                try:
                    designs, factor = self.designs(max(level + 1, 2))
                    across = float(np.mean([design.entries for design in designs])) * ENTRY + 100.0
                    split = counts * self.cost > 4.0**d * across * _SPLIT
                except Infeasible as reason:
                    self.reason = str(reason)
            direct_now = [(target[~split], source[~split])]
            target, source = target[split], source[split]
            if len(target):
                following = [boxes(side, level + 1, depth) for side in (where.targets, where.sources)]
                costs = np.array([design.entries for design in designs]) * ENTRY + 100.0
                opened, sent, few = self.expanded(target, source, here, following, costs)
                close_next = few
            else:
                following, opened, sent, close_next = here, (target, source), None, None
            self.add_close(close, here, direct_now)
            if sent is not None and len(sent[0]):
                levels.append((functools.partial(self.level, following, sent, level + 1, designs), factor))
                self.used.append(designs)
                self.bytes += sum(x.nbytes for x in sent) * 2
            if close_next is not None and len(close_next[0]):
                self.add_close(close, following, [close_next])
            if self.bytes > self.memory:
                raise Infeasible(f"more than {self.memory:.3g} bytes for pairs of boxes")
            target, source = opened
            here = following
            if not len(target):
                break
        return levels, close

    def expanded(
        self, target: Ints, source: Ints, here: list[Boxes], following: list[Boxes], costs: Array
    ) -> tuple[tuple[Ints, Ints], tuple[Ints, ...], tuple[Ints, Ints]]:  # fmt: skip
        """Children of pairs: those that are neighbours, those that send (with operator, turn, flip), and the few."""
        first = [np.searchsorted(after.starts, before.starts) for before, after in zip(here, following, strict=True)]
        last = [
            np.searchsorted(after.starts, before.ends - 1, side="right")
            for before, after in zip(here, following, strict=True)
        ]
        many = [b - a for a, b in zip(first, last, strict=True)]
        total = many[0][target] * many[1][source]
        ends = np.cumsum(total)
        opened: list[tuple[Ints, Ints]] = []
        sent: list[tuple[Ints, ...]] = []
        few: list[tuple[Ints, Ints]] = []
        begin = 0
        while begin < len(target):
            before = ends[begin - 1] if begin else 0
            end = max(begin + 1, int(np.searchsorted(ends, before + _EXPANDED, side="right")))
            t, s, size = target[begin:end], source[begin:end], total[begin:end]
            number = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
            width = np.repeat(many[1][s], size)
            a = np.repeat(first[0][t], size) + number // width
            b = np.repeat(first[1][s], size) + number % width
            offset = following[0].cells[a] - following[1].cells[b]
            apart = np.abs(offset)
            far = apart.max(axis=1) >= 2
            opened.append((a[~far], b[~far]))
            a, b, offset, apart = a[far], b[far], offset[far], apart[far]
            order = np.argsort(-apart, axis=1, kind="stable")
            operator, turn = self.numbers(np.take_along_axis(apart, order, 1), order)
            flip = ((np.take_along_axis(offset, order, 1) < 0) << np.arange(self.d)).sum(axis=1)
            counts = following[0].counts[a].astype(float) * following[1].counts[b]
            short = counts * self.cost <= costs[operator]
            few.append((a[short], b[short]))
            sent.append(tuple(x[~short].astype(np.int64) for x in (a, b, operator, turn, flip)))
            self.bytes += 8 * (2 * len(opened[-1][0]) + 2 * len(few[-1][0]) + 5 * len(sent[-1][0]))
            if self.bytes > self.memory:
                raise Infeasible(f"more than {self.memory:.3g} bytes for pairs of boxes")
            begin = end
        return (
            (np.concatenate([x[0] for x in opened]), np.concatenate([x[1] for x in opened])),
            tuple(np.concatenate([x[k] for x in sent]) for k in range(5)),
            (np.concatenate([x[0] for x in few]), np.concatenate([x[1] for x in few])),
        )

    def numbers(self, sizes: Ints, order: Ints) -> tuple[Ints, Ints]:
        """The operator of sorted offsets, and the row of ``Basis.turns`` for the order of the axes."""
        base = tree_operators.MOST_OFFSET + 1
        table = np.full(base**self.d, -1)
        powers = base ** np.arange(self.d)
        for index, offset in enumerate(self.offsets):
            table[int(np.array(offset) @ powers)] = index
        operator = table[sizes @ powers]
        assert (operator >= 0).all()
        turn = np.zeros(len(order), np.int64)  # the place of a permutation among all in their order
        for axis in range(self.d):
            smaller = (order[:, axis + 1 :] < order[:, axis, None]).sum(axis=1)
            turn = turn + smaller * math.factorial(self.d - 1 - axis)
        return operator, turn

    def level(
        self, following: list[Boxes], sent: tuple[Ints, ...], level: int, designs: list[Designed], packed: Packed,
        factor: float,
    ) -> Level:  # fmt: skip
        """What is sent at a level, between those of its boxes that send or receive."""
        chosen, numbers, places = [], [], []
        for which, side in ((0, self.where.targets), (1, self.where.sources)):
            used, inverse = np.unique(sent[which], return_inverse=True)
            every = following[which]
            chosen.append(Boxes(every.starts[used], every.ends[used], every.cells[used]))
            numbers.append(inverse.astype(np.int64))
            places.append(_placed(side, chosen[-1], self.where.length / 2.0 ** (level + 1)))
        tasks = min(_TASKS, len(sent[0]) // (4 * tree_kernels.WIDTH * len(self.offsets)) + 1)
        size = max(1, -(-len(chosen[0].starts) // tasks))
        part = numbers[0] // size
        order = np.lexsort((sent[2], part))
        pairs = tuple(np.ascontiguousarray(x[order]) for x in (*numbers, *sent[2:]))
        parts = np.searchsorted(part[order], np.arange(int(part.max()) + 2)).astype(np.int64)
        return Level(
            chosen[1], chosen[0], (places[0], places[1]), pairs, parts, packed, factor  # type: ignore[arg-type]
        )  # fmt: skip

    def add_close(self, close: list[Close], here: list[Boxes], pairs: list[tuple[Ints, Ints]]) -> None:
        """Add pairs of boxes that are summed one by one; neighbouring ranges of sources are one."""
        target = np.concatenate([x[0] for x in pairs])
        source = np.concatenate([x[1] for x in pairs])
        if not len(target):
            return
        order = np.lexsort((source, target))
        target, source = target[order], source[order]
        lows, highs = here[1].starts[source], here[1].ends[source]
        self.pairs += float(((highs - lows) * here[0].counts[target].astype(float)).sum())
        fresh = np.append(True, (target[1:] != target[:-1]) | (lows[1:] != highs[:-1]))
        begins = np.flatnonzero(fresh)
        lows, highs = lows[begins], highs[np.append(begins[1:], len(highs)) - 1]
        used, firsts = np.unique(target[begins], return_index=True)
        every = here[0]
        chosen = Boxes(every.starts[used], every.ends[used], every.cells[used])
        self.bytes += 8 * (len(lows) * 2 + len(used) * 4)
        close.append(Close(chosen, np.append(firsts, len(lows)).astype(np.int64), lows, highs))


def _placed(side: Side, chosen: Boxes, half: float) -> Array:
    """(d, n): the places of points in their boxes, in [−1, 1] (KG-10), for boxes of half a side ``half``."""
    n = side.points.shape[1]
    out = np.zeros((len(side.whole), n))
    counts = chosen.counts
    at = np.repeat(chosen.starts - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))
    for axis, row in enumerate(out):
        middle = np.repeat((2 * chosen.cells[:, axis] + 1).astype(np.float64) * half, counts)
        row[at] = ((side.whole[axis, at] - middle) + side.rest[axis, at]) / (half * tree_operators.ENLARGED)
    return out
