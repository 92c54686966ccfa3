"""The loops of :mod:`assay.impl.cpu.features`, which compiles them: chunks of 128 points, some features at a time.

A product and a sum may be fused.  Sums are in the order written, except for the 32 lanes of :func:`four` and for all
sums of :func:`eight`.  :func:`assay.impl.cpu.features.roundings` and ATT-10 count the roundings.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FUSED", "KERNELS", "lines", "load", "steps"]


def dot(a: Any, b: Any, j: Any) -> Any:
    """Σ a_i b_i over i ≡ j mod 32, of 128."""
    return a[j] * b[j] + a[j + 32] * b[j + 32] + a[j + 64] * b[j + 64] + a[j + 96] * b[j + 96]


def four(f: Any, base: Any, row: Any, out: Any, at: Any, c: Any) -> None:
    """Add Σ_j f_ij row_j over 128 points to column c of out, for four rows i of f from ``base``, of out from ``at``."""
    f0, f1, f2, f3 = f[base], f[base + 1], f[base + 2], f[base + 3]
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    for j in range(32):
        s0 = add(s0, dot(f0, row, j))
        s1 = add(s1, dot(f1, row, j))
        s2 = add(s2, dot(f2, row, j))
        s3 = add(s3, dot(f3, row, j))
    out[at, c] += s0
    out[at + 1, c] += s1
    out[at + 2, c] += s2
    out[at + 3, c] += s3


def eight(f: Any, base: Any, one: Any, other: Any, out: Any) -> None:
    """Add Σ_j f_ij f_cj over 256 points, in float32, to out_ic for four rows i from ``base`` and two columns c."""
    f0, f1, f2, f3 = f[base], f[base + 1], f[base + 2], f[base + 3]
    g, h = f[one], f[other]
    nothing = np.float32(0.0)
    s0, s1, s2, s3, t0, t1, t2, t3 = nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing
    for j in range(256):
        s0 = plus(s0, f0[j], g[j])
        s1 = plus(s1, f1[j], g[j])
        s2 = plus(s2, f2[j], g[j])
        s3 = plus(s3, f3[j], g[j])
        t0 = plus(t0, f0[j], h[j])
        t1 = plus(t1, f1[j], h[j])
        t2 = plus(t2, f2[j], h[j])
        t3 = plus(t3, f3[j], h[j])
    out[base, one] += s0
    out[base + 1, one] += s1
    out[base + 2, one] += s2
    out[base + 3, one] += s3
    out[base, other] += t0
    out[base + 1, other] += t1
    out[base + 2, other] += t2
    out[base + 3, other] += t3


def load(points: Any, first: Any, count: Any, centre: Any, factor: Any, basis: Any, raw: Any, x: Any) -> None:
    """Write the coordinates of ``count`` points to x (r, 128); ``raw`` (d, 128) gets them before the basis."""
    d, r = points.shape[1], basis.shape[1]
    for j in range(count):
        for c in range(d):
            raw[c, j] = (np.float64(points[first + j, c]) - centre[c]) * factor
    if r == 0:
        for c in range(d):
            for j in range(128):
                x[c, j] = raw[c, j]
    for c in range(r):
        for j in range(128):
            x[c, j] = 0.0
        for i in range(d):
            by = basis[i, c]
            for j in range(128):
                x[c, j] += raw[i, j] * by


def lines(rows: Any, width: Any, fill: Any) -> Any:
    """An array (rows, width) whose rows begin with a cache line: a vector that straddles two takes twice the time."""
    flat = np.full(rows * width + 16, fill)
    first = -(flat.ctypes.data // flat.itemsize) % (64 // flat.itemsize)
    return flat[first : first + rows * width].reshape((rows, width))


def pair(a: Any, b: Any, r: Any) -> Any:
    """The number of the pair (a, b) among the pairs a ≤ b < r, counted row by row."""
    return a * (2 * r - a - 1) // 2 + b


def add(a: Any, b: Any) -> Any:
    """a + b in a sum whose order the compiler may choose."""
    return a + b


def plus(a: Any, b: Any, c: Any) -> Any:
    """a + bc in a sum whose order the compiler may choose."""
    return a + b * c


FUSED = {"contract", "nsz"}


@functools.cache
def steps() -> dict[str, Callable[..., Any]]:
    """The compiled steps that the kernels call by their names, which are those of the functions above."""
    any_order = {
        "dot": compiled(dot, None, FUSED),
        "add": compiled(add, None, {"reassoc", "nsz"}),
        "plus": compiled(plus, None, {"reassoc", "contract", "nsz"}),
    }
    return {
        "four": compiled(four, None, FUSED, True, **any_order),  # a call would take half as long again
        "eight": compiled(eight, None, FUSED, True, **any_order),
        "pair": compiled(pair, None, FUSED),
        "load": compiled(load, None, FUSED),
        "lines": compiled(lines, None, FUSED),
    }


def _extent(points: Any, total: Any, least: Any, largest: Any) -> None:
    n, d = points.shape
    for c in range(d):
        total[c] = 0.0
        least[c] = points[0, c]
        largest[c] = points[0, c]
    for i in range(n):
        for c in range(d):
            x = np.float64(points[i, c])
            total[c] += x
            least[c] = min(least[c], x)
            largest[c] = max(largest[c], x)


def _largest_squares(points: Any, centre: Any, factor: Any, basis: Any, beside: Any, out: Any) -> None:
    n, d, r = points.shape[0], points.shape[1], basis.shape[1]
    raw, x = lines(d, 136, 0.0), lines(r if r > 0 else d, 136, 0.0)
    squares, rest, largest, largest_rest, spoilt = lines(5, 128, 0.0)
    for start in range(0, n, 128):
        count = min(128, n - start)
        load(points, start, count, centre, factor, basis, raw, x)
        for j in range(128):
            squares[j] = 0.0
            rest[j] = 0.0
        for c in range(x.shape[0]):
            row = x[c]
            for j in range(128):
                squares[j] += row[j] * row[j]
        for k in range(d if beside else 0):
            row = raw[k]
            for c in range(r):
                by, along = basis[k, c], x[c]
                for j in range(128):
                    row[j] -= by * along[j]
            for j in range(128):
                rest[j] += row[j] * row[j]
        for j in range(count):
            largest[j] = max(largest[j], squares[j])
            largest_rest[j] = max(largest_rest[j], rest[j])
            spoilt[j] += (squares[j] - squares[j]) + (rest[j] - rest[j])  # NaN where one is not finite
    for j in range(128):
        out[0] = max(out[0], largest[j]) if spoilt[j] == 0.0 else np.inf
        out[1] = max(out[1], largest_rest[j]) if spoilt[j] == 0.0 else np.inf


def _moments(
    points: Any, values: Any, centre: Any, factor: Any, basis: Any, middle: Any, shrink: Any, parent: Any,
    variable: Any, inner: Any, first: Any, last: Any, out: Any,
) -> None:  # fmt: skip
    d, w, r = points.shape[1], values.shape[1], basis.shape[1]
    raw, x, y = lines(d, 136, 0.0), lines(r if r > 0 else d, 136, 0.0), lines(w + 1, 136, 0.0)
    padded = parent.shape[0]
    kept = min((max(inner, 1) + 3) // 4 * 4, padded)  # features that stay in memory; others are made four at a time
    f = lines(kept + 4, 128, 1.0)
    sums = np.zeros((padded, w + 1))  # the sums of sixteen chunks
    for start in range(first, last, 128):
        count = min(128, last - start)
        load(points, start, count, centre, factor, basis, raw, x)
        for j in range(count):
            for c in range(w):
                y[c, j] = (np.float64(values[start + j, c]) - middle[c]) * shrink[c]
            y[w, j] = 1.0
        for j in range(count, 128):
            for c in range(w + 1):
                y[c, j] = 0.0
        for at in range(0, padded, 4):
            base = min(at, kept)
            for a in range(max(at, 1), at + 4):
                row, above, by = f[base + a - at], f[parent[a]], x[variable[a]]
                for j in range(128):
                    row[j] = above[j] * by[j]
            for c in range(w + 1):
                four(f, base, y[c], sums, at, c)
        if (start - first) % (16 * 128) == 15 * 128 or start + 128 >= last:
            for a in range(padded):
                for c in range(w + 1):
                    out[a, c] += sums[a, c]
                    sums[a, c] = 0.0


def _second_moments(points: Any, centre: Any, factor: Any, basis: Any, first: Any, last: Any, out: Any) -> None:
    d, padded = points.shape[1], out.shape[0]
    raw, x = lines(d, 136, 0.0), lines(padded, 136, 0.0)
    for start in range(first, last, 128):
        count = min(128, last - start)
        load(points, start, count, centre, factor, basis, raw, x)
        x[:, count:] = 0.0
        for at in range(0, padded, 4):
            for by in range(at + 4):
                four(x, at, x[by], out, at, by)
    for a in range(padded):
        for b in range(a):
            out[b, a] = out[a, b]


def _fourth_moments(points: Any, centre: Any, factor: Any, basis: Any, first: Any, last: Any, out: Any) -> None:
    d, r = points.shape[1], basis.shape[1]
    pairs = r * (r + 1) // 2
    raw, x, f = lines(d, 136, 0.0), lines(r, 136, 0.0), lines(pairs + 3, 256, np.float32(0.0))
    for start in range(first, last, 256):
        for half in (0, 128):
            count = min(128, max(last - start - half, 0))
            load(points, start + half, count, centre, factor, basis, raw, x)
            for a in range(r):
                for b in range(a, r):
                    row, one, other = f[pair(a, b, r), half : half + 128], x[a], x[b]
                    for j in range(128):
                        row[j] = one[j] * other[j]
            f[:, half + count : half + 128] = 0.0
        for b in range(r):
            for at in range(pair(b, b, r), pairs, 4):
                for a in range(0, b + 1, 2):
                    eight(f, at, pair(a, b, r), pair(a + 1, b, r) if a < b else pairs, out)


def _unfolded(sums: Any, r: Any, n: Any, out: Any) -> None:
    """Put every sum of four coordinates in ascending order at all entries of T that have these coordinates."""
    root = np.sqrt(2.0)
    row = 0
    for a in range(r):
        for b in range(a, r):
            by, column = (1.0 if a == b else root) / n, 0
            for c in range(a + 1):
                for d in range(c, r if c < a else b + 1):
                    value = sums[row, column] if d <= a else sums[pair(min(b, d), max(b, d), r), pair(c, a, r)]
                    out[row, column] = out[column, row] = value * (by if c == d else by * root)
                    column += 1
            row += 1


def _evaluate(
    points: Any, centre: Any, factor: Any, basis: Any, parent: Any, variable: Any, inner: Any, weighted: Any,
    middle: Any, grow: Any, least: Any, largest: Any, first: Any, last: Any, out: Any, order: Any, ratio: Any,
    slack: Any, kurtosis: Any, coefficients: Any, offset: Any, left: Any, right: Any, keys: Any, touched: Any,
    near: Any, near_values: Any, key_centre: Any, key_factor: Any, found: Any, low: Any, high: Any,
) -> None:  # fmt: skip
    d, w, padded, r = points.shape[1], out.shape[1], parent.shape[0], basis.shape[1]
    columns = weighted.shape[2]  # w columns, the sum of weights, and with moments the sum of powers of scores
    raw, x = lines(d, 136, 0.0), lines(r if r > 0 else d, 136, 0.0)
    kept = min((max(inner, 1) + 7) // 8 * 8, padded)  # features that stay in memory; others are made batch by batch
    f = lines(kept + 8, 128, 1.0)
    batches = f.reshape((kept // 8 + 1, 8 * 128))  # rows at constant distances need no check of their overlap
    total = lines((columns + 1) // 2 * 2, 128, 0.0)
    pairs = total.reshape((total.shape[0] // 2, 2 * 128))
    s, p, power = lines(3, 128, 0.0)
    beside = np.zeros(d)
    coordinate = np.zeros(x.shape[0])
    for start in range(first, last, 128):
        count = min(128, last - start)
        number = (start - first) // 128 if weighted.shape[0] > 1 else 0
        table = weighted[number]
        load(points, start, count, centre, factor, basis, raw, x)
        total[:] = 0.0
        for a in range(1, kept):
            row, above, times = f[a], f[parent[a]], x[variable[a]]
            for j in range(128):
                row[j] = above[j] * times[j]
        for batch in range(padded - 8, -1, -8):  # the highest degree, whose terms are smallest, meets most roundings
            for a in range(max(batch, kept), batch + 8):
                row, above, times = f[kept + a - batch], f[parent[a]], x[variable[a]]
                for j in range(128):
                    row[j] = above[j] * times[j]
            g = batches[min(batch, kept) // 8]
            for c in range(pairs.shape[0]):
                t, m = pairs[c], table[batch : batch + 8, 2 * c]
                n = table[batch : batch + 8, min(2 * c + 1, columns - 1)]
                m0, m1, m2, m3, m4, m5, m6, m7 = m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7]
                n0, n1, n2, n3, n4, n5, n6, n7 = n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]
                for j in range(128):
                    f0, f1, f2, f3 = g[j], g[128 + j], g[256 + j], g[384 + j]
                    f4, f5, f6, f7 = g[512 + j], g[640 + j], g[768 + j], g[896 + j]
                    t[j] += (f0 * m0 + f1 * m1 + f2 * m2 + f3 * m3) + (f4 * m4 + f5 * m5 + f6 * m6 + f7 * m7)
                    t[128 + j] += (f0 * n0 + f1 * n1 + f2 * n2 + f3 * n3) + (f4 * n4 + f5 * n5 + f6 * n6 + f7 * n7)
        # the keys that some of these rows attend to and others do not
        begin = max(start + offset - left, 0)
        end = min(start + count - 1 + offset + right, keys - 1)
        full = max(start + count - 1 + offset - left, 0)  # all rows attend to full … past − 1
        past = min(start + offset + right + 1, keys)
        t = begin
        while t <= end:
            if full <= t < past:
                t = past
                continue
            j0, j1 = max(0, t - right - start - offset), min(count, t + left - start - offset + 1)
            for c in range(d):
                beside[c] = (np.float64(near[t, c]) - key_centre[c]) * key_factor
            for c in range(x.shape[0]):
                if r == 0:
                    coordinate[c] = beside[c]
                else:
                    coordinate[c] = 0.0
                    for k in range(d):
                        coordinate[c] += beside[k] * basis[k, c]
            for j in range(128):  # in all lanes; those of rows that do not see the key get weight 0
                s[j] = 0.0
            for c in range(x.shape[0]):
                by = coordinate[c]
                for j in range(128):
                    s[j] += x[c, j] * by
            if order > 0:
                for j in range(128):
                    power[j] = (ratio * s[j]) * (ratio * s[j])
                if order == 4:
                    for j in range(128):
                        power[j] *= power[j]
                for j in range(j0, j1):
                    total[w + 1, j] += power[j]
            for j in range(128):
                p[j] = coefficients[coefficients.shape[0] - 1]
            for m in range(coefficients.shape[0] - 2, -1, -1):
                term = coefficients[m]
                for j in range(128):
                    p[j] = p[j] * s[j] + term
            p[:j0] = 0.0
            p[j1:] = 0.0
            for c in range(w):
                by = (np.float64(near_values[t, c]) - middle[c]) / grow[c]
                row = total[c]
                for j in range(128):
                    row[j] += p[j] * by
            row = total[w]
            for j in range(128):
                row[j] += p[j]
            t += 1
        entered = touched[number] - max(past - full, 0)
        for j in range(count):
            position = start + j + offset
            seen = min(position + right, keys - 1) - max(position - left, 0) + 1
            if seen <= 0:  # every key is absent: 0, exactly
                for c in range(w):
                    out[start + j, c] = 0.0
                continue
            z = total[w, j]
            most = entered + seen
            if not (z > 0.0 and z < np.inf):
                found[0] = -np.inf
                z = 1.0
            found[0] = min(found[0], z / most)
            if order > 0:
                powers = max(total[w + 1, j], 0.0) + slack * most
                if kurtosis > 0.0:
                    powers = kurtosis * powers * powers / seen
                found[1] = max(found[1], (seen + powers) / z)
            for c in range(w):
                o = min(max(middle[c] + grow[c] * (total[c, j] / z), least[c]), largest[c])
                out[start + j, c] = o
                low[c] = min(low[c], o)
                high[c] = max(high[c], o)


KERNELS = {
    each.__name__: each
    for each in (_extent, _largest_squares, _moments, _second_moments, _fourth_moments, _unfolded, _evaluate)
}
