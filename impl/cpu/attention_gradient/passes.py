"""The passes of a gradient: moments of the keys, rows of the queries and their moments, rows of the keys.

Threads share the work; the order of every sum is fixed, so that the result does not depend on their number.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import features
from assay.impl.cpu.attention_gradient import sweeps
from assay.impl.cpu.features import BLOCK, CHUNK, Band

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from assay.impl.cpu.attention.heads import Head
    from assay.impl.cpu.attention.passes import Team
    from assay.impl.cpu.attention_gradient.plan import Plan

    Array = NDArray[np.float64]
    Moments = Callable[[int, int], Array]

__all__ = ["Sums", "passed"]


@dataclass(frozen=True, eq=False)
class Sums:
    """What the passes found.

    grad_key (n_k, d), grad_value (n_k, d_v): in units of the plan.  near (n_k, 2): Σ_i p̃_ij w_i and Σ_i p̃_ij h_i u_i.
    weights (2,): Σ_i w_i/Ẑ_i and Σ_i h_i u_i/Ẑ_i (GRAD-7); h_i in units of ⟨dO, V⟩.  share: the least Ẑ_i/touched.
    """

    grad_key: Array
    grad_value: Array
    near: Array
    weights: Array
    share: float


def passed(plan: Plan, head: Head, grad_output: NDArray[Any], weights: Array, out: NDArray[Any], team: Team) -> Sums:
    """Write the rows of grad_query to ``out`` (group, n_q, d), and return the sums over the queries of the group.

    grad_output (group, n_q, d_v).  weights (group, n_q, 3): those of the sizes (GRAD-7).
    """
    of_keys = _of_keys(plan, head)
    weights = weights * np.array([1.0, 1.0, 1.0 / plan.size])  # sums of sizes in units of the plan do not vanish
    blocks = list(team.ordered(of_keys, _blocks(len(head.key))))
    team.advance(len(head.key))
    return (_banded if head.banded else _full)(plan, head, grad_output, weights, out, blocks, team)


def _full(
    plan: Plan, head: Head, grad_output: NDArray[Any], weights: Array, out: NDArray[Any], blocks: list[Array],
    team: Team,
) -> Sums:  # fmt: skip
    """All queries see all keys: two tables in all, and what a query leaves for the keys is summed at once."""
    n, columns = len(head.key), head.value.shape[1]
    of_keys, touched = _added(blocks)[None], np.array([n])
    mirrored = _mirrored(head)

    def evaluated(member: int, first: int, last: int) -> tuple[int, float, Array, Array]:
        query = head.queries[member]
        stored, least = sweeps.queries(
            plan, head, query, grad_output[member], weights[member], of_keys, touched, first, last, out[member]
        )
        table = _of_queries(plan, query[first:last], stored)
        return last - first, least, stored[:, columns + 1 :].sum(axis=0), table

    share, total, tables = math.inf, np.zeros(2), np.zeros((len(plan.table.parent), columns + 3))
    for count, least, sums, table in team.ordered(evaluated, _rows(head)):
        share, total = min(share, least), total + sums
        tables += table
        team.advance(count)
    grad_key, grad_value = np.zeros(head.key.shape), np.zeros((n, columns + 2))
    nothing = np.zeros((0, columns + 3))

    def added(first: int, last: int) -> None:
        sweeps.keys(plan, head, head.queries[0], nothing, tables[None], mirrored, first, last, grad_key, grad_value)

    for _ in team.ordered(added, _blocks(n)):
        pass
    return Sums(grad_key, grad_value[:, :columns], grad_value[:, columns:], total, share)


def _banded(
    plan: Plan, head: Head, grad_output: NDArray[Any], weights: Array, out: NDArray[Any], blocks: list[Array],
    team: Team,
) -> Sums:  # fmt: skip
    """Queries see a band of the keys: tables slide along the queries, and then along the keys."""
    n, columns = len(head.key), head.value.shape[1]
    group, n_q, _ = head.queries.shape
    of_keys, mirrored = _of_keys(plan, head), _mirrored(head)
    stored = np.empty((group, n_q, columns + 3))

    def evaluated(member: int, first: int, last: int) -> tuple[int, float, Array]:
        least = math.inf
        for begin, end, tables, touched in _slid(of_keys, blocks, head.band, first, last, n_q):
            stored[member, begin:end], here = sweeps.queries(
                plan, head, head.queries[member], grad_output[member], weights[member], tables, touched, begin, end,
                out[member],
            )  # fmt: skip
            least = min(least, here)
        return last - first, least, stored[member, first:last, columns + 1 :].sum(axis=0)

    share, total = math.inf, np.zeros(2)
    for count, least, sums in team.ordered(evaluated, _rows(head)):
        share, total = min(share, least), total + sums
        team.advance(count)
    grad_key, grad_value = np.zeros(head.key.shape), np.zeros((n, columns + 2))

    def of_queries(member: int, first: int, last: int) -> Array:
        return _of_queries(plan, head.queries[member, first:last], stored[member, first:last])

    def added(member: int, of_blocks: list[Array], first: int, last: int) -> None:
        moments = functools.partial(of_queries, member)
        for begin, end, tables, _ in _slid(moments, of_blocks, mirrored, first, last, n):
            sweeps.keys(
                plan, head, head.queries[member], stored[member], tables, mirrored, begin, end, grad_key, grad_value
            )

    for member in range(group):
        of_blocks = list(team.ordered(functools.partial(of_queries, member), _blocks(n_q)))
        for _ in team.ordered(functools.partial(added, member, of_blocks), _blocks(n)):
            pass
    return Sums(grad_key, grad_value[:, :columns], grad_value[:, columns:], total, share)


def _mirrored(head: Head) -> Band:
    """The queries that see every key."""
    return Band(-head.band.offset, head.band.right, head.band.left, int(head.queries.shape[1]))


def _rows(head: Head) -> list[tuple[int, int, int]]:
    """Member of the group, first and last row of every block of queries."""
    group, n_q, _ = head.queries.shape
    return [(member, *ends) for member in range(group) for ends in _blocks(n_q)]


def _of_queries(plan: Plan, query: NDArray[Any], stored: Array) -> Array:
    """(padded rank, columns): the moments of some queries and of what they leave for the keys."""
    columns = stored.shape[1]
    return features.moments(
        query.astype(np.float64), stored, plan.table, coordinates=plan.frame.queries, middle=np.zeros(columns),
        shrink=np.ones(columns), first=0, last=len(query),
    )[:, :-1]  # fmt: skip


def _of_keys(plan: Plan, head: Head) -> Moments:
    def moments(first: int, last: int) -> Array:
        return features.moments(
            head.key, head.value, plan.table, coordinates=plan.frame.keys, middle=head.middle, shrink=1.0 / head.grow,
            first=first, last=last,
        )  # fmt: skip

    return moments


def _blocks(count: int) -> list[tuple[int, int]]:
    return [(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK)]


def _added(tables: list[Array]) -> Array:
    """The sum of the tables, in their order."""
    total = tables[0].copy()
    for table in tables[1:]:
        total += table
    return total


def _slid(
    moments: Moments, blocks: list[Array], band: Band, first: int, last: int, rows: int
) -> Iterator[tuple[int, int, Array, NDArray[np.int64]]]:
    """The rows first … last−1 in groups: begin, end, the tables of their chunks, and what entered each table.

    A table holds the points that all rows of its chunk see.  The first one is a sum of blocks and of two parts of
    blocks; each later one is the one before, with what is new added and what is gone subtracted.  ``rows`` is the
    number of all rows, and ``blocks`` are the moments of all blocks of points.
    """

    def bounds(row: int) -> tuple[int, int]:
        begin = band.start(min(row + CHUNK, rows) - 1)
        return begin, max(begin, band.stop(row))

    low, high = bounds(first)
    current, entered = _range(moments, blocks, low, high), high - low
    for begin in range(first, last, sweeps.GROUP):
        end = min(begin + sweeps.GROUP, last)
        tables, touched = [], []
        for row in range(begin, end, CHUNK):
            after = bounds(row)
            if after[1] > high:
                current = current + moments(high, after[1])
            if after[0] > low:
                current = current - moments(low, after[0])
            entered += after[1] - high + after[0] - low
            low, high = after
            tables.append(current)
            touched.append(entered)
        yield begin, end, np.array(tables), np.array(touched)


def _range(moments: Moments, blocks: list[Array], low: int, high: int) -> Array:
    """The moments of points low … high − 1, from those of whole blocks where they are whole."""
    inner = range(-(-low // BLOCK), high // BLOCK)
    if len(inner) == 0:
        parts = [(at, min(at + BLOCK, high)) for at in range(low, high, BLOCK)]
    else:
        parts = [(low, inner.start * BLOCK), (inner.stop * BLOCK, high)]
    total = np.zeros_like(blocks[0])
    for part in itertools.chain((moments(*ends) for ends in parts if ends[0] < ends[1]), (blocks[i] for i in inner)):
        total += part
    return total
