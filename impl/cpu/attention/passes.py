"""The passes over keys and queries: the moments of the keys, then every row from them.

Threads share the work; the order of every sum is fixed, so that the result does not depend on their number.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import features
from assay.impl.cpu.attention.certificate import GROUP, roundings, run
from assay.impl.cpu.features import CHUNK, Extremes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from assay.impl.cpu.attention.heads import Head
    from assay.impl.cpu.attention.plan import Plan

    Array = NDArray[np.float64]

__all__ = ["Team", "passed", "tree", "weighted"]

_ROWS = 32 * CHUNK  # rows of one task


@dataclass(frozen=True)
class Team:
    """Threads, and the function that is called with the number of points just done."""

    pool: Executor
    workers: int
    advance: Callable[[int], None]

    def ordered(self, part: Callable[..., Any], items: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield part(*item) for every item, in order; at most two items for each worker wait at a time."""
        if self.workers == 1 or (isinstance(items, Sized) and len(items) == 1):
            yield from itertools.starmap(part, items)
            return
        waiting: deque[Any] = deque()
        for item in items:
            waiting.append(self.pool.submit(part, *item))
            if len(waiting) >= 2 * self.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def passed(head: Head, plan: Plan, out: NDArray[Any], team: Team) -> list[Extremes]:
    """Write the rows of every query head of the group to ``out`` (group, n_q, d_v); return the extremes of each."""
    return _banded(head, plan, out, team) if head.banded else _full(head, plan, out, team)


def _full(head: Head, plan: Plan, out: NDArray[Any], team: Team) -> list[Extremes]:
    n = len(head.key)

    def summed(first: int) -> tuple[int, Array]:
        last = min(first + features.BLOCK, n)
        return last - first, _moments(head, plan, first, last)

    total = tree(team, team.ordered(summed, _firsts(n, features.BLOCK)))
    table = weighted(plan, total[None])
    touched = np.array([n])
    found = []
    for query, rows in zip(head.queries, out, strict=True):

        def evaluated(first: int, query: NDArray[Any] = query, rows: NDArray[Any] = rows) -> tuple[int, Extremes]:
            last = min(first + _ROWS, len(query))
            return last - first, _evaluate(head, plan, query, rows, table, touched, first, last)

        best = _nothing(rows)
        for count, here in team.ordered(evaluated, _firsts(len(query), _ROWS)):
            best = best.joined(here)
            team.advance(count)
        found.append(best)
    return found


