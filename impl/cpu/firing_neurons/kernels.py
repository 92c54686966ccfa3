"""The compiled kernels of the structures: laying a tile of correlations, repairing maxima, and reading what fires.

A table of the tree has the shape (blocks, at least n, 64): 64 neurons of a block lie side by side for every point, so
that a block of 64 leaves of a point is contiguous and a column of one neuron is read with a stride of 64.  Neurons
beyond the last one hold −∞.  Nodes lie in rows, one row a root, the lowest level first; node p of a level has the
children p·B … p·B + B − 1 of the level below, B = 2^bits.  No correlation is NaN, which is all that ``fastmath`` relies
on.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BLOCK", "commit", "lay", "query", "scan", "store"]

BLOCK = 64  # neurons that lie side by side: a few cache lines
_FAST = {"nnan", "nsz"}


def _types(dtype: str) -> tuple[Any, Any]:
    import numba

    types: Any = numba.types
    return types, {"float32": types.float32, "float64": types.float64}[dtype]


@functools.cache
def lay(dtype: str) -> Callable[..., None]:
    """The compiled :func:`_lay`."""
    types, real = _types(dtype)
    integer = types.int64
    signature = types.void(
        types.Array(real, 2, "C", readonly=True), integer, integer, types.Array(real, 3, "C"), integer, integer,
        types.Array(real, 2, "C"), types.Array(real, 2, "C"),
    )  # fmt: skip
    return compiled(_lay, signature, _FAST)


def _lay(
    tile: Any, first_point: Any, first_neuron: Any, table: Any, neurons: Any, bits: Any, nodes: Any, point_nodes: Any
) -> None:
    """Copy a tile (points, neurons) of correlations to the table, and write the lowest maxima of both sides.

    nodes (n, ·): of every point over neurons.  point_nodes (m, ·): of every neuron over points.  The first point and
    the first neuron of the tile are multiples of 64.  Compiled by :func:`lay`.
    """
    rows, columns = tile.shape
    fan = 1 << bits
    lowest = -np.inf
    most = np.empty(64, table.dtype)
    for start in range(0, columns, 64):
        block = (first_neuron + start) // 64
        wide = min(64, columns - start)
        for begin in range(0, rows, fan):
            end = min(begin + fan, rows)
            most[:] = lowest
            for i in range(begin, end):
                leaves, part = table[block, first_point + i], tile[i, start : start + wide]
                if wide == 64:
                    for c in range(64):
                        leaves[c] = part[c]
                else:
                    for c in range(wide):
                        leaves[c] = part[c]
                    leaves[wide:] = lowest
                for c in range(64):
                    most[c] = leaves[c] if leaves[c] > most[c] else most[c]
                above = nodes[first_point + i]
                if fan == 64:
                    top = leaves[0]
                    for c in range(64):
                        top = leaves[c] if leaves[c] > top else top
                    above[block] = top
                else:
                    for c in range(0, wide, fan):
                        top = leaves[c]
                        for k in range(c + 1, min(c + fan, 64)):
                            top = max(top, leaves[k])
                        above[(64 * block + c) >> bits] = top
            group = (first_point + begin) >> bits
            for c in range(wide):
                point_nodes[64 * block + c, group] = most[c]


@functools.cache
def query(dtype: str) -> Callable[..., int]:
    """The compiled :func:`_query`."""
    types, real = _types(dtype)
    integer, whole = types.int64, types.Array(types.int64, 1, "C", readonly=True)
    numbers = types.Array(types.int64, 1, "C")
    signature = types.int64(
        types.Array(real, 3, "C", readonly=True), types.boolean, integer, types.Array(real, 2, "C", readonly=True),
        whole, integer, whole, real, types.boolean, types.Array(types.boolean, 2, "C"), numbers, numbers,
        types.Array(real, 1, "C"), numbers, integer, integer,
    )  # fmt: skip
    return compiled(_query, signature, _FAST, below_it=_below_it, select=_select)


def _query(
    table: Any, of_points: Any, leaves: Any, nodes: Any, offsets: Any, bits: Any, roots: Any, threshold: Any, mark: Any,
    marked: Any, counts: Any, found: Any, values: Any, visited: Any, first: Any, last: Any,
) -> int:  # fmt: skip
    """Read what exceeds ``threshold`` below the roots ``roots[first:last]``; returns how many leaves do.

    of_points: whether roots are points and leaves neurons; else the reverse.  leaves: how many a root has.  offsets
    (levels + 1,): where each level begins in a row of ``nodes``, the lowest first.  With ``mark``, rows of ``marked``
    are set.  Without, leaves and their values are appended to ``found`` and ``values`` while there is room for them, 64
    more than they are, and ``counts`` says how many belong to each root.  visited: the nodes and leaves that were read.
    Compiled by :func:`query`.
    """
    padded = table.shape[1]
    fan = 1 << bits
    levels = len(offsets) - 1
    flat = table.reshape(table.size)
    line = 64 // table.itemsize
    touched = threshold - threshold
    here, below = np.empty(offsets[1] + 64, np.int64), np.empty(offsets[1] + 64, np.int64)
    total = 0
    for number in range(first, last):
        root = roots[number]
        row = nodes[root]
        top = offsets[levels] - offsets[levels - 1]
        hot = select(row[offsets[levels - 1] : offsets[levels]], threshold, here, 0)  # type: ignore[name-defined]  # noqa: F821
        read = top
        for level in range(levels - 2, -1, -1):
            at, size, count = offsets[level], offsets[level + 1] - offsets[level], 0
            for k in range(hot):
                begin = here[k] << bits
                end = min(begin + fan, size)
                read += end - begin
                for p in range(begin, end):
                    below[count] = p
                    count += row[at + p] > threshold
            here, below = below, here
            hot = count
        begun = total
        if mark:
            marks = marked[number]
            marks[:] = False
        for k in range(hot):
            begin = here[k] << bits
            end = min(begin + fan, leaves)
            read += end - begin
            if of_points and fan == 64:
                if k % 64 == 0:  # touch the next blocks, so that the cache fetches them side by side
                    for j in range(k, min(k + 64, hot)):
                        start = (here[j] * padded + root) * 64
                        for c in range(0, 64, line):
                            touched += flat[start + c]
                of = here[k]  # no view of the block is made, which would cost more than reading it
                if mark:
                    part = marks[begin:end]
                    for c in range(len(part)):
                        part[c] = table[of, root, c] > threshold
                    for c in range(len(part)):
                        total += part[c]
                elif total + 128 <= len(found):
                    mask = np.uint64(0)
                    for c in range(64):
                        mask |= np.uint64(table[of, root, c] > threshold) << np.uint64(c)
                    while mask != 0:
                        lowest = mask & (~mask + np.uint64(1))
                        c = below_it(lowest)  # type: ignore[name-defined]  # noqa: F821
                        found[total] = begin + c
                        values[total] = table[of, root, c]
                        total += 1
                        mask ^= lowest
                else:
                    for c in range(64):
                        total += table[of, root, c] > threshold
                continue
            if of_points:
                start, near = ((begin >> 6) * padded + root) * 64 + (begin & 63), 1
            else:
                start, near = ((root >> 6) * padded + begin) * 64 + (root & 63), 64
            if mark:
                for c in range(end - begin):
                    exceeds = flat[start + c * near] > threshold
                    marks[begin + c] = exceeds
                    total += exceeds
            elif total + 128 <= len(found):
                for c in range(end - begin):
                    found[total] = begin + c
                    values[total] = flat[start + c * near]
                    total += flat[start + c * near] > threshold
            else:
                for c in range(end - begin):
                    total += flat[start + c * near] > threshold
        counts[number] = total - begun
        visited[number] = read
    if touched == threshold and total < 0:  # never: it keeps the compiler from leaving out what is touched
        counts[first] = 0
    return total


def _below_it(lowest: Any) -> Any:
    """How many bits are below the only one of ``lowest`` that is 1: the ones of ``lowest`` − 1 are counted."""
    ones = lowest - np.uint64(1)
    ones = ones - ((ones >> np.uint64(1)) & np.uint64(0x5555555555555555))
    ones = (ones & np.uint64(0x3333333333333333)) + ((ones >> np.uint64(2)) & np.uint64(0x3333333333333333))
    ones = (ones + (ones >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((ones * np.uint64(0x0101010101010101)) >> np.uint64(56))


def _select(row: Any, threshold: Any, found: Any, count: Any) -> Any:
    """Append all j with row[j] > threshold to ``found`` from place ``count`` on; returns the place after them.

    64 comparisons become the bits of one number, whose ones are taken off from the lowest on.
    """
    whole = len(row) // 64
    blocks = row[: 64 * whole].reshape((whole, 64))
    for k in range(whole):
        mask = np.uint64(0)
        for c in range(64):
            mask |= np.uint64(blocks[k, c] > threshold) << np.uint64(c)
        while mask != 0:
            lowest = mask & (~mask + np.uint64(1))
            found[count] = 64 * k + below_it(lowest)  # type: ignore[name-defined]  # noqa: F821
            count += 1
            mask ^= lowest
    for c in range(64 * whole, len(row)):
        found[count] = c
        count += row[c] > threshold
    return count


@functools.cache
def commit(dtype: str) -> Callable[..., None]:
    """The compiled :func:`_commit`."""
    types, real = _types(dtype)
    integer, whole = types.int64, types.Array(types.int64, 1, "C", readonly=True)
    signature = types.void(
        types.Array(real, 2, "C", readonly=True), whole, types.Array(real, 3, "C"), integer, integer, whole, whole,
        types.Array(real, 2, "C"), whole, types.Array(real, 2, "C"), whole, *_kept(types, real),
    )  # fmt: skip
    return compiled(_commit, signature, _FAST, keep=_keep)


def _kept(types: Any, real: Any) -> tuple[Any, ...]:
    """The types of what is kept of every neuron beside its correlations, and of what takes its place."""
    return (
        types.Array(real, 2, "C"), types.Array(real, 2, "C", readonly=True), types.Array(types.int64, 1, "C"),
        types.Array(types.int64, 1, "C", readonly=True), types.Array(types.float64, 2, "C"),
        types.Array(types.float64, 2, "C", readonly=True),
    )  # fmt: skip


def _keep(
    neurons: Any, weights: Any, new_weights: Any, moves: Any, new_moves: Any, errors: Any, new_errors: Any
) -> None:
    """Write what is kept of every neuron beside its correlations."""
    for t in range(len(neurons)):
        r = neurons[t]
        for c in range(weights.shape[1]):
            weights[r, c] = new_weights[t, c]
        moves[r] = new_moves[t]
        errors[r, 0] = new_errors[t, 0]
        errors[r, 1] = new_errors[t, 1]


def _commit(
    columns: Any, neurons: Any, table: Any, total: Any, bits: Any, parents: Any, bounds: Any, nodes: Any, offsets: Any,
    point_nodes: Any, point_offsets: Any, weights: Any, new_weights: Any, moves: Any, new_moves: Any, errors: Any,
    new_errors: Any,
) -> None:  # fmt: skip
    """Put the new correlations ``columns`` (k, n) of the ascending ``neurons`` in place and repair all maxima.

    parents: the nodes above them, level by level; bounds (levels + 1,): where each level begins in ``parents``.  It is
    one call that allocates nothing and cannot fail, so that no signal comes between its parts.  Compiled by
    :func:`commit`.
    """
    fan = 1 << bits
    points = columns.shape[1]
    levels, point_levels = len(offsets) - 1, len(point_offsets) - 1
    lowest = -np.inf
    keep(neurons, weights, new_weights, moves, new_moves, errors, new_errors)  # type: ignore[name-defined]  # noqa: F821
    last = 0
    for k in range(bounds[0], bounds[1]):
        parent = parents[k]
        first = last
        while last < len(neurons) and neurons[last] >> bits == parent:
            last += 1
        begin = parent << bits
        low, high = begin & 63, (begin & 63) + min(begin + fan, total) - begin
        leaves_of = table[begin >> 6]
        for i in range(points):
            leaves = leaves_of[i]
            old = nodes[i, parent]
            most, lost = columns[first, i], False
            for t in range(first, last):
                c = neurons[t] & 63
                lost = lost or leaves[c] == old
                leaves[c] = columns[t, i]
                most = max(most, columns[t, i])
            if most >= old:
                nodes[i, parent] = most
            elif lost:
                for c in range(low, high):
                    most = max(most, leaves[c])
                nodes[i, parent] = most
    for i in range(points if levels > 1 else 0):
        row = nodes[i]
        for level in range(1, levels):
            size, under = offsets[level] - offsets[level - 1], offsets[level - 1]
            for k in range(bounds[level], bounds[level + 1]):
                begin = parents[k] << bits
                most = row[under + begin]
                for p in range(begin + 1, min(begin + fan, size)):
                    most = max(most, row[under + p])
                row[offsets[level] + parents[k]] = most
    for t in range(len(neurons)):
        row = point_nodes[neurons[t]]
        column = columns[t]
        size = points
        for level in range(point_levels):
            at = point_offsets[level]
            for p in range(point_offsets[level + 1] - at):
                most = row.dtype.type(lowest)
                if level == 0:
                    for i in range(p << bits, min((p + 1) << bits, size)):
                        most = max(most, column[i])
                else:
                    under = point_offsets[level - 1]
                    for i in range(p << bits, min((p + 1) << bits, size)):
                        most = max(most, row[under + i])
                row[at + p] = most
            size = point_offsets[level + 1] - at


@functools.cache
def store(dtype: str) -> Callable[..., None]:
    """The compiled :func:`_store`."""
    types, real = _types(dtype)
    whole = types.Array(types.int64, 1, "C", readonly=True)
    signature = types.void(
        types.Array(real, 2, "C", readonly=True), whole, types.Array(real, 2, "C"), *_kept(types, real)
    )
    return compiled(_store, signature, _FAST, keep=_keep)


def _store(
    columns: Any, neurons: Any, table: Any, weights: Any, new_weights: Any, moves: Any, new_moves: Any, errors: Any,
    new_errors: Any,
) -> None:  # fmt: skip
    """Put the new correlations ``columns`` (k, n) of ``neurons`` in place in a table (n, m); nowhere in an empty one.

    Compiled by :func:`store`.
    """
    keep(neurons, weights, new_weights, moves, new_moves, errors, new_errors)  # type: ignore[name-defined]  # noqa: F821
    for start in range(0, table.shape[0], 64):
        for t in range(len(neurons)):
            for i in range(start, min(start + 64, table.shape[0])):
                table[i, neurons[t]] = columns[t, i]


@functools.cache
def scan(dtype: str) -> Callable[..., int]:
    """The compiled :func:`_scan`."""
    types, real = _types(dtype)
    integer, numbers = types.int64, types.Array(types.int64, 1, "C")
    items = types.Array(types.int64, 1, "C", readonly=True)
    signature = types.int64(
        types.Array(real, 2, "C", readonly=True), items, real, numbers, numbers, types.Array(real, 1, "C"), integer,
        integer,
    )  # fmt: skip
    return compiled(_scan, signature, _FAST, below_it=_below_it, select=_select)


def _scan(table: Any, items: Any, threshold: Any, counts: Any, found: Any, values: Any, first: Any, last: Any) -> int:
    """Read what exceeds ``threshold`` in the rows ``items[first:last]`` of a table; results are as in :func:`_query`.

    Nothing of a row is appended where there is not room for all of it.  Compiled by :func:`scan`.
    """
    total = 0
    for number in range(first, last):
        row = table[items[number]]
        begun = total
        if total + len(row) + 64 <= len(found):
            total = select(row, threshold, found, total)  # type: ignore[name-defined]  # noqa: F821
            for k in range(begun, total):
                values[k] = row[found[k]]
        else:
            for c in range(len(row)):
                total += row[c] > threshold
        counts[number] = total - begun
    return total
