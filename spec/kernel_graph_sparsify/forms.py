"""Quadratic forms of a graph and of a sparser one, and what proves that one is a multiple of the other (KTOL-8).

The form of a graph is x'Lx = Σ w_ij(x_i − x_j)².  Nothing here is an estimate: a vector at which the quotient of two
forms is evaluated with bounds proves that it is not closer, and a Cholesky factorisation that runs through proves that
it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from assay.spec.kernel_graph.spectral import Weights

    Array = NDArray[np.float64]

__all__ = ["Edges", "directions", "extremes", "proved", "quotient"]

_U = 2.0**-53
_STEPS = 24  # of a bisection towards the largest multiple that can be proved


@dataclass(frozen=True, eq=False)
class Edges:
    """The edges of a graph of n vertices: left < right or not, weights ≥ 0, (edges,) each; n."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    weight: Array
    n: int

    def matrix(self) -> Array:
        """The weights as a symmetric matrix with a diagonal of 0; of edges that are given twice, their sum."""
        h = np.zeros((self.n, self.n))
        np.add.at(h, (self.left, self.right), self.weight)
        return h + h.T


def quotient(x: Array, h: Array, w: Weights) -> tuple[float, float]:
    """Bounds of x'L_H x / x'L_G x from below and above, for an exact x (n,) whose largest difference is about 1.

    h: the weights of H, exact; w: bounds of those of G; (n, n), symmetric.  (0, inf) where nothing is known.
    """
    n = len(x)
    with np.errstate(all="ignore"):
        gap = x[:, None] - x
        square = gap * gap
        rounding = float(gamma(n * n + 16, _U))
        tiny = n * n * 2.0**-1020
        above = 0.5 * float(np.sum(h * square))
        low, high = 0.5 * float(np.sum(w.low * square)), 0.5 * float(np.sum(w.high * square))
        # a square that underflows is off by less than 2^-1074, and so is its product
        lost = tiny * (1.0 + float(h.max(initial=0.0)) + float(w.high.max(initial=0.0)))
        low, high = low * (1 - rounding) - lost, high * (1 + rounding) + lost
        least = max(above * (1 - rounding) - lost, 0.0) / high * (1 - 4 * _U) if 0.0 < high < np.inf else 0.0
        most = (above * (1 + rounding) + lost) / low * (1 + 4 * _U) if low > 0.0 else np.inf
    return least, most if most == most else np.inf


def directions(h: Array, w: Weights, error: float) -> Iterator[Array]:
    """Vectors at which the quotient may be far from 1: cuts, and eigenvectors in float64."""
    n = len(h)
    yield from _parts(h)
    middle = 0.5 * (w.low + w.high)
    degree_h, degree_g = h.sum(axis=1), middle.sum(axis=1)
    with np.errstate(all="ignore"):
        share = degree_h / degree_g
    if np.isfinite(share).all():
        for vertex in {int(np.argmin(share)), int(np.argmax(share))}:
            yield (np.arange(n) == vertex).astype(np.float64)
    with np.errstate(all="ignore"):
        scale = 1.0 / np.sqrt(np.maximum(degree_g, 2.0**-1000))
        forms = [scale[:, None] * (np.diag(a.sum(axis=1)) - a) * scale for a in (h, middle)]
    if not all(np.isfinite(form).all() for form in forms):
        return
    of_h, of_g = forms
    for form in (of_h - (1.0 - error) * of_g, (1.0 + error) * of_g - of_h):
        try:
            _, vectors = np.linalg.eigh(form)
        except np.linalg.LinAlgError:
            continue
        for k in (0, 1):
            yield scale * vectors[:, min(k, n - 1)]
    # the pencil itself, on the complement of the constants
    root = np.sqrt(np.maximum(degree_g, 0.0))
    basis = of_g + np.outer(root, root) / max(float(root @ root), 2.0**-1000)
    try:
        lower = np.linalg.cholesky(basis)
        half = np.linalg.solve(lower, of_h)
        _, vectors = np.linalg.eigh(np.linalg.solve(lower, half.T))
        back = np.linalg.solve(lower.T, vectors[:, [0, 1, -2, -1] if n > 3 else range(n)])
    except np.linalg.LinAlgError:
        return
    yield from (scale[:, None] * back).T