def _banded(head: Head, plan: Plan, out: NDArray[Any], team: Team) -> list[Extremes]:
    """The rows of a banded head, in groups of eight chunks.

    The sums over the keys that all rows of a chunk attend to slide from one chunk to the next.  They are begun anew
    every :func:`run` rows, because the roundings of all keys that were added and subtracted since stay in them (ATT-5).
    """
    n_q, band = head.queries.shape[1], head.band
    restart = run(head)

    def bounds(row: int) -> tuple[int, int]:
        """The range of keys that all rows of a chunk attend to; the chunk begins at ``row``."""
        begin = band.start(min(row + CHUNK, n_q) - 1)
        return begin, max(begin, band.stop(row))

    def summed(first: int) -> tuple[int, Array | None, Array, Array, list[int]]:
        """What a group of chunks contributes to the sliding sums.

        Returns its first row; the sum that a run begins with, or ``None`` within a run; what is added and what is
        dropped after every chunk; and the numbers of keys in these sums.
        """
        rows = range(first, min(first + GROUP, n_q), CHUNK)
        edges = [bounds(row) for row in rows] + [bounds(first + GROUP) if first + GROUP < n_q else bounds(rows[-1])]
        begin = None
        if first % restart == 0:
            begin = np.zeros((len(plan.table.parent), head.value.shape[1] + 1))
            for at in range(edges[0][0], edges[0][1], features.BLOCK):
                begin += _moments(head, plan, at, min(at + features.BLOCK, edges[0][1]))
        steps = list(itertools.pairwise(edges))
        added = [_moments(head, plan, here[1], after[1]) for here, after in steps]
        dropped = [_moments(head, plan, here[0], after[0]) for here, after in steps]
        counts = [after[1] - here[1] + after[0] - here[0] for here, after in steps]
        return first, begin, np.array(added), np.array(dropped), [edges[0][1] - edges[0][0], *counts]

    def evaluated(first: int, tables: Array, touched: NDArray[np.int64]) -> tuple[int, list[Extremes]]:
        last = min(first + GROUP, n_q)
        table = weighted(plan, tables)
        return last - first, [
            _evaluate(head, plan, query, rows, table, touched, first, last)
            for query, rows in zip(head.queries, out, strict=True)
        ]

    def slid() -> Iterator[tuple[int, Array, NDArray[np.int64]]]:
        """Yield every group: its first row, the tables of its chunks, and how many keys entered or left each table."""
        current, entered = np.zeros(0), 0
        for first, begin, added, dropped, counts in team.ordered(summed, _firsts(n_q, GROUP)):
            if begin is not None:
                current, entered = begin, counts[0]
            tables, touched, here = [], [], np.zeros_like(current)
            for more, less, count in zip(added, dropped, counts[1:], strict=True):
                tables.append(current + here)
                touched.append(entered)
                here, entered = here + more - less, entered + count
            current = current + here
            yield first, np.array(tables), np.array(touched)

    found = [_nothing(rows) for rows in out]
    for count, parts in team.ordered(evaluated, slid()):
        found = [before.joined(here) for before, here in zip(found, parts, strict=True)]
        team.advance(len(head.queries) * count)
    team.advance(len(head.key))
    return found


def _firsts(count: int, step: int) -> list[tuple[int]]:
    """The first number of every ``step`` below ``count``, as the arguments of a task."""
    return [(first,) for first in range(0, count, step)]


def _moments(head: Head, plan: Plan, first: int, last: int) -> Array:
    return features.moments(
        head.key, head.value, plan.table, coordinates=plan.frame.keys, middle=plan.middle, shrink=1.0 / plan.grow,
        first=first, last=last,
    )  # fmt: skip


def weighted(plan: Plan, tables: Array) -> Array:
    """Moments times their weights in the polynomial.

    With a measure by moments, the column of the sum of weights is repeated with the weights of the powers of scores.
    """
    sums = tables * plan.weights
    if plan.measure.order == 0:
        return sums
    return np.concatenate([sums, tables[:, :, -1:] * plan.moment_weights[:, None]], axis=2)


def _evaluate(
    head: Head, plan: Plan, query: NDArray[Any], rows: NDArray[Any], table: Array, touched: NDArray[np.int64],
    first: int, last: int,
) -> Extremes:  # fmt: skip
    order = plan.power
    return features.evaluate(
        query, plan.table, table, coordinates=plan.frame.queries, middle=plan.middle, grow=plan.grow,
        hull=(head.least, head.largest), first=first, last=last, out=rows, order=order, ratio=plan.ratio,
        slack=plan.slack(roundings(head, plan, order) + 16), kurtosis=plan.measure.kurtosis,
        coefficients=plan.coefficients, band=head.band, touched=touched, keys=head.key, values=head.value,
        key_coordinates=plan.frame.keys,
    )  # fmt: skip


def tree(team: Team, parts: Iterable[tuple[int, Array]]) -> Array:
    """The sum of b tables by a tree in which no leaf is deeper than ⌈log₂ b⌉ + 1 (ATT-5)."""
    stack: list[tuple[int, Array]] = []
    for count, table in parts:
        height = 0
        while stack and stack[-1][0] == height:
            table = stack.pop()[1] + table
            height += 1
        stack.append((height, table))
        team.advance(count)
    total = stack.pop()[1]
    while stack:
        total = stack.pop()[1] + total
    return total


def _nothing(rows: NDArray[Any]) -> Extremes:
    return Extremes(math.inf, 0.0, np.full(rows.shape[1], math.inf), np.full(rows.shape[1], -math.inf))
