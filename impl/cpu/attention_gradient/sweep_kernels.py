"""The loops of :mod:`assay.impl.cpu.attention_gradient.sweeps`, which compiles them: chunks of 128 points.

Monomials of degree ≤ g are in memory, a row of 128 lanes each.  The gradient of Σ_α b_α x^α W_α with respect to x comes
from one walk through the monomials, the highest first, in which each passes its adjoint on to its parent and to its
last coordinate (Baur and Strassen 1983; proofs_notes/attention_gradient_fast.md, GRAD-6).  A product and a sum may be
fused; sums are in the order written.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import feature_kernels
from assay.impl.cpu.compiled import compiled
from assay.impl.cpu.feature_kernels import FUSED, lines, load

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FUSED", "KERNELS", "steps"]


def grown(x: Any, parent: Any, variable: Any, f: Any) -> None:
    """Every monomial but the first, from its parent and one coordinate."""
    for a in range(1, f.shape[0]):
        row, above, by = f[a], f[parent[a]], x[variable[a]]
        for j in range(128):
            row[j] = above[j] * by[j]


def contracted(f: Any, table: Any, total: Any) -> None:
    """total_c = Σ_a f_a table_ac, eight features and two columns at a time, the highest degree first."""
    total[:] = 0.0
    batches = f.reshape((f.shape[0] // 8, 8 * 128))  # rows at constant distances need no check of their overlap
    pairs = total.reshape((total.shape[0] // 2, 2 * 128))
    columns = table.shape[1]
    for batch in range(batches.shape[0] - 1, -1, -1):
        g = batches[batch]
        for c in range(pairs.shape[0]):
            t, m = pairs[c], table[8 * batch : 8 * batch + 8, min(2 * c, columns - 1)]
            n = table[8 * batch : 8 * batch + 8, min(2 * c + 1, columns - 1)]
            m0, m1, m2, m3, m4, m5, m6, m7 = m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7]
            n0, n1, n2, n3, n4, n5, n6, n7 = n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]
            for j in range(128):
                f0, f1, f2, f3 = g[j], g[128 + j], g[256 + j], g[384 + j]
                f4, f5, f6, f7 = g[512 + j], g[640 + j], g[768 + j], g[896 + j]
                t[j] += (f0 * m0 + f1 * m1 + f2 * m2 + f3 * m3) + (f4 * m4 + f5 * m5 + f6 * m6 + f7 * m7)
                t[128 + j] += (f0 * n0 + f1 * n1 + f2 * n2 + f3 * n3) + (f4 * n4 + f5 * n5 + f6 * n6 + f7 * n7)


def swept(
    x: Any, f: Any, parent: Any, variable: Any, inner: Any, by: Any, one: Any, table: Any, adjoint: Any, s: Any,
    grad: Any,
) -> None:  # fmt: skip
    """grad_c = ∂/∂x_c Σ_a x^a W_a with W_a = one·(last column of table)_a + Σ_l by_l table_al: each lane has its own W.

    ``by`` has a multiple of four rows, and ``table`` one column more.  Monomials from number ``inner`` on have no
    children.  s (4, 128) and adjoint (inner, 128) are scratch.
    """
    grad[:] = 0.0
    adjoint[:] = 0.0
    fours = by.reshape((by.shape[0] // 4, 4 * 128))
    w, end = s.reshape(4 * 128), table.shape[1] - 1
    for at in range(table.shape[0] - 4, -1, -4):
        k0, o0, m0, n0 = table[at, end], table[at + 1, end], table[at + 2, end], table[at + 3, end]
        for j in range(128):
            w[j], w[128 + j], w[256 + j], w[384 + j] = one[j] * k0, one[j] * o0, one[j] * m0, one[j] * n0
        for q in range(fours.shape[0]):
            g = fours[q]
            k, o, m, n = table[at, 4 * q :], table[at + 1, 4 * q :], table[at + 2, 4 * q :], table[at + 3, 4 * q :]
            k0, k1, k2, k3 = k[0], k[1], k[2], k[3]
            o0, o1, o2, o3 = o[0], o[1], o[2], o[3]
            m0, m1, m2, m3 = m[0], m[1], m[2], m[3]
            n0, n1, n2, n3 = n[0], n[1], n[2], n[3]
            for j in range(128):
                g0, g1, g2, g3 = g[j], g[128 + j], g[256 + j], g[384 + j]
                w[j] += g0 * k0 + g1 * k1 + g2 * k2 + g3 * k3
                w[128 + j] += g0 * o0 + g1 * o1 + g2 * o2 + g3 * o3
                w[256 + j] += g0 * m0 + g1 * m1 + g2 * m2 + g3 * m3
                w[384 + j] += g0 * n0 + g1 * n1 + g2 * n2 + g3 * n3
        for a in range(at + 3, max(at - 1, 0), -1):
            up, row = s[a - at], adjoint[parent[a]]
            if a < inner:
                own = adjoint[a]
                for j in range(128):
                    up[j] += own[j]
            along, above, to = x[variable[a]], f[parent[a]], grad[variable[a]]
            for j in range(128):
                row[j] += up[j] * along[j]
                to[j] += up[j] * above[j]


def score(x: Any, coordinate: Any, coefficients: Any, j0: Any, j1: Any, s: Any, p: Any) -> None:
    """p = P(⟨x, coordinate⟩) in lanes j0 … j1 − 1, by Horner's rule, and 0 elsewhere."""
    s[:] = 0.0
    for c in range(x.shape[0]):
        by, row = coordinate[c], x[c]
        for j in range(128):
            s[j] += row[j] * by
    p[:] = coefficients[coefficients.shape[0] - 1]
    for m in range(coefficients.shape[0] - 2, -1, -1):
        term = coefficients[m]
        for j in range(128):
            p[j] = p[j] * s[j] + term
    p[:j0] = 0.0
    p[j1:] = 0.0


