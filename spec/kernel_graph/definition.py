"""What a multiplication with a kernel graph is: certified in any arithmetic, one paragraph a formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.enclosure import ArbArithmetic, Enclosure, Evaluated, Result, escalate, within
from assay.spec.kernel_graph.symbols import expression
from assay.spec.memory import require_evaluable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.enclosure import Arithmetic
    from assay.spec.kernel_graph.functions import Function
    from assay.spec.kernel_graph.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["define", "distances", "symbolic", "weights"]

_LEAST = 2.0**-1060  # what an entry may be off besides, where it is about to underflow


def define(instance: Instance, relative: float = 1e-12, output: str = "output") -> Enclosure:
    """The output, certified: (n, columns), or (m, columns) with targets.

    The radius is at most ``relative``·Σ_j f_ij|v_j|, with ``laplacian`` ``relative``·Σ_j f_ij(|v_i| + |v_j|), besides
    2^-1060·Σ_j|v_j| and the rounding of the midpoint.
    Raises ``ValueError`` for another output or a ``relative`` outside (0, 1), and
    :class:`~assay.spec.problem.InvalidInstance` where a result is beyond float64.

    >>> from assay.spec.kernel_graph import Instance
    >>> x = np.array([[0.0], [1.0]])
    >>> print(define(Instance(x, x, function="gaussian"), 1e-25)[0, 0])
    0.36787944117144232159552377016 ± 3e-30
    """
    if output != "output":
        raise ValueError(f"unknown output {output!r}: expected 'output'")
    require_evaluable(instance)
    f = instance.weight()
    points, vectors = instance.points.astype(np.float64), instance.vectors.astype(np.float64)
    graph = instance.targets is None
    rows = points if instance.targets is None else instance.targets.astype(np.float64)
    with np.errstate(all="ignore"):
        least = _LEAST * (1.0 + np.abs(vectors).sum(axis=0))

    def evaluated(arithmetic: Arithmetic, block: tuple[NDArray[np.intp], NDArray[np.intp]]) -> Evaluated:
        at = block[1]
        other = at[:, None] != np.arange(len(points)) if graph else np.ones((len(at), len(points)), dtype=bool)

        # w_ij = f(‖x_i − x_j‖²), and on the diagonal what the instance says
        entry = weights(arithmetic, f, rows[at], points, other).where(other, instance.diagonal)

        # out_i = Σ_j w_ij v_j
        value, size = entry.times_matrix(vectors)

        # (Lv)_i = (Σ_j w_ij) v_i − Σ_j w_ij v_j
        if instance.laplacian:
            degree = entry.times_matrix(np.ones((len(points), 1)))[0]
            own = degree.times(arithmetic.exact(np.ones((len(at), vectors.shape[1]))))
            own = own.times(arithmetic.exact(vectors[at]))
            value = own.plus_ball(value.scaled(-1.0))
            size = size + np.abs(own.rounded()[0])
        fine = within(value.error(), relative, size, least)
        fine = (fine & np.isfinite(value.rounded()[0])).all(axis=1)
        return Evaluated({"output": _stacked(value)}, fine[None])

    shape = (len(rows), vectors.shape[1])
    return escalate(evaluated, np.ones((1, len(rows)), bool), {"output": Result(shape)}, relative, len(points))[
        "output"
    ]


def _stacked(balls: Any) -> Any:
    """Balls with one axis more before the others."""
    return balls[None]


def distances(arithmetic: Arithmetic, x: Array, y: Array) -> Any:
    """The balls of ‖x_i − y_j‖², (m, n), of exact points x (m, d) and y (n, d): relatively accurate however close."""
    total = None
    for c in range(x.shape[1]):
        column = np.broadcast_to(x[:, c, None], (len(x), len(y)))
        gap = arithmetic.exact(column).plus(-np.broadcast_to(y[:, c], column.shape))
        square = gap.times(gap)
        total = square if total is None else total.plus_ball(square)
    return total


def weights(arithmetic: Arithmetic, f: Function, x: Array, y: Array, wanted: NDArray[np.bool_]) -> Any:
    """The balls of f(‖x_i − y_j‖²), (m, n); where it is not wanted, the value at distance 1 stands.

    A function that has a form for arrays is evaluated in it, but in balls of many bits; any other in balls everywhere.
    """
    if f.arrays is not None and not isinstance(arithmetic, ArbArithmetic):
        return f.arrays(distances(arithmetic, x, y).where(wanted, 1.0))
    wide = ArbArithmetic(arithmetic.precision if isinstance(arithmetic, ArbArithmetic) else 128)
    z = distances(wide, x, y).where(wanted, 1.0)
    balls = z.each(lambda ball: f.ball(ball if ball <= f.last else _last(ball, f.last)))
    return balls if isinstance(arithmetic, ArbArithmetic) else arithmetic.around(balls.full())


def _last(ball: Any, last: float) -> Any:
    """The part of a ball of distances that is not beyond the last one, where it is known."""
    return ball.min(type(ball)(last))


def symbolic(instance: Instance) -> NDArray[np.object_]:
    """The output as SymPy expressions, (n, columns) or (m, columns).  Raises ``ValueError`` for over 4,096 numbers.

    It is also one for a function of the user's own, of which SymPy knows nothing.

    >>> from assay.spec.kernel_graph import Instance
    >>> x = np.array([[0.0], [1.0]])
    >>> symbolic(Instance(x, x, function="rational", laplacian=True))
    array([[-1/2],
           [1/2]], dtype=object)
    """
    import sympy

    if instance.spanned() > 4096:
        raise ValueError(f"symbolic: {instance.spanned()} numbers, expected at most 4096")
    points, vectors = _exact(instance.points), _exact(instance.vectors)
    graph = instance.targets is None
    rows = points if instance.targets is None else _exact(instance.targets)
    out = np.full((len(rows), vectors.shape[1]), sympy.Integer(0), dtype=object)
    for i, j in np.ndindex(len(rows), len(points)):
        if graph and i == j:
            out[i] = out[i] + sympy.Rational(instance.diagonal) * vectors[i]
            continue
        z = sum(((a - b) ** 2 for a, b in zip(rows[i], points[j], strict=True)), sympy.Integer(0))
        weight = expression(instance.function, instance.parameter, z)
        out[i] = out[i] + weight * ((vectors[i] - vectors[j]) if instance.laplacian else vectors[j])
    return out


def _exact(array: NDArray[Any]) -> NDArray[np.object_]:
    """The numbers as SymPy rationals."""
    import sympy

    exact = np.empty(array.shape, dtype=object)
    for index, number in np.ndenumerate(array.astype(np.float64)):
        exact[index] = sympy.Rational(float(number))
    return exact
