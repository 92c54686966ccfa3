"""The compiled kernels of the tree: moments of boxes, what boxes send to each other, values at points, near pairs.

A basis is a list of products T_k(ξ) = Π T_(k_i)(ξ_i) of Chebyshev polynomials.  It is sorted by *class*, which tells
for every axis whether k_i is odd, and by |k|² within a class, so that |k|² ≤ D is the first so many of every class.
``lines`` lists the same functions with all but the last index in common: (count, d) with the degrees of the first d − 1
axes and the number of functions in the line; ``places`` (count, most) are their places in the basis.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.compiled import compiled
from assay.impl.cpu.kernel_graph import weights
from assay.impl.cpu.kernel_graph.weights import EXP64, TILE, WEIGH, injected

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ROWS", "TOGETHER", "UNROLLED", "WIDTH", "contract", "gather", "moments", "near", "sent", "values"]

WIDTH = 32  # pairs of boxes that are served together
TOGETHER = 64  # points whose polynomials are tabulated together
ROWS = 2  # rows of an operator that are stored together
UNROLLED = 4  # columns of an operator that are taken in one step: rows are filled up with zeros to a multiple
_FAST = set(weights.FUSED)


def _moments(
    places_of: Any, vectors: Any, starts: Any, ends: Any, lines: Any, places: Any, begin: Any, end: Any, out: Any
) -> None:  # fmt: skip
    """out[b, c] (boxes, columns, N): Σ_j v_j T_k(ξ_j) over the points starts[b] … ends[b], for begin ≤ b < end.

    places_of (d, n): the coordinates ξ; vectors (columns, n).
    """
    d = places_of.shape[0]
    columns = vectors.shape[0]
    most = places.shape[1]
    table = np.empty((d, max(most, 2), TOGETHER))
    w = np.empty(TOGETHER)
    for b in range(begin, end):
        for c in range(columns):
            out[b, c, :] = 0.0
        for first in range(starts[b], ends[b], TOGETHER):
            width = min(TOGETHER, ends[b] - first)
            for axis in range(d):
                for j in range(width):
                    x = places_of[axis, first + j]
                    table[axis, 0, j] = 1.0
                    table[axis, 1, j] = x
                for k in range(2, most):
                    for j in range(width):
                        x = places_of[axis, first + j]
                        table[axis, k, j] = 2.0 * x * table[axis, k - 1, j] - table[axis, k - 2, j]
            for c in range(columns):
                for line in range(lines.shape[0]):
                    for j in range(width):
                        w[j] = vectors[c, first + j]
                    for axis in range(d - 1):
                        k = lines[line, axis]
                        if k > 0:
                            for j in range(width):
                                w[j] *= table[axis, k, j]
                    for k in range(lines[line, d - 1]):
                        total = 0.0
                        for j in range(width):
                            total += w[j] * table[d - 1, k, j]
                        out[b, c, places[line, k]] += total


def _values(
    places_of: Any, local: Any, starts: Any, ends: Any, lines: Any, places: Any, begin: Any, end: Any, out: Any
) -> None:  # fmt: skip
    """out[c, i] += Σ_k local[b, c, k] T_k(ξ_i) for the points of the boxes begin ≤ b < end."""
    d = places_of.shape[0]
    columns = out.shape[0]
    most = places.shape[1]
    table = np.empty((d, max(most, 2), TOGETHER))
    w, total = np.empty(TOGETHER), np.empty(TOGETHER)
    for b in range(begin, end):
        for first in range(starts[b], ends[b], TOGETHER):
            width = min(TOGETHER, ends[b] - first)
            for axis in range(d):
                for j in range(width):
                    x = places_of[axis, first + j]
                    table[axis, 0, j] = 1.0
                    table[axis, 1, j] = x
                for k in range(2, most):
                    for j in range(width):
                        x = places_of[axis, first + j]
                        table[axis, k, j] = 2.0 * x * table[axis, k - 1, j] - table[axis, k - 2, j]
            for c in range(columns):
                for j in range(width):
                    total[j] = 0.0
                for line in range(lines.shape[0]):
                    for j in range(width):
                        w[j] = 0.0
                    for k in range(lines[line, d - 1]):
                        value = local[b, c, places[line, k]]
                        for j in range(width):
                            w[j] += value * table[d - 1, k, j]
                    for axis in range(d - 1):
                        k = lines[line, axis]
                        if k > 0:
                            for j in range(width):
                                w[j] *= table[axis, k, j]
                    for j in range(width):
                        total[j] += w[j]
                for j in range(width):
                    out[c, first + j] += total[j]


def _sent(
    target: Any, source: Any, operator: Any, turn: Any, flip: Any, begin: Any, end: Any, factor: Any, moments: Any,
    turns: Any, first: Any, held: Any, rows: Any, limits: Any, data: Any, local: Any,
) -> None:  # fmt: skip
    """local[target] += factor · operator · moments[source] for the pairs begin … end, sorted by their operators.

    turn: the row of ``turns`` (N) that permutes axes; flip: a bit for every axis that is reflected.  first (classes +
    1): where classes begin; held (operators, classes): functions of a class that an operator reads and writes.  rows
    (operators, N): where the data of the pair of rows that begins with a function are; limits (operators, N, classes):
    how many columns of each class it has.
    """
    columns, size = moments.shape[1], moments.shape[2]
    classes = len(first) - 1
    x, y = np.zeros((size + UNROLLED, WIDTH)), np.zeros((size + ROWS, WIDTH))
    total = (end - begin) * columns
    done = 0
    while done < total:
        kind = operator[begin + done // columns]
        width = 1
        while width < WIDTH and done + width < total and operator[begin + (done + width) // columns] == kind:
            width += 1
        for w in range(width):
            pair, c = begin + (done + w) // columns, (done + w) % columns
            row, box = turns[turn[pair]], source[pair]
            for group in range(classes):
                odd = group & flip[pair]
                sign = 1.0
                while odd:
                    if odd & 1:
                        sign = -sign
                    odd >>= 1
                for k in range(first[group], first[group] + held[kind, group]):
                    x[k, w] = sign * moments[box, c, row[k]]
        for group in range(classes):
            stop = first[group] + held[kind, group]
            for k in range(first[group], stop, ROWS):
                y0, y1 = y[k], y[k + 1]
                for w in range(WIDTH):
                    y0[w] = 0.0
                    y1[w] = 0.0
                at = rows[kind, k]
                for other in range(classes):
                    low = first[other]
                    for l in range(low, low + limits[kind, k, other], UNROLLED):  # noqa: E741
                        a0, a1, a2, a3 = data[at], data[at + 1], data[at + 2], data[at + 3]
                        b0, b1, b2, b3 = data[at + 4], data[at + 5], data[at + 6], data[at + 7]
                        x0, x1, x2, x3 = x[l], x[l + 1], x[l + 2], x[l + 3]
                        for w in range(WIDTH):
                            p, q, r, s = x0[w], x1[w], x2[w], x3[w]
                            y0[w] += a0 * p + a1 * q + a2 * r + a3 * s
                            y1[w] += b0 * p + b1 * q + b2 * r + b3 * s
                        at += 8
            for w in range(width):
                pair, c = begin + (done + w) // columns, (done + w) % columns
                row, box = turns[turn[pair]], target[pair]
                odd = group & flip[pair]
                sign = factor
                while odd:
                    if odd & 1:
                        sign = -sign
                    odd >>= 1
                for k in range(first[group], stop):
                    local[box, c, row[k]] += sign * y[k, w]
        done += width


def _contract(
    state: Any, degree: Any, left: Any, right: Any, table: Any, ks: Any, ls: Any, squares: Any, most: Any, base: Any,
    out: Any, degrees: Any, lefts: Any, rights: Any,
) -> int:  # fmt: skip
    """One axis: out[r', rest] = Σ_m table[m, k, l]·state[r, m, rest] for all r and (k, l) with |k|² + |l|² ≤ most.

    state (rows, P + 1, rest), degree: Σ k² + l² of the axes before; left, right: their k and l as numbers to ``base``.
    ks, ls, squares are the pairs of this axis, sorted by k² + l².  Returns the number of rows; with an ``out`` of no
    rows it only counts.
    """
    count = 0
    for r in range(state.shape[0]):
        for pair in range(len(ks)):
            if degree[r] + squares[pair] > most:
                break
            if out.shape[0] > 0:
                k, l = ks[pair], ls[pair]  # noqa: E741
                for rest in range(state.shape[2]):
                    out[count, rest] = 0.0
                for m in range(k + l, state.shape[1], 2):
                    value = table[m, k, l]
                    for rest in range(state.shape[2]):
                        out[count, rest] += value * state[r, m, rest]
                degrees[count] = degree[r] + squares[pair]
                lefts[count] = left[r] * base + k
                rights[count] = right[r] * base + l
            count += 1
    return count


def _gather(
    values: Any, lefts: Any, rights: Any, rank: Any, group: Any, first: Any, rows: Any, limits: Any, data: Any
) -> None:  # fmt: skip
    """Put the coefficients of the pairs (left, right) into ``data``, as :func:`_sent` reads them."""
    for i in range(len(values)):
        k, l = rank[lefts[i]], rank[rights[i]]  # noqa: E741
        inside = (k - first[group[k]]) % ROWS
        head = k - inside
        at = rows[head]
        for other in range(group[l]):
            at += limits[head, other] * ROWS
        place = l - first[group[l]]
        data[at + place // UNROLLED * (UNROLLED * ROWS) + inside * UNROLLED + place % UNROLLED] = values[i]


def _near(
    targets: Any, sources: Any, vectors: Any, starts: Any, ends: Any, firsts: Any, lows: Any, highs: Any, graph: Any,
    code: Any, a: Any, b: Any, c: Any, begin: Any, end: Any, out: Any,
) -> None:  # fmt: skip
    """out[:, i] += Σ_j f(z_ij)v_j for the targets of the boxes begin … end, over the ranges of sources of each box.

    Box b has the targets starts[b] … ends[b] and the ranges firsts[b] … firsts[b + 1] of (lows, highs).
    """
    d = targets.shape[0]
    columns = vectors.shape[0]
    z = np.empty(TILE)
    for box in range(begin, end):
        count = 0
        for r in range(firsts[box], firsts[box + 1]):
            count += highs[r] - lows[r]
        place, value = np.empty((d, count)), np.empty((columns, count))
        at = 0
        for r in range(firsts[box], firsts[box + 1]):
            width = highs[r] - lows[r]
            for k in range(d):
                place[k, at : at + width] = sources[k, lows[r] : highs[r]]
            for k in range(columns):
                value[k, at : at + width] = vectors[k, lows[r] : highs[r]]
            at += width
        for i in range(starts[box], ends[box]):
            own = -1
            if graph:
                at = 0
                for r in range(firsts[box], firsts[box + 1]):
                    if lows[r] <= i < highs[r]:
                        own = at + i - lows[r]
                    at += highs[r] - lows[r]
            for start in range(0, count, TILE):
                width = min(TILE, count - start)
                x = targets[0, i]
                row = place[0, start : start + width]
                for j in range(width):
                    t = x - row[j]
                    z[j] = t * t
                for axis in range(1, d):
                    x = targets[axis, i]
                    row = place[axis, start : start + width]
                    for j in range(width):
                        t = x - row[j]
                        z[j] += t * t
                weigh(z, width, code, a, b, c)  # type: ignore[name-defined]  # noqa: F821
                if start <= own < start + width:
                    z[own - start] = 0.0
                for k in range(columns):
                    part = value[k, start : start + width]
                    total = 0.0
                    for j in range(width):
                        total += z[j] * part[j]
                    out[k, i] += total


def _types() -> tuple[Any, ...]:
    import numba

    t: Any = numba.types
    real, whole = t.float64, t.int64
    return (
        t, real, whole, t.Array(real, 1, "C"), t.Array(real, 2, "C"), t.Array(real, 3, "C"), t.Array(whole, 1, "C"),
        t.Array(whole, 2, "C"), t.Array(whole, 3, "C"),
    )  # fmt: skip


@functools.cache
def moments() -> Callable[..., None]:
    """The compiled :func:`_moments`."""
    t, _, whole, _, table, cube, row, grid, _ = _types()
    return compiled(_moments, t.void(table, table, row, row, grid, grid, whole, whole, cube), _FAST)


@functools.cache
def values() -> Callable[..., None]:
    """The compiled :func:`_values`."""
    t, _, whole, _, table, cube, row, grid, _ = _types()
    return compiled(_values, t.void(table, cube, row, row, grid, grid, whole, whole, table), _FAST)


@functools.cache
def sent() -> Callable[..., None]:
    """The compiled :func:`_sent`."""
    t, real, whole, reals, _, cube, row, grid, solid = _types()
    return compiled(
        _sent,
        t.void(
            row, row, row, row, row, whole, whole, real, cube, grid, row, grid, grid, solid, reals, cube
        ),
        _FAST,
    )  # fmt: skip


@functools.cache
def contract() -> Callable[..., int]:
    """The compiled :func:`_contract`."""
    t, real, whole, _, table, cube, row, _, _ = _types()
    kept = t.Array(real, 3, "C", readonly=True)
    made: Callable[..., int] = compiled(
        _contract, whole(cube, row, row, row, kept, row, row, row, whole, whole, table, row, row, row), _FAST
    )
    return made


@functools.cache
def gather() -> Callable[..., None]:
    """The compiled :func:`_gather`."""
    t, _, _, reals, _, _, row, grid, _ = _types()
    return compiled(_gather, t.void(reals, row, row, row, row, row, row, grid, reals), _FAST)


@functools.cache
def near() -> Callable[..., None]:
    """The compiled :func:`_near`."""
    t, real, whole, _, table, _, row, _, _ = _types()
    signature = t.void(
        table, table, table, row, row, row, row, row, t.boolean, whole, real, real, real, whole, whole, table
    )  # fmt: skip
    made: Callable[..., None] = injected(_near, signature, weights.FUSED, exp=EXP64, weigh=WEIGH)
    return made