@functools.cache
def steps() -> dict[str, Callable[..., Any]]:
    """The compiled steps that the kernels call by their names, those of the monomials among them."""
    own = {each.__name__: compiled(each, None, FUSED) for each in (grown, contracted, swept, score)}
    return feature_kernels.steps() | own


def _queries(
    points: Any, grads: Any, factor: Any, parent: Any, variable: Any, inner: Any, columns: Any, tables: Any,
    lift: Any, weights: Any, coefficients: Any, offset: Any, left: Any, right: Any, touched: Any, keys: Any,
    values: Any, centre: Any, shrink: Any, middle: Any, grow: Any, first: Any, last: Any, unit: Any, out: Any,
    stored: Any, found: Any,
) -> None:  # fmt: skip
    d, w, m = points.shape[1], grads.shape[1], keys.shape[0]
    none, basis = np.zeros(d), np.zeros((d, 0))
    raw, x = lines(d, 136, 0.0), lines(d, 136, 0.0)
    f = lines(columns.shape[1], 128, 1.0)
    total = lines((w + 2) // 2 * 2, 128, 0.0)
    by, one = lines(tables.shape[2] - 1, 128, 0.0), lines(1, 128, -1.0)[0]
    adjoint = lines(inner, 128, 0.0)
    grad, four = lines(d, 128, 0.0), lines(4, 128, 0.0)
    s, inverse, delta = lines(3, 128, 0.0)
    near = lines(260, 128, 0.0)  # weights of keys that some of the rows of a chunk attend to and others do not
    coordinates, y = np.zeros((260, d)), np.zeros((260, w))
    for start in range(first, last, 128):
        count = min(128, last - start)
        number = (start - first) // 128 if tables.shape[0] > 1 else 0
        load(points, start, count, none, factor, basis, raw, x)
        for c in range(w):
            for j in range(count):
                by[c, j] = np.float64(grads[start + j, c]) * lift[c]
            for j in range(count, 128):
                by[c, j] = 0.0
        grown(x, parent, variable, f)
        contracted(f, columns[number], total)
        begin = max(start + offset - left, 0)
        end = min(start + count - 1 + offset + right, m - 1)
        full = max(start + count - 1 + offset - left, 0)  # all rows attend to full … past − 1
        past = min(start + offset + right + 1, m)
        beside = 0
        t = begin
        while t <= end:
            if full <= t < past:
                t = past
                continue
            j0, j1 = max(0, t - right - start - offset), min(count, t + left - start - offset + 1)
            for c in range(d):
                coordinates[beside, c] = (np.float64(keys[t, c]) - centre[c]) * shrink
            for c in range(w):
                y[beside, c] = (np.float64(values[t, c]) - middle[c]) / grow[c]
            p = near[beside]
            score(x, coordinates[beside], coefficients, j0, j1, s, p)
            for c in range(w):
                row, value = total[c], y[beside, c]
                for j in range(128):
                    row[j] += p[j] * value
            row = total[w]
            for j in range(128):
                row[j] += p[j]
            beside += 1
            t += 1
        entered = touched[number] - max(past - full, 0)
        for j in range(128):
            inverse[j] = 0.0
            delta[j] = 0.0
        for j in range(count):
            position = start + j + offset
            seen = min(position + right, m - 1) - max(position - left, 0) + 1
            if seen <= 0:  # every key is absent: all gradients are 0, exactly
                continue
            z = total[w, j]
            if not (z > 0.0 and z < np.inf):
                found[0] = -np.inf
                z = 1.0
            found[0] = min(found[0], z / (entered + seen))
            inverse[j] = 1.0 / z
        for c in range(w):
            row, times = total[c], by[c]
            for j in range(128):
                delta[j] += times[j] * (row[j] * inverse[j])
        for j in range(128):
            one[j] = -delta[j]
        swept(x, f, parent, variable, inner, by, one, tables[number], adjoint, four, grad)
        for t in range(beside):
            p = near[t]
            for j in range(128):
                s[j] = -delta[j]
            for c in range(w):
                times, value = by[c], y[t, c]
                for j in range(128):
                    s[j] += times[j] * value
            for c in range(d):
                row, value = grad[c], coordinates[t, c]
                for j in range(128):
                    row[j] += (p[j] * s[j]) * value
        for j in range(count):
            for c in range(d):
                out[start + j, c] = unit * (grad[c, j] * inverse[j])
            for c in range(w):
                stored[start + j - first, c] = by[c, j] * inverse[j]
            stored[start + j - first, w] = delta[j] * inverse[j]
            stored[start + j - first, w + 1] = weights[start + j, 0] * inverse[j]
            reach = weights[start + j, 2] + abs(delta[j])  # at least |g − δ| of every key
            stored[start + j - first, w + 2] = reach * weights[start + j, 1] * inverse[j]


def _keys(
    points: Any, values: Any, centre: Any, shrink: Any, middle: Any, grow: Any, parent: Any, variable: Any,
    inner: Any, columns: Any, tables: Any, coefficients: Any, offset: Any, left: Any, right: Any, queries: Any,
    factor: Any, stored: Any, first: Any, last: Any, grad_key: Any, grad_value: Any,
) -> None:  # fmt: skip
    d, w, m = points.shape[1], values.shape[1], queries.shape[0]
    basis = np.zeros((d, 0))
    raw, x = lines(d, 136, 0.0), lines(d, 136, 0.0)
    f = lines(columns.shape[1], 128, 1.0)
    total = lines((w + 3) // 2 * 2, 128, 0.0)
    by, one = lines(tables.shape[2] - 1, 128, 0.0), lines(1, 128, -1.0)[0]
    adjoint = lines(inner, 128, 0.0)
    grad, four = lines(d, 128, 0.0), lines(4, 128, 0.0)
    s, p = lines(2, 128, 0.0)
    coordinate = np.zeros(d)
    for start in range(first, last, 128):
        count = min(128, last - start)
        number = (start - first) // 128 if tables.shape[0] > 1 else 0
        load(points, start, count, centre, shrink, basis, raw, x)
        for c in range(w):
            for j in range(128):
                by[c, j] = (np.float64(values[start + min(j, count - 1), c]) - middle[c]) / grow[c]
        grown(x, parent, variable, f)
        contracted(f, columns[number], total)
        swept(x, f, parent, variable, inner, by, one, tables[number], adjoint, four, grad)
        begin = max(start + offset - left, 0)
        end = min(start + count - 1 + offset + right, m - 1)
        full = max(start + count - 1 + offset - left, 0)
        past = min(start + offset + right + 1, m)
        t = begin
        while t <= end:
            if full <= t < past:
                t = past
                continue
            j0, j1 = max(0, t - right - start - offset), min(count, t + left - start - offset + 1)
            for c in range(d):
                coordinate[c] = np.float64(queries[t, c]) * factor
            score(x, coordinate, coefficients, j0, j1, s, p)
            here = stored[t]
            for j in range(128):
                s[j] = -here[w]
            for c in range(w):
                row, times, value = total[c], by[c], here[c]
                for j in range(128):
                    row[j] += p[j] * value
                    s[j] += times[j] * value
            for c in range(2):
                row, value = total[w + c], here[w + 1 + c]
                for j in range(128):
                    row[j] += p[j] * value
            for c in range(d):
                row, value = grad[c], coordinate[c]
                for j in range(128):
                    row[j] += (p[j] * s[j]) * value
            t += 1
        for j in range(count):
            for c in range(d):
                grad_key[start + j, c] += grad[c, j]
            for c in range(w + 2):
                grad_value[start + j, c] += total[c, j]


KERNELS = {each.__name__: each for each in (_queries, _keys)}
