"""What a solve is: L⁺b, the potentials of mean 0, certified in balls whatever the condition number."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.spec import flint_context
from assay.spec.enclosure import ArbArithmetic, Enclosure
from assay.spec.floating_point import require_usual
from assay.spec.kernel_graph.definition import weights
from assay.spec.kernel_graph.symbols import expression
from assay.spec.memory import require_evaluable
from assay.spec.problem import InvalidInstance, Uncertified

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.kernel_graph_solve.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["LARGEST", "Solved", "define", "solved", "symbolic"]

#: Points of the largest instance that is solved in balls.
LARGEST = 512
_MOST_BITS = 1 << 15


@dataclass(frozen=True, eq=False)
class Solved:
    """L⁺b, (n,), its squared energy b'L⁺b, and the squared energy that the radii may have, as ``flint.arb``."""

    potentials: NDArray[np.object_]
    energy: Any
    unknown: Any


def define(instance: Instance, relative: float = 1e-12, output: str = "x") -> Enclosure:
    """L⁺b, certified, (n,): the radius is at most ``relative``·max|x|, besides the rounding of the midpoint.

    Raises ``ValueError`` for another output or a ``relative`` outside (0, 1), and
    :class:`~assay.spec.problem.InvalidInstance` for more than 512 points.

    >>> from assay.spec.kernel_graph_solve import Instance
    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> print(define(Instance(x, np.array([1.0, 0.0, -1.0]), function="rational", tolerance=0.5), 1e-20)[0])
    1.111111111111111111111111111111111111 ± 2e-37
    """
    if output != "x":
        raise ValueError(f"unknown output {output!r}: expected 'x'")
    require_evaluable(instance)
    balls = solved(instance, relative).potentials
    middle = np.array([float(ball.mid()) for ball in balls])
    with flint_context.bits(_MOST_BITS):
        radius = np.array([_above(ball - m) for ball, m in zip(balls, map(flint.arb, middle.tolist()), strict=True)])
    if not np.isfinite(middle).all():
        raise InvalidInstance("x: potentials beyond float64, expected at most 2^1024")
    return Enclosure(middle, radius, lambda: balls)


@functools.lru_cache(maxsize=2)  # an instance is asked for its solution and held to its criterion
def solved(instance: Instance, relative: float) -> Solved:
    """L⁺b in balls of as many bits as it takes.

    Radii are at most ``relative``·max|x|, and ``relative``·|L⁺b|_L in the norm of the energy, so that also the
    differences of potentials that a large weight holds together are known.
    """
    if not 0.0 < relative < 1.0:
        raise ValueError(f"relative: {relative!r}, expected a number between 0 and 1")
    require_usual()
    n = len(instance.points)
    if n > LARGEST:
        raise InvalidInstance(f"points: {n}, expected at most {LARGEST}, which are solved in balls")
    bits = 128
    while bits <= _MOST_BITS:
        found = _solved(instance, bits)
        if found is not None:
            with flint_context.bits(bits):
                largest = max(abs(ball).mid() for ball in found.potentials)
                allowed = flint.arb(relative) * largest
                close = all(flint.arb(ball.rad()) < allowed for ball in found.potentials)
                sharp = flint.arb(found.energy.rad()) < flint.arb(relative) * found.energy
                if close and sharp and found.unknown < flint.arb(relative) ** 2 * found.energy:
                    return found
        bits *= 2
    raise Uncertified(f"relative: {relative!r} was not reached with {_MOST_BITS} bits")


def _solved(instance: Instance, bits: int) -> Solved | None:
    """The solution at a precision, ``None`` where it says nothing."""
    x, b = instance.points.astype(np.float64), instance.right_side.astype(np.float64).tolist()
    n = len(x)
    other = ~np.eye(n, dtype=bool)
    w = weights(ArbArithmetic(bits), instance.weight(), x, x, other).where(other, 0.0).full()
    with flint_context.bits(bits):
        # the last vertex is grounded: (Lx)_i = b_i for the others
        rows = [[-w[i, j] for j in range(n - 1)] for i in range(n - 1)]
        for i in range(n - 1):
            rows[i][i] = sum(w[i].tolist(), flint.arb(0))
        right = flint.arb_mat([[flint.arb(number)] for number in b[:-1]])
        try:
            ground = flint.arb_mat(rows).solve(right)
        except ZeroDivisionError:  # not known to be regular at this precision
            return None
        values = [ground[i, 0] for i in range(n - 1)] + [flint.arb(0)]
        mean = sum(values, flint.arb(0)) / n
        potentials = np.empty(n, dtype=object)
        potentials[:] = [value - mean for value in values]
        energy = sum((flint.arb(number) * value for number, value in zip(b, values, strict=True)), flint.arb(0))
        good = all(value.is_finite() for value in values) and energy > 0
        # Σ_{i<j} w_ij(r_i + r_j)² ≤ 2·Σ_i r_i²·Σ_j w_ij
        radii = [flint.arb(ball.rad()) for ball in potentials]
        unknown = sum((2 * r * r * sum(w[i].tolist(), flint.arb(0)) for i, r in enumerate(radii)), flint.arb(0))
    return Solved(potentials, energy, unknown) if good else None


def _above(ball: Any) -> float:
    """A float64 that is at least every number of a ball in size."""
    return float(np.nextafter(float(ball.abs_upper()), np.inf)) if ball != 0 else 0.0


def symbolic(instance: Instance) -> NDArray[np.object_]:
    """L⁺b as SymPy expressions, (n,).  Raises ``ValueError`` for over 6 points.

    >>> from assay.spec.kernel_graph_solve import Instance
    >>> x = np.array([[0.0], [1.0]])
    >>> symbolic(Instance(x, np.array([1.0, -1.0]), function="gaussian", tolerance=0.5)).tolist()
    [E/2, -E/2]
    """
    import sympy

    n = len(instance.points)
    if n > 6:
        raise ValueError(f"symbolic: {n} points, expected at most 6")
    points = [[sympy.Rational(c) for c in row] for row in instance.points.astype(np.float64).tolist()]
    b = sympy.Matrix([sympy.Rational(number) for number in instance.right_side.astype(np.float64).tolist()])

    def weight(i: int, j: int) -> Any:
        z = sum(((p - q) ** 2 for p, q in zip(points[i], points[j], strict=True)), sympy.Integer(0))
        return expression(instance.function, instance.parameter, z)

    laplacian = sympy.zeros(n, n)
    for i in range(n):
        for j in range(i):
            w = weight(i, j)
            laplacian[i, j] = laplacian[j, i] = -w
            laplacian[i, i] += w
            laplacian[j, j] += w
    x = (laplacian + sympy.ones(n, n) / n).LUsolve(b)
    return np.array([sympy.simplify(value) for value in x], dtype=object)
