"""The loops of :mod:`assay.impl.cpu.features`, compiled by it: chunks of 128 points, eight features at a time.

A product and a sum may be fused; sums are in the order written, but for the 32 lanes of :func:`_moments`.  The
numbers of roundings are counted in :func:`assay.impl.cpu.features.roundings`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = ["KERNELS"]


def _four(a: Any, b: Any, j: Any) -> Any:
    """Σ a_i b_i over i ≡ j mod 32, of 128."""
    return a[j] * b[j] + a[j + 32] * b[j + 32] + a[j + 64] * b[j + 64] + a[j + 96] * b[j + 96]


def _load(points: Any, first: Any, count: Any, centre: Any, factor: Any, basis: Any, raw: Any, x: Any) -> None:
    """x (r, 128): the coordinates of ``count`` points."""
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


def _add(a: Any, b: Any) -> Any:
    """a + b, one of a sum whose order is free."""
    return a + b


_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "nsz"}}
four: Any = numba.njit(**_OPTIONS)(_four)
add: Any = numba.njit(error_model="numpy", fastmath={"reassoc", "nsz"})(_add)
load: Any = numba.njit(**_OPTIONS)(_load)


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


def _largest_squares(points: Any, centre: Any, factor: Any, basis: Any, out: Any) -> None:
    n, d = points.shape
    r = basis.shape[1]
    raw, x = np.zeros(d), np.zeros(r)
    for i in range(n):
        square, rest = 0.0, 0.0
        for c in range(d):
            raw[c] = (np.float64(points[i, c]) - centre[c]) * factor
            if r == 0:
                square += raw[c] * raw[c]
        for c in range(r):
            x[c] = 0.0
            for k in range(d):
                x[c] += raw[k] * basis[k, c]
            square += x[c] * x[c]
        if r > 0:
            for k in range(d):
                for c in range(r):
                    raw[k] -= basis[k, c] * x[c]
                rest += raw[k] * raw[k]
        if not (square < np.inf and rest < np.inf):
            out[0] = np.inf
            out[1] = np.inf
            return
        out[0] = max(out[0], square)
        out[1] = max(out[1], rest)


def _moments(
    points: Any, values: Any, centre: Any, factor: Any, basis: Any, middle: Any, shrink: Any, parent: Any,
    variable: Any, inner: Any, rank: Any, first: Any, last: Any, out: Any,
) -> None:  # fmt: skip
    d, w, r = points.shape[1], values.shape[1], basis.shape[1]
    raw = np.zeros((d, 128))
    x = np.zeros((r if r > 0 else d, 128))
    y = np.zeros((w + 1, 128))
    f = np.ones((inner + 1, 128))
    sums = np.zeros((rank, w + 1))  # of sixteen chunks
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
        for a in range(rank):
            row = f[min(a, inner)]
            if a > 0:
                above, by = f[parent[a]], x[variable[a]]
                for j in range(128):
                    row[j] = above[j] * by[j]
            c = 0
            while c + 4 <= w + 1:
                y0, y1, y2, y3 = y[c], y[c + 1], y[c + 2], y[c + 3]
                s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
                for j in range(32):
                    s0 = add(s0, four(row, y0, j))
                    s1 = add(s1, four(row, y1, j))
                    s2 = add(s2, four(row, y2, j))
                    s3 = add(s3, four(row, y3, j))
                sums[a, c] += s0
                sums[a, c + 1] += s1
                sums[a, c + 2] += s2
                sums[a, c + 3] += s3
                c += 4
            while c < w + 1:
                y0 = y[c]
                s0 = 0.0
                for j in range(32):
                    s0 = add(s0, four(row, y0, j))
                sums[a, c] += s0
                c += 1
        if (start - first) % (16 * 128) == 15 * 128 or start + 128 >= last:
            for a in range(rank):
                for c in range(w + 1):
                    out[a, c] += sums[a, c]
                    sums[a, c] = 0.0


def _evaluate(
    points: Any, centre: Any, factor: Any, basis: Any, parent: Any, variable: Any, inner: Any, weighted: Any,
    middle: Any, grow: Any, least: Any, largest: Any, first: Any, last: Any, out: Any, order: Any, ratio: Any,
    slack: Any, coefficients: Any, offset: Any, left: Any, right: Any, keys: Any, touched: Any, near: Any,
    near_values: Any, key_centre: Any, key_factor: Any, found: Any, low: Any, high: Any,
) -> None:  # fmt: skip
    d, w, padded, r = points.shape[1], out.shape[1], parent.shape[0], basis.shape[1]
    columns = weighted.shape[2]  # w, the sum of weights, and maybe that of powers of scores
    raw = np.zeros((d, 128))
    x = np.zeros((r if r > 0 else d, 128))
    f = np.ones((inner + 8, 128))
    total = np.zeros((columns, 128))
    s = np.zeros(128)
    p = np.zeros(128)
    power = np.zeros(128)
    beside = np.zeros(d)
    coordinate = np.zeros(x.shape[0])
    for start in range(first, last, 128):
        count = min(128, last - start)
        number = (start - first) // 128 if weighted.shape[0] > 1 else 0
        table = weighted[number]
        load(points, start, count, centre, factor, basis, raw, x)
        for c in range(columns):
            for j in range(128):
                total[c, j] = 0.0
        for a in range(1, inner):
            row, above, times = f[a], f[parent[a]], x[variable[a]]
            for j in range(128):
                row[j] = above[j] * times[j]
        for batch in range(padded - 8, -1, -8):  # the highest degree, of which there is least, meets most roundings
            for a in range(max(batch, inner, 1), batch + 8):
                row, above, times = f[inner + a - batch], f[parent[a]], x[variable[a]]
                for j in range(128):
                    row[j] = above[j] * times[j]
            f0, f1 = f[batch if batch < inner else inner], f[batch + 1 if batch + 1 < inner else inner + 1]
            f2, f3 = f[batch + 2 if batch + 2 < inner else inner + 2], f[batch + 3 if batch + 3 < inner else inner + 3]
            f4, f5 = f[batch + 4 if batch + 4 < inner else inner + 4], f[batch + 5 if batch + 5 < inner else inner + 5]
            f6, f7 = f[batch + 6 if batch + 6 < inner else inner + 6], f[batch + 7 if batch + 7 < inner else inner + 7]
            for c in range(columns):
                t = total[c]
                m0, m1, m2, m3 = table[batch, c], table[batch + 1, c], table[batch + 2, c], table[batch + 3, c]
                m4, m5, m6, m7 = table[batch + 4, c], table[batch + 5, c], table[batch + 6, c], table[batch + 7, c]
                for j in range(128):
                    t[j] += (f0[j] * m0 + f1[j] * m1 + f2[j] * m2 + f3[j] * m3) + (
                        f4[j] * m4 + f5[j] * m5 + f6[j] * m6 + f7[j] * m7
                    )
        # keys that some of these rows attend to and others do not
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
            for j in range(128):  # all lanes, those beyond the rows that see the key weighted by 0
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
            if seen <= 0:  # every key absent: 0, exactly
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
                found[1] = max(found[1], (seen + max(total[w + 1, j], 0.0) + slack * most) / z)
            for c in range(w):
                o = min(max(middle[c] + grow[c] * (total[c, j] / z), least[c]), largest[c])
                out[start + j, c] = o
                low[c] = min(low[c], o)
                high[c] = max(high[c], o)


KERNELS = {each.__name__: each for each in (_extent, _largest_squares, _moments, _evaluate)}
