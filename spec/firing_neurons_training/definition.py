"""One training step, certified: every decision is exact, and the rest is evaluated in balls.

s_ri = max(⟨w_r, x_i⟩ − threshold, 0);  z_ik = Σ_r outer_rk s_ri;  ℓ_ik = z_ik − y_ik, or Σ_l y_il·softmax(z_i)_k − y_ik
for the cross entropy;  h_ri = Σ_k outer_rk ℓ_ik;  gradient_r = Σ_i [r fires on i] h_ri x_i.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.enclosure import ArbBall, Enclosure, ball_tiers, require_held, within
from assay.spec.firing_neurons.definition import Query, margins
from assay.spec.firing_neurons.instance import data_of
from assay.spec.floating_point import require_usual
from assay.spec.memory import require_evaluable
from assay.spec.problem import Uncertified

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.enclosure import ArbArithmetic
    from assay.spec.firing_neurons_training.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["Exact", "define", "evaluate", "symbolic"]

_OUTPUTS = ("output", "gradient", "new_weights")


@dataclass(frozen=True, eq=False)
class Exact:
    """A step with what leads to it: the margins (m, n), z (n, c) as ``output``, ℓ (n, c), h (m, n), and the results."""

    margins: Enclosure
    output: Enclosure
    slope: Enclosure
    pairs: Enclosure
    gradient: Enclosure
    new_weights: Enclosure


def define(instance: Instance, relative: float = 1e-12, output: str = "output") -> Enclosure:
    """An output of the step, certified: ``"output"`` (n, c), ``"gradient"`` (m, d) or ``"new_weights"`` (m, d).

    Which neuron fires on which point is exact, and a tie does not.  The radius is at most ``relative`` times the sum of
    the absolute values of the terms of each sum.
    Raises ``ValueError`` for another output or a ``relative`` outside (0, 1).

    >>> from assay.spec.firing_neurons_training import Instance
    >>> step = Instance(*(np.array([[x]]) for x in (2.0, 1.0, 3.0, -1.0)), threshold=1.0, rate=0.5)
    >>> print(*(define(step, output=name)[0, 0] for name in ("output", "gradient", "new_weights")))
    -5.000000000000000000000000000000000000000 ± 0e+00 12.00000000000000000000000000000000000000 ± 0e+00 \
