"""The passes of a gradient: moments of the keys, rows of the queries and their moments, rows of the keys.

Threads share the work; the order of every sum is fixed, so that the result does not depend on their number.
"""

from __future__ import annotations

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

    grad_key (n_k, d), grad_value (n_k, d_v): in units of the plan.  near (n_k, 2): Σ_i p̃_ij weights_i, for each key.
    weights (2,): Σ_i weights_i/Ẑ_i.  share: the least Ẑ_i/touched.
    """

    grad_key: Array
    grad_value: Array
    near: Array
    weights: Array
    share: float


def passed(plan: Plan, head: Head, grad_output: NDArray[Any], weights: Array, out: NDArray[Any], team: Team) -> Sums:
    """Write the rows of grad_query to ``out`` (group, n_q, d), and return the sums over the queries of the group.

    grad_output (group, n_q, d_v).  weights (group, n_q, 2): columns whose sums with p̃ are wanted too.
    """
    n, w, d = len(head.key), head.value.shape[1], head.key.shape[1]
    grad_key, grad_value = np.zeros((n, d)), np.zeros((n, w + 2))
    mirrored = Band(-head.band.offset, head.band.right, head.band.left, int(head.queries.shape[1]))
    of_keys = _of_keys(plan, head)
    blocks = list(team.ordered(of_keys, _blocks(n)))
    share, total = math.inf, np.zeros(2)
    everything = np.zeros(0)
    for query, grads, columns, rows in zip(head.queries, grad_output, weights, out, strict=True):
        count = len(query)
        stored = np.empty((count if head.banded else 0, w + 3))

        def of_queries(first: int, last: int, query: Any = query, stored: Array = stored, base: int = 0) -> Array:
            return features.moments(
                query[first:last].astype(np.float64), stored[first - base : last - base], plan.table,
                coordinates=plan.frame.queries, middle=np.zeros(w + 3), shrink=np.ones(w + 3), first=0,
                last=last - first,
            )[:, :-1]  # fmt: skip

        def evaluated(
            first: int, last: int, query: Any = query, grads: Any = grads, columns: Any = columns, rows: Any = rows,
            moments: Any = of_queries,
        ) -> tuple[int, Array, float, Array]:  # fmt: skip
            if head.banded:
                parts, least = [], math.inf
                for begin, end, tables, touched in _slid(of_keys, blocks, head.band, first, last, count):
                    found, here = sweeps.queries(
                        plan, head, query, grads, columns, tables, touched, begin, end, rows
                    )
                    parts.append(found)
                    least = min(least, here)
                return first, np.concatenate(parts), least, np.zeros(0)
            found, least = sweeps.queries(
                plan, head, query, grads, columns, whole, np.array([n]), first, last, rows
            )
            return first, found[:, w + 1 :].sum(axis=0), least, moments(first, last, stored=found, base=first)

        whole = np.zeros((0, 0, 0)) if head.banded else _added(blocks)[None]
        tables = []
        for first, found, least, table in team.ordered(evaluated, _blocks(count)):
            share = min(share, least)
            if head.banded:
                stored[first : first + len(found)] = found
                total += found[:, w + 1 :].sum(axis=0)
            else:
                total += found
                tables.append(table)
            team.advance(min(BLOCK, count - first))
        if head.banded:
            of_blocks = list(team.ordered(of_queries, _blocks(count)))

            def added(
                first: int, last: int, query: Any = query, stored: Array = stored, moments: Any = of_queries,
                of_blocks: Any = of_blocks,
            ) -> int:  # fmt: skip
                for begin, end, tables, _ in _slid(moments, of_blocks, mirrored, first, last, n):
                    sweeps.keys(plan, head, query, stored, tables, mirrored, begin, end, grad_key, grad_value)
                return last - first

            for _ in team.ordered(added, _blocks(n)):
                pass
        else:
            here = _added(tables)
            everything = here if len(everything) == 0 else everything + here
    if not head.banded:
        nobody = np.zeros((0, w + 3))

        def rows_of_keys(first: int, last: int) -> int:
            sweeps.keys(
                plan, head, head.queries[0], nobody, everything[None], mirrored, first, last, grad_key, grad_value
            )
            return last - first

        for done in team.ordered(rows_of_keys, _blocks(n)):
            team.advance(done)
    return Sums(grad_key, grad_value[:, :w], grad_value[:, w:], total, share)


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
