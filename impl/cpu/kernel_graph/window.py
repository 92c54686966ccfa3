"""A window of compact support, its transform in closed form, and polynomials that replace it (KG-9).

φ(s) = (I₀(β√(1 − s²)) − 1)/(I₀(β) − 1) for |s| ≤ 1, else 0, where s = 1 is half of ``width`` nodes away.  Of a point,
node l of its ``width`` nodes is at s = (u + width − 1 − 2l)/width, with the same −1 ≤ u ≤ 1 for all l.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import flint
import numpy as np

from assay.impl.cpu.kernel_graph.sums import SLACK, U, gamma
from assay.spec import flint_context

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Window", "window"]

_KEPT = 64  # powers of u that are looked at one by one
_BITS = 256
_OUTSIDE = 2.0**-16  # how far beyond ±1 u may be, because of rounding
_FAR = 8  # images of the transform that are added up one by one


@dataclass(frozen=True, eq=False)
class Window:
    """φ for one width in nodes and one β; norm: I₀(β) − 1."""

    width: int
    beta: float
    norm: float

    @functools.cached_property
    def replaced(self) -> tuple[Array, float]:
        """Polynomials of u, and at most what all computed factors of a point, and those left out, are off from φ.

        (degree + 1, padded): coefficients, the highest power first, of every node; zeros up to a multiple of eight.
        """
        return _replaced(self.width, self.beta)

    def transform(self, turn: Array) -> Array:
        """φ̂/width for |turn| < β/(π·width), in cycles a node: the factor of a wave in the sums over nodes."""
        x = math.pi * self.width * np.abs(turn)
        y = np.sqrt(self.beta**2 - x * x)
        return np.asarray((np.sinh(y) / y - np.sinc(x / math.pi)) / self.norm)

    def aliased(self, turn: Array) -> Array:
        """At least Σ_(m≠0)|φ̂(turn + m)|/width, |turn| ≤ ½."""
        m = np.arange(1.0, _FAR + 1.0)[:, None]
        x = math.pi * self.width * np.concatenate([m + turn, m - turn])
        y = np.sqrt(np.abs(x * x - self.beta**2))
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            beyond = np.minimum(self.beta**2 / (x + y) * (1.0 / y + 1.0 / (y * y)), 2.0)
            within = np.sinh(np.minimum(y, self.beta)) / y + 1.0
        each = np.where(x > self.beta, beyond, np.where(y > 1e-6, within, 3.0))
        # m > M = 8: β²/(2y²)(1 + 1/y), y² ≥ x²(1 − (M + ½)^−2), Σ(m − ½)^−2 ≤ 1/M on either side
        square = 1.0 - (_FAR + 0.5) ** -2.0
        least = math.pi * self.width * (_FAR + 0.5) * math.sqrt(square)
        rest = self.beta**2 / ((math.pi * self.width) ** 2 * square * _FAR) * (1.0 + 1.0 / least)
        return np.asarray((each.sum(axis=0) + rest) / self.norm * SLACK)


@functools.lru_cache(maxsize=256)
def window(width: int, share: int) -> Window:
    """The window of this width with β = share/50·π·width, share ≤ 50."""
    beta = share / 50.0 * math.pi * width
    with flint_context.bits(_BITS):
        return Window(width, beta, float(flint.arb(beta).bessel_i(flint.arb(0)) - 1))


def _replaced(width: int, beta: float) -> tuple[Array, float]:
    """Of the lowest degree that errs by e^−β/2."""
    with flint_context.bits(_BITS):
        whole = flint.arb(beta).bessel_i(flint.arb(0)) - 1
        half = [_chebyshev(beta, width, node, whole) for node in range((width + 1) // 2)]
        allowed = max(math.exp(-beta) / 2.0, 2.0**-51)
        grown = math.cosh(_KEPT * math.sqrt(2.5 * _OUTSIDE))  # of T_j for j < KEPT a little outside of ±1
        tails = [np.cumsum([float(abs(c).upper()) for c in series][::-1])[::-1] for series, _ in half]
        degree = next(q for q in range(2, _KEPT - 1) if max(float(tail[q + 1]) for tail in tails) * grown <= allowed)
        powers = [_powers(series[: degree + 1]) for series, _ in half]
        cut = (max(float(tail[degree + 1]) for tail in tails) * grown + max(left for _, left in half)) * SLACK
        # beyond s = 1 the polynomials are of J₀ − 1; |s² − 1| ≤ 3·outside there
        edge = float((flint.arb(beta * math.sqrt(3.0 * _OUTSIDE)).bessel_i(flint.arb(0)) - 1) / whole) * SLACK
    signs = (-1.0) ** np.arange(degree + 1.0)
    table = np.zeros((degree + 1, width + -width % 8))
    for node, row in enumerate(powers):  # the last node is the first one seen from the other side
        table[:, width - 1 - node], table[:, node] = (signs * row)[::-1], row[::-1]
    sizes = np.abs(table[::-1])
    most, slope = float(sizes.sum(axis=0).max()), float((np.arange(degree + 1.0)[:, None] * sizes).sum(axis=0).max())
    # coefficients are rounded; Horner's rule; u errs by 3(width + 2)u
    rounded = (2.0 * U + gamma(2.0 * degree + 2.0)) * most + slope * 3.0 * (width + 2.0) * U
    return table, (width * (cut + rounded) * 1.001 + 2.0 * edge) * SLACK  # 1.001: powers of u beyond ±1


def _chebyshev(beta: float, width: int, node: int, norm: flint.arb) -> tuple[list[flint.arb], float]:
    """The coefficients of T_j(u), j < KEPT, of φ at one node, and at most what the others are together."""
    middle = flint.arb(width - 1 - 2 * node) / width
    step = flint.arb(1) / width
    # β²/4·(1 − s²), s = middle + u/width
    quarter = flint.arb(beta) ** 2 / 4
    inner = flint.arb_poly([quarter * (1 - middle * middle), -2 * quarter * middle * step, -quarter * step * step])
    total = flint.arb_poly([1])
    terms = math.ceil(2.0 * beta) + 24  # the next ones are less than 1/16 of the one before
    for k in range(terms, 0, -1):  # Σ_k inner^k/(k!)²
        total = 1 + total * inner * (flint.arb(1) / (k * k))
    left = quarter**terms / flint.arb(terms).fac() ** 2
    found = [(c - (1 if j == 0 else 0)) / norm for j, c in enumerate(total.coeffs())]
    beyond = sum((abs(c) for c in found[_KEPT:]), flint.arb(0)) * 2 + left / norm
    series = [flint.arb(0)] * _KEPT
    for j, c in enumerate(found[:_KEPT]):  # u^j = 2^(1−j)·Σ_i C(j, i)·T_(j−2i), half of it at T_0
        for i in range(j // 2 + 1):
            share = c * math.comb(j, i) * flint.arb(2) ** (1 - j)
            series[j - 2 * i] += share / 2 if j == 2 * i else share
    return series, float(beyond.upper()) * SLACK


def _powers(series: list[flint.arb]) -> list[float]:
    """Σ_j series_j·T_j in powers of u, rounded to float64."""
    zero = flint.arb(0)
    before, last = [flint.arb(1)], [zero, flint.arb(1)]
    out = [zero] * len(series)
    for j, c in enumerate(series):
        here = before if j == 0 else last
        if j > 1:
            here = [zero] + [2 * a for a in last]
            for i, a in enumerate(before):
                here[i] -= a
            before, last = last, here
        for i, a in enumerate(here):
            out[i] += c * a
    return [float(a) for a in out]
