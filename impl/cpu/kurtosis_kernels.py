"""The loops of :mod:`assay.impl.cpu.kurtosis`, which compiles them."""

from __future__ import annotations

from typing import Any

import numpy as np

from assay.spec.enclosure.float64 import U

__all__ = ["KERNELS"]

_STEPS = 20  # steps of Lanczos: the guess of the largest eigenvalue is seldom more than half a per cent low
_HALVINGS = 20  # halvings of the interval in which the eigenvalue lies
_GOLDEN = 0.6180339887498949
_PANEL = 4  # columns of the Cholesky factor that are subtracted together


def _guessed(matrix: Any) -> Any:
    """A guess of the largest eigenvalue of a symmetric matrix by Lanczos, seldom above it; +inf on overflow or NaN."""
    n = matrix.shape[0]
    v, before, image = np.ones(n), np.zeros(n), np.zeros(n)
    for j in range(n):
        v[j] += j * _GOLDEN % 1.0  # orthogonal to an eigenvector only by accident
    diagonal, beside = np.zeros(_STEPS), np.zeros(_STEPS + 1)  # of the tridiagonal matrix
    steps, size = 0, 0.0
    for j in range(n):
        size += v[j] * v[j]
    size = np.sqrt(size)
    while steps < _STEPS and size > 0.0:
        for j in range(n):
            v[j] /= size
            image[j] = -beside[steps] * before[j]
        for i in range(n):
            row, by = matrix[i], v[i]
            for j in range(n):
                image[j] += row[j] * by
        along, size = 0.0, 0.0
        for j in range(n):
            along += image[j] * v[j]
        for j in range(n):
            image[j] -= along * v[j]
            size += image[j] * image[j]
        size = np.sqrt(size)
        diagonal[steps], beside[steps + 1] = along, size
        v, before, image = image, v, before
        steps += 1
    low, high = -np.inf, -np.inf
    for i in range(steps):
        low = max(low, diagonal[i])
        high = max(high, diagonal[i] + beside[i] + (beside[i + 1] if i + 1 < steps else 0.0))
        if not abs(diagonal[i]) + beside[i + 1] < np.inf:
            return np.inf
    for _ in range(_HALVINGS):
        middle, pivot = 0.5 * (low + high), np.inf
        for i in range(steps):
            pivot = middle - diagonal[i] - beside[i] * beside[i] / pivot
            if not pivot > 0.0:
                break
        if pivot > 0.0:
            high = middle
        else:
            low = middle
    return max(high, 0.0)


def _definite(matrix: Any, bound: Any) -> Any:
    """Whether the Cholesky factorisation of bound·(1 − ε) − M runs to the end, ε paying for its rounding (ATT-10)."""
    n = matrix.shape[0]
    hidden = 4.0 * (n + 8.0) * (n + 8.0) * U
    rest, panel = np.empty((n, n)), np.empty((_PANEL, n))
    for i in range(n):
        if not abs(matrix[i, i]) <= bound:
            return False
        for j in range(i):
            rest[i, j] = -matrix[i, j]
        rest[i, i] = bound * (1.0 - hidden) - matrix[i, i]
    for first in range(0, n, _PANEL):
        last = min(first + _PANEL, n)
        panel[:] = 0.0
        for i in range(first, n):
            for k in range(first, min(last, i + 1)):
                panel[k - first, i] = rest[i, k]
        for k in range(first, last):
            column = panel[k - first]
            pivot = column[k]
            if not (pivot > 0.0 and pivot < np.inf):
                return False
            root = np.sqrt(pivot)
            for i in range(k, n):
                column[i] /= root
            for m in range(k + 1, last):
                by, other = column[m], panel[m - first]
                for i in range(m, n):
                    other[i] -= by * column[i]
        for i in range(last, n):
            row, others = rest[i, last : i + 1], panel[:, last : i + 1]
            p0, p1, p2, p3 = panel[0, i], panel[1, i], panel[2, i], panel[3, i]
            o0, o1, o2, o3 = others[0], others[1], others[2], others[3]
            for j in range(i + 1 - last):  # from 0 on, so that the compiler makes a loop of vector operations
                row[j] -= p0 * o0[j] + p1 * o1[j] + p2 * o2[j] + p3 * o3[j]
    return True


KERNELS = {each.__name__: each for each in (_guessed, _definite)}
