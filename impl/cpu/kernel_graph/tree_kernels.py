"""The compiled kernels of the tree: moments of boxes, what boxes send to each other, values at points, near pairs.

A basis is a list of products T_k(ξ) = Π T_(k_i)(ξ_i) of Chebyshev polynomials, sorted by |k|², so that |k|² ≤ D is the
first so many.  ``lines`` lists the same functions with all but the last index in common: (count, d) with the degrees
of the first d − 1 axes and the number of functions in the line; ``places`` (count, most) are their places in the basis.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.compiled import compiled
from assay.impl.cpu.kernel_graph import weights
from assay.impl.cpu.kernel_graph.weights import TILE, exponential, weigh

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ROWS", "TOGETHER", "WIDTH", "apart", "contract", "moments", "near", "sent", "values", "weighted"]

WIDTH = 48  # pairs of boxes that are served together, three at a time
STRIP = 512  # columns of an operator that are taken in one go: they stay in the first cache
TOGETHER = 64  # points whose polynomials are tabulated together
ROWS = 4  # rows of an operator that are stored together, filled up with zeros
_FAST = set(weights.FUSED)


def _tabulate(places_of: Any, first: Any, width: Any, table: Any) -> None:
    """table[axis, k, j] = T_k(ξ) of a coordinate of the points first … first + width − 1."""
    for axis in range(table.shape[0]):
        for j in range(width):
            x = places_of[axis, first + j]
            table[axis, 0, j] = 1.0
            table[axis, 1, j] = x
        for k in range(2, table.shape[1]):
            for j in range(width):
                x = places_of[axis, first + j]
                table[axis, k, j] = 2.0 * x * table[axis, k - 1, j] - table[axis, k - 2, j]


def _moments(
    places_of: Any, vectors: Any, starts: Any, ends: Any, lines: Any, places: Any, begin: Any, end: Any, out: Any
) -> None:  # fmt: skip
    """out[b, c] (boxes, columns, N): Σ_j v_j T_k(ξ_j) over the points starts[b] … ends[b], for begin ≤ b < end.

    places_of (d, n): the coordinates ξ; vectors (columns, n).
    """
    d, columns = places_of.shape[0], vectors.shape[0]
    table = np.empty((d, max(places.shape[1], 2), TOGETHER))
    w = np.empty(TOGETHER)
    for b in range(begin, end):
        for c in range(columns):
            out[b, c, :] = 0.0
        for first in range(starts[b], ends[b], TOGETHER):
            width = min(TOGETHER, ends[b] - first)
            tabulate(places_of, first, width, table)  # type: ignore[name-defined]  # noqa: F821
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
    d, columns = places_of.shape[0], out.shape[0]
    table = np.empty((d, max(places.shape[1], 2), TOGETHER))
    w, total = np.empty(TOGETHER), np.empty(TOGETHER)
    for b in range(begin, end):
        for first in range(starts[b], ends[b], TOGETHER):
            width = min(TOGETHER, ends[b] - first)
            tabulate(places_of, first, width, table)  # type: ignore[name-defined]  # noqa: F821
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
    turns: Any, signs: Any, orders: Any, held: Any, firsts: Any, groups: Any, data: Any, local: Any,
) -> None:  # fmt: skip
    """local[target] += factor · operator · moments[source] for the pairs begin … end, sorted by their operators.

    turn: the row of ``turns`` (N) that permutes axes; flip: the row of ``signs`` (N), for the axes that are reflected.
    orders (operators, N): the functions of an operator in the order in which it has them, ``held`` of them.  firsts:
    the groups of ROWS rows of an operator; groups (count, 4): first row, first column, columns, place in ``data``.
    """
    columns, size = moments.shape[1], moments.shape[2]
    x, y = np.zeros((WIDTH + 2, size)), np.zeros((WIDTH + 2, size + ROWS))
    total = (end - begin) * columns
    done = 0
    while done < total:
        kind = operator[begin + done // columns]
        width = 1
        while width < WIDTH and done + width < total and operator[begin + (done + width) // columns] == kind:
            width += 1
        count = held[kind]
        order = orders[kind]
        for w in range(width):
            pair, c = begin + (done + w) // columns, (done + w) % columns
            row, sign, box = turns[turn[pair]], signs[flip[pair]], moments[source[pair], c]
            for i in range(count):
                x[w, i] = sign[order[i]] * box[row[order[i]]]
                y[w, i] = 0.0
        for group in range(firsts[kind], firsts[kind + 1]):
            head, low, wide, at = groups[group]
            for start in range(0, wide, STRIP):
                strip = min(STRIP, wide - start)
                place = at + start
                a0, a1 = data[place : place + strip], data[place + wide : place + wide + strip]
                place += 2 * wide
                a2, a3 = data[place : place + strip], data[place + wide : place + wide + strip]
                for w in range(0, width, 3):
                    b0 = x[w, low + start : low + start + strip]
                    b1 = x[w + 1, low + start : low + start + strip]
                    b2 = x[w + 2, low + start : low + start + strip]
                    s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = s30 = s31 = s32 = 0.0
                    for l in range(strip):  # noqa: E741
                        p, q, r = b0[l], b1[l], b2[l]
                        t = a0[l]
                        s00 += t * p
                        s01 += t * q
                        s02 += t * r
                        t = a1[l]
                        s10 += t * p
                        s11 += t * q
                        s12 += t * r
                        t = a2[l]
                        s20 += t * p
                        s21 += t * q
                        s22 += t * r
                        t = a3[l]
                        s30 += t * p
                        s31 += t * q
                        s32 += t * r
                    for k, (u0, u1, u2) in enumerate(
                        ((s00, s01, s02), (s10, s11, s12), (s20, s21, s22), (s30, s31, s32))
                    ):
                        y[w, head + k] += u0
                        y[w + 1, head + k] += u1
                        y[w + 2, head + k] += u2
        for w in range(width):
            pair, c = begin + (done + w) // columns, (done + w) % columns
            row, sign, box = turns[turn[pair]], signs[flip[pair]], local[target[pair], c]
            for i in range(count):
                box[row[order[i]]] += factor * (sign[order[i]] * y[w, i])
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
                weigh(z, width, code, a, b, c)
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
        t.Array(whole, 2, "C"),
    )  # fmt: skip


def _tabulating(kernel: Callable[..., None], signature: Any) -> Callable[..., None]:
    return compiled(kernel, signature, _FAST, tabulate=_tabulate)


def _apart(
    targets: Any, sources: Any, chosen: Any, boxes: Any, firsts: Any, lows: Any, highs: Any, graph: Any, begin: Any,
    end: Any, z: Any,
) -> None:  # fmt: skip
    """z: squared distances of the targets chosen[begin … end] to the sources of their boxes, one target after another.

    The distance of a point of a graph to itself is given as 1, since the function may be infinite at 0.
    """
    at = 0
    for t in range(begin, end):
        i, box = chosen[t], boxes[t]
        for r in range(firsts[box], firsts[box + 1]):
            low, width = lows[r], highs[r] - lows[r]
            line = z[at : at + width]
            x, row = targets[0, i], sources[0, low : low + width]
            for j in range(width):
                s = x - row[j]
                line[j] = s * s
            for axis in range(1, targets.shape[0]):
                x, row = targets[axis, i], sources[axis, low : low + width]
                for j in range(width):
                    s = x - row[j]
                    line[j] += s * s
            if graph and low <= i < low + width:
                line[i - low] = 1.0
            at += width


def _weighted(
    weight: Any, vectors: Any, chosen: Any, boxes: Any, firsts: Any, lows: Any, highs: Any, graph: Any, begin: Any,
    end: Any, out: Any,
) -> None:  # fmt: skip
    """out[:, i] += Σ_j w_ij v_j for the weights of all pairs of :func:`_apart`, without those of a point and itself."""
    at = 0
    for t in range(begin, end):
        i, box = chosen[t], boxes[t]
        for r in range(firsts[box], firsts[box + 1]):
            low, width = lows[r], highs[r] - lows[r]
            line = weight[at : at + width]
            stop = i - low if graph and low <= i < low + width else width
            for k in range(vectors.shape[0]):
                row = vectors[k, low : low + width]
                s = 0.0
                for j in range(stop):
                    s += line[j] * row[j]
                for j in range(stop + 1, width):
                    s += line[j] * row[j]
                out[k, i] += s
            at += width


@functools.cache
def moments() -> Callable[..., None]:
    """The compiled :func:`_moments`."""
    t, _, whole, _, table, cube, row, grid = _types()
    return _tabulating(_moments, t.void(table, table, row, row, grid, grid, whole, whole, cube))


@functools.cache
def values() -> Callable[..., None]:
    """The compiled :func:`_values`."""
    t, _, whole, _, table, cube, row, grid = _types()
    return _tabulating(_values, t.void(table, cube, row, row, grid, grid, whole, whole, table))


@functools.cache
def sent() -> Callable[..., None]:
    """The compiled :func:`_sent`."""
    t, real, whole, reals, table, cube, row, grid = _types()
    return compiled(
        _sent,
        t.void(
            row, row, row, row, row, whole, whole, real, cube, grid, table, grid, row, row, grid, reals, cube
        ),
        _FAST,
    )  # fmt: skip


@functools.cache
def contract() -> Callable[..., int]:
    """The compiled :func:`_contract`."""
    t, real, whole, _, table, cube, row, _ = _types()
    kept = t.Array(real, 3, "C", readonly=True)
    made: Callable[..., int] = compiled(
        _contract, whole(cube, row, row, row, kept, row, row, row, whole, whole, table, row, row, row), _FAST
    )
    return made


@functools.cache
def near() -> Callable[..., None]:
    """The compiled :func:`_near`."""
    t, real, whole, _, table, _, row, _ = _types()
    signature = t.void(
        table, table, table, row, row, row, row, row, t.boolean, whole, real, real, real, whole, whole, table
    )  # fmt: skip
    return compiled(_near, signature, weights.FUSED, exp=exponential("float64"), weigh=weigh)


@functools.cache
def apart() -> Callable[..., None]:
    """The compiled :func:`_apart`."""
    t, _, _, line, table, _, row, _ = _types()
    return compiled(_apart, t.void(table, table, row, row, row, row, row, t.boolean, t.int64, t.int64, line), _FAST)


@functools.cache
def weighted() -> Callable[..., None]:
    """The compiled :func:`_weighted`."""
    t, _, _, line, table, _, row, _ = _types()
    signature = t.void(line, table, row, row, row, row, row, t.boolean, t.int64, t.int64, table)
    return compiled(_weighted, signature, _FAST)
