"""Exact solvers of kernel graphs of few points, for what decodes them: sums, potentials and edges as rationals."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.spec.kernel_graph.functions import named

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Objects = NDArray[np.object_]

__all__ = ["edges", "energy_error", "potentials", "sums", "weights"]

_BITS = 1200


def rational(ball: Any) -> Fraction:
    """The middle of a ball."""
    mantissa, exponent = ball.mid().man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def weights(instance: Any, rows: NDArray[Any] | None = None) -> Objects:
    """f of all squared distances, (rows, points), within 2^-1100 or so: every distance is evaluated once."""
    f = named(instance.function, instance.parameter)
    goals = instance.points if rows is None else rows
    exact = [[[Fraction(x) for x in row] for row in each.tolist()] for each in (goals, instance.points)]
    known: dict[Fraction, Fraction] = {}
    found = np.empty((len(goals), len(instance.points)), dtype=object)
    with flint.ctx.workprec(_BITS):
        for i, x in enumerate(exact[0]):
            for j, y in enumerate(exact[1]):
                z = sum(((a - b) ** 2 for a, b in zip(x, y, strict=True)), Fraction(0))
                if z not in known:
                    known[z] = rational(f.ball(flint.arb(flint.fmpq(z.numerator, z.denominator))))
                found[i, j] = known[z]
    return found


def sums(instance: Any) -> Objects:
    """The sums of a product without a graph, for vectors of ones: (targets, 1)."""
    return np.asarray(weights(instance, instance.targets).sum(axis=1)[:, None])


def potentials(instance: Any) -> Objects:
    """The solution of a solve, the last point at 0: (points,)."""
    table = weights(instance)
    n = len(table)
    with flint.ctx.workprec(_BITS):
        balls = [[flint.arb(flint.fmpq(w.numerator, w.denominator)) for w in row] for row in table]
        grounded = flint.arb_mat(
            [[sum(balls[i]) - balls[i][i] if i == j else -balls[i][j] for j in range(n - 1)] for i in range(n - 1)]
        )
        right = flint.arb_mat([[flint.arb(b)] for b in instance.right_side.tolist()[:-1]])
        solved = grounded.solve(right)
        return np.array([*(rational(solved[i, 0]) for i in range(n - 1)), Fraction(0)], dtype=object)


def energy_error(instance: Any, x: Any) -> float:
    """|x − L⁺b|_L/|L⁺b|_L."""
    table, exact = weights(instance), potentials(instance)

    def energy(y: Any) -> Fraction:
        terms = (table[i, j] * (y[i] - y[j]) ** 2 for i in range(len(y)) for j in range(i))
        return sum(terms, Fraction(0))

    off = [Fraction(a) - b for a, b in zip(x, exact, strict=True)]
    return float(energy(off) / energy(exact)) ** 0.5


def edges(instance: Any) -> tuple[NDArray[Any], NDArray[Any], Objects]:
    """The whole graph as a sparsifier of itself."""
    left, right = np.triu_indices(len(instance.points), 1)
    return left, right, weights(instance)[left, right]
