"""Polynomials where a query attends to a band of the keys: causal masks and windows, by running sums over blocks.

Blocks lie in segments.  What 32 queries attend to, all of them, is the end of one segment and the beginning of the
next: two tables are added, and nothing is ever subtracted.  The fewer keys beside these are taken one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.features import rank
from assay.impl.gpu import features
from assay.impl.gpu.choice import Size
from assay.impl.gpu.features import COLUMNS, ROWS, SUMMED, THREADS, Hull, address_of
from assay.impl.gpu.machine import TYPES, Launch, struct, view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assay.impl.gpu.choice import Plan
    from assay.impl.gpu.features import Points, Table
    from assay.impl.gpu.machine import Machine

__all__ = ["Band", "BandedSize", "Blocks", "beside", "evaluate", "passed", "roundings", "running", "summed"]

_NEAR = 16  # keys that are taken one by one lie in shared memory so many at a time, as in features.cu
_LEAST, _MOST = 64, 4096  # keys of a block, where memory allows


@dataclass(frozen=True)
class Band:
    """Row i attends to the keys i + t − left ≤ j ≤ i + t + right; a side that is ``None`` has no limit, and one has.

    ends: whether t is the number of keys of the batch less that of queries, and not 0.
    """

    ends: bool
    left: int | None
    right: int | None


@dataclass(frozen=True)
class Blocks:
    """How keys are summed for rows that attend to some: in blocks of ``each`` keys, and ``segment`` blocks a segment.

    each: a power of two, at least 64.  tables: what is kept of a block; two where rows have a first and a last key.
    """

    count: int
    each: int
    segment: int
    tables: int

    @classmethod
    def of(cls, keys: int, each: int, band: Band) -> Blocks:
        """The segments of GPU-17."""
        count = max(-(-keys // each), 1)
        if band.left is None or band.right is None:
            return cls(count, each, count, 1)
        whole = (band.left + band.right + 1) // each
        return cls(count, each, min(max(whole - 1, 1), count), 2)


@dataclass(frozen=True)
class BandedSize(Size):
    """That of heads whose queries attend to a band.  A block has about as many keys as there are monomials."""

    band: Band

    def blocks(self, degree: int) -> Blocks:
        """The blocks of a head.  Raises :class:`~assay.spec.approximation.Infeasible` where not one has room."""
        each = max(min(1 << (rank(self.dimension, degree) - 1).bit_length(), _MOST), _LEAST)
        while True:
            found = Blocks.of(self.keys[0], each, self.band)
            if self.storage(degree, found) <= self.memory:
                return found
            if found.count == 1:
                raise self.too_large(degree)
            each *= 2

    def storage(self, degree: int, by: Blocks) -> int:
        """The bytes of the tables of one head."""
        return self.table(degree) * by.count * by.tables

    def at_once(self, degree: int) -> int:
        """How many heads there is room for, at least one."""
        return max(self.memory // self.storage(degree, self.blocks(degree)), 1)

    def roundings(self, degree: int) -> list[int]:
        by = self.blocks(degree)
        return [roundings(self.dimension, degree, m, by) for m in range(degree + 1)]


def roundings(dimension: int, degree: int, m: int, by: Blocks) -> int:
    """K_m of GPU-17: the most roundings that a term of degree m meets where rows attend to a band."""
    monomial, of_sum = max(m - 1, 0), by.tables - 1 + -(-rank(dimension, m) // 4)
    of_table = monomial + summed(degree, m, by) + of_sum
    return max(of_table, (dimension + 1) * m + 1) + -(-beside(by) // 4) + 2 + 3


def summed(degree: int, m: int, by: Blocks) -> int:
    """The most roundings that a term of degree m meets on its way into a table."""
    in_block = min(SUMMED, by.each) + -(-by.each // SUMMED) - 1
    return max(m - 1, 0) + in_block + by.segment - 1 + 2 + 2 * max(degree - features.EXACT_FACTORIAL, 0)


def beside(by: Blocks) -> int:
    """The most keys that a row takes one by one."""
    return by.tables * by.each + ROWS


def passed(
    machine: Machine, queries: Points, keys: Points, values: Any, hull: Hull, plan: Plan, size: BandedSize
) -> tuple[Any, Any]:
    """The rows and the least Z/n_i of every head, one part of the heads after the other as memory allows."""
    (b, h, rows, _), (h_k, columns) = queries.array.shape, (values.shape[1], values.shape[3])
    of, by = features.table(machine, size.dimension, plan.degree), size.blocks(plan.degree)
    weights = machine.laid(plan.weights(size.dimension))
    polynomial = machine.laid(np.array(plan.approximation.coefficients, np.float64))
    out, share = machine.empty((b, h, rows, columns), values.dtype), machine.empty((b * h,), np.float64)
    for batches, heads in _parts(b, h_k, size.at_once(plan.degree)):
        members = range(heads.start * (h // h_k), heads.stop * (h // h_k))
        some_keys, some_queries = _part(keys, batches, heads), _part(queries, batches, members)
        value, some_hull = values[_of(batches), _of(heads)], _hull(hull, _rows(batches, heads, h_k))
        tables = running(machine, of, some_keys, value, some_hull, weights, by, size.band)
        share[_of(_rows(batches, members, h))] = evaluate(
            machine, of, some_queries, some_keys, value, tables, some_hull, polynomial, by, size.band,
            out[_of(batches), _of(members)],
        )  # fmt: skip
    return out, share


def _parts(batches: int, heads: int, most: int) -> Iterator[tuple[range, range]]:
    """All heads of all batches, at most ``most`` at a time: whole batches, or heads of one."""
    if most >= heads:
        for first in range(0, batches, most // heads):
            yield range(first, min(first + most // heads, batches)), range(heads)
        return
    for batch in range(batches):
        for first in range(0, heads, most):
            yield range(batch, batch + 1), range(first, min(first + most, heads))


def _of(part: range) -> slice:
    return slice(part.start, part.stop)


def _rows(batches: range, heads: range, count: int) -> range:
    """Where these heads are among all heads of all batches: whole batches, or heads of one."""
    return range(batches.start * count + heads.start, (batches.stop - 1) * count + heads.stop)


def _part(points: Points, batches: range, heads: range) -> Points:
    rows = _of(_rows(batches, heads, points.array.shape[1]))
    return replace(
        points,
        array=points.array[_of(batches), _of(heads)],
        lengths=None if points.lengths is None else points.lengths[_of(batches)],
        centre=None if points.centre is None else points.centre[rows],
        factor=points.factor[rows],
    )


def _hull(hull: Hull, rows: range) -> Hull:
    middle = None if hull.middle is None else hull.middle[_of(rows)]
    return Hull(hull.least[_of(rows)], hull.largest[_of(rows)], middle, hull.grow[_of(rows)])


def running(
    machine: Machine, of: Table, keys: Points, values: Any, hull: Hull, weights: Any, by: Blocks, band: Band
) -> tuple[Any, Any]:
    """Sums over the blocks of a segment up to each, and from each on, times weights; one that no row needs is ``None``.

    Each is (batch·heads, blocks, padded, columns + 1).
    """
    of_blocks = features.sums(machine, of, keys, values, hull.middle, hull.grow, by.count, by.each)
    prefix = None if band.right is None else of_blocks
    suffix = None if band.left is None else of_blocks if prefix is None else machine.empty(of_blocks.shape, np.float64)
    heads, _, padded, width = of_blocks.shape
    count = heads * -(-by.count // by.segment) * padded * width
    arguments = struct(
        sums=machine.address(of_blocks),
        weights=machine.address(weights),
        prefix=address_of(machine, prefix),
        suffix=address_of(machine, suffix),
        blocks=by.count,
        segment=by.segment,
        padded=padded,
        width=width,
        count=count,
    )
    machine.run("features.cu", "features_scan", arguments, features.blocks(count))
    return prefix, suffix


def evaluate(
    machine: Machine, of: Table, queries: Points, keys: Points, values: Any, tables: tuple[Any, Any], hull: Hull,
    polynomial: Any, by: Blocks, band: Band, out: Any,
) -> Any:  # fmt: skip
    """Write the rows of :func:`assay.impl.gpu.features.evaluate`, where each attends to a band, to ``out``.

    Returns the least Z/n_i of every head, where n_i is the number of keys of a row; a row without a key is 0.
    tables: of :func:`running`.  polynomial (degree + 1,): coefficients.
    """
    b, heads, rows, dim = queries.array.shape
    columns, tiles = values.shape[3], max(-(-rows // ROWS), 1)
    share = machine.empty((b * heads, tiles), np.float64)
    far = rows + values.shape[2]  # no row reaches farther
    arguments = struct(
        **features.evaluation(machine, of, queries, None, hull, heads // values.shape[1], out, share),
        **{f"key_{name}": member for name, member in keys.members(machine).items()},
        values=view(machine, values, values.shape),
        prefix=address_of(machine, tables[0]),
        suffix=address_of(machine, tables[1]),
        polynomial=machine.address(polynomial),
        value_type=TYPES.index(values.dtype.name),
        degree=of.degree,
        block=by.each,
        blocks=by.count,
        segment=by.segment,
        beside=int(band.ends),
        left=far if band.left is None else min(band.left, far),
        right=far if band.right is None else min(band.right, far),
    )
    of_tables = of.entries * (ROWS + 1) + 4 * (COLUMNS + 1) * ROWS
    of_near = (1 + dim) * (ROWS + 1) + _NEAR * (dim + COLUMNS)
    launch = Launch(b * heads * tiles * max(-(-columns // COLUMNS), 1), THREADS, 8 * max(of_tables, of_near))
    machine.run("features.cu", f"features_banded_{of.count}", arguments, launch)
    return share.min(axis=1)