-3.000000000000000000000000000000000000000 ± 0e+00
    """
    if output not in _OUTPUTS:
        raise ValueError(f"unknown output {output!r}: expected one of {', '.join(_OUTPUTS)}")
    found: Enclosure = getattr(evaluate(instance, relative), output)
    return found


def evaluate(instance: Instance, relative: float = 1e-12) -> Exact:
    """The step with what leads to it.  Raises ``ValueError`` for a ``relative`` outside (0, 1)."""
    if not 0.0 < relative < 1.0:
        raise ValueError(f"relative: {relative!r}, expected a number between 0 and 1")
    require_usual()
    require_evaluable(instance)
    data, targets, weights, outer = _wide(instance)
    margin = margins(Query("", data_of(range(len(weights))), weights, data, instance.threshold))
    fires = margin.midpoint > 0.0
    for arithmetic in ball_tiers(relative):
        balls = _balls(instance, (data, targets, weights, outer), fires, arithmetic)
        for name, ball in balls.items():
            require_held(name, ball, np.asarray(True))
        found = {name: _enclosure(ball) for name, ball in balls.items()}
        sizes = _sizes(instance, (data, weights, outer), fires, found)
        if all(within(balls[name].error(), relative, size, 2.0**-1000).all() for name, size in sizes.items()):
            return Exact(margin, **found)
    raise Uncertified(f"relative: {relative!r} was not reached with {arithmetic.precision} bits")


def _wide(instance: Instance) -> tuple[Array, Array, Array, Array]:
    """The arrays in float64, which holds every number as it is."""
    arrays = (instance.data, instance.targets, instance.weights, instance.outer)
    data, targets, weights, outer = (x.astype(np.float64) for x in arrays)
    return data, targets, weights, outer


def _transposed(ball: ArbBall) -> ArbBall:
    return ArbBall(ball.balls.T, ball.precision)


def _balls(
    instance: Instance, arrays: tuple[Array, Array, Array, Array], fires: NDArray[np.bool_], arithmetic: ArbArithmetic
) -> dict[str, ArbBall]:
    """The step in balls, read like the formulas at the top of this module."""
    data, targets, weights, outer = arrays
    active = arithmetic.product(weights, data.T).plus(np.asarray(-instance.threshold)).where(fires, 0.0)
    output = _transposed(active).matmul(arithmetic.exact(outer))
    if instance.loss == "squared":
        slope = output.plus(-targets)
    else:
        shifted = output.minus_row(output.largest(np.ones(targets.shape, dtype=bool)))
        exponentials = shifted.exp()
        total = arithmetic.exact(targets).total()
        slope = exponentials.divided(exponentials.total()).times(total).plus(-targets)
    pairs = arithmetic.exact(outer).matmul(_transposed(slope))
    gradient = pairs.where(fires, 0.0).matmul(arithmetic.exact(data))
    new = gradient.scaled(-instance.rate).plus(weights)
    return {"output": output, "slope": slope, "pairs": pairs, "gradient": gradient, "new_weights": new}


def _enclosure(ball: ArbBall) -> Enclosure:
    return Enclosure(*ball.rounded(), ball.full)


def _sizes(
    instance: Instance, arrays: tuple[Array, Array, Array], fires: NDArray[np.bool_], found: dict[str, Enclosure]
) -> dict[str, Array]:
    """About the sum of the absolute values of the terms of every result."""
    data, weights, outer = arrays
    with np.errstate(all="ignore"):
        active = np.where(fires, np.abs(weights) @ np.abs(data).T + abs(instance.threshold), 0.0)
        pairs = np.abs(outer) @ np.abs(found["slope"].midpoint).T
        gradient = np.where(fires, pairs, 0.0) @ np.abs(data)
        new = np.abs(weights) + abs(instance.rate) * gradient
        return {"output": active.T @ np.abs(outer), "gradient": gradient, "new_weights": new}


def symbolic(instance: Instance) -> dict[str, NDArray[np.object_]]:
    """The outputs of the step as SymPy expressions, by name.  Raises ``ValueError`` for over 256 numbers.

    >>> from assay.spec.firing_neurons_training import Instance
    >>> step = Instance(*(np.array([[x]]) for x in (2.0, 1.0, 3.0, -1.0)), threshold=1.0, rate=0.5)
    >>> symbolic(step)["gradient"][0, 0]
    12
    """
    import sympy

    if (numbers := sum(x.size for x in instance.arrays().values())) > 256:
        raise ValueError(f"symbolic: {numbers} numbers, expected at most 256")
    data, targets, weights, outer = (
        sympy.Matrix(*x.shape, [sympy.Rational(y) for y in x.ravel().tolist()]) for x in _wide(instance)
    )
    margin = weights * data.T - sympy.Rational(instance.threshold) * sympy.ones(weights.rows, data.rows)
    fires = margin.applyfunc(lambda x: sympy.Integer(1 if x > 0 else 0))
    output = sympy.matrix_multiply_elementwise(margin, fires).T * outer
    if instance.loss == "squared":
        slope = output - targets
    else:
        exponentials = output.applyfunc(sympy.exp)
        slope = sympy.Matrix(
            *targets.shape,
            lambda i, k: sum(targets.row(i)) * exponentials[i, k] / sum(exponentials.row(i)) - targets[i, k],
        )
    gradient = sympy.matrix_multiply_elementwise(outer * slope.T, fires) * data
    new = weights - sympy.Rational(instance.rate) * gradient
    as_array: Callable[[Any], NDArray[np.object_]] = lambda matrix: np.array(matrix.tolist(), dtype=object)  # noqa: E731
    return {"output": as_array(output), "gradient": as_array(gradient), "new_weights": as_array(new)}