def _parts(h: Array) -> Iterator[Array]:
    """The component of vertex 0 in a graph that falls apart."""
    reached, waiting = np.zeros(len(h), dtype=bool), [0]
    reached[0] = True
    while waiting:
        new = (h[waiting.pop()] > 0.0) & ~reached
        reached |= new
        waiting += np.flatnonzero(new).tolist()
    if not reached.all():
        yield reached.astype(np.float64)


def extremes(h: Array, w: Weights, error: float) -> tuple[float, float]:
    """(a, b): some vector has a quotient of at most a, and some one of at least b; both certain."""
    least, most = np.inf, 0.0
    for x in directions(h, w, error):
        reach = float(np.ptp(x))
        if not 0.0 < reach < np.inf:
            continue
        low, high = quotient((x - x[0]) / reach, h, w)
        least, most = min(least, high), max(most, low)
    return least, most


def proved(h: Array, w: Weights) -> tuple[float, float]:
    """(a, b) with a·x'L_G x ≤ x'L_H x ≤ b·x'L_G x for every x, proved by Cholesky factorisations; a ≥ 0, b may be inf.

    It is at most a little wider than the truth where the weights of G and their condition fit float64.

    >>> from assay.spec.kernel_graph.spectral import Weights
    >>> g = np.ones((5, 5)) - np.eye(5)
    >>> print("{:.6f} {:.6f}".format(*proved(2 * g, Weights(g, g))))
    2.000000 2.000000
    """
    first, last = extremes(h, w, 0.5)
    return _largest(h, w, first), _smallest(h, w, last)


def _largest(h: Array, w: Weights, start: float) -> float:
    """The largest a for which L_H ⪰ a·L_G was proved."""
    if not (0.0 < start < np.inf):
        return 0.0
    low, high = 0.0, start
    for step in range(_STEPS):
        a = high * (1 - 2.0 ** (step - 40)) if low == 0.0 else 0.5 * (low + high)
        if _positive(h, w.high, a, 1.0):
            low = a
            if step == 0:
                break
        elif low > 0.0:
            high = a
        if low > 0.0 and high - low <= 1e-6 * high:
            break
    return low


def _smallest(h: Array, w: Weights, start: float) -> float:
    """The smallest b for which b·L_G ⪰ L_H was proved."""
    if not (0.0 < start < np.inf):
        return np.inf
    low, high = start, np.inf
    for step in range(_STEPS):
        b = low * (1 + 2.0 ** (step - 40)) if high == np.inf else 0.5 * (low + high)
        if _positive(h, w.low, b, -1.0):
            high = b
            if step == 0:
                break
        elif high < np.inf:
            low = b
        if high < np.inf and high - low <= 1e-6 * high:
            break
    return high


def _positive(h: Array, w: Array, c: float, sign: float) -> bool:
    """Whether sign·(L_H − c·L_w) ⪰ 0 was proved by one Cholesky factorisation (KTOL-8)."""
    n = len(h)
    with np.errstate(all="ignore"):
        # A has the off-diagonal entries −a_ij; M = S A S + β t t' for any s > 0 and any t with a nonzero image
        a = sign * (h - c * w)
        size = h + c * w
        degree = size.sum(axis=1)
        s = 1.0 / np.sqrt(degree)
        t = np.sqrt(degree)
        beta = 1.0 / float(degree.sum())
        m = -(s[:, None] * a * s) + beta * np.outer(t, t)
        m[np.diag_indices(n)] = s * a.sum(axis=1) * s + beta * t * t
        # every entry is off by at most 8 roundings, on the diagonal by those of a sum
        off = s[:, None] * size * s
        entry = 8.0 * _U * (off + beta * np.outer(t, t))
        entry[np.diag_indices(n)] = float(gamma(n + 8, _U)) * (s * degree * s) + 8.0 * _U * beta * t * t
        rest = float(entry.sum(axis=1).max()) * (1 + 1e-9) + n * 2.0**-1000
        share = float(gamma(n + 4, _U))  # quotients may be products with a rounded reciprocal
        trace = float(np.abs(np.diag(m)).sum())
        shift = (rest + 1.01 * share / (1.0 - share) * trace) * (1 + 2.0**-40)
        shift += 4.0 * _U * (float(np.abs(np.diag(m)).max()) + shift)  # of the subtraction itself
        m[np.diag_indices(n)] -= shift
    if not np.isfinite(m).all():
        return False
    try:
        return bool(np.isfinite(np.linalg.cholesky(m)).all())
    except np.linalg.LinAlgError:
        return False
