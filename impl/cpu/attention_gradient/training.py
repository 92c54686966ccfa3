"""Gradient descent whose every step is proved to descend (proofs_notes/attention_gradient_fast.md, GRAD-8).

A step is taken only if the certified intervals of the loss before and after it do not meet.  At the end the norm of the
computed gradient and the norm of its certificate bound the norm of the true gradient.  Nothing is promised about the
path: exact descent from the same start may end elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.attention_gradient.loss import Evaluated, Loss

    Array = NDArray[np.float64]

__all__ = ["Step", "Trained", "descend"]

_HALVINGS = 40
_U = 2.0**-53


@dataclass(frozen=True)
class Step:
    """One point of a descent: |loss − L| ≤ error; the true gradient's norm is in gradient ± gradient_error.

    rate: of the step that led here, 0 for the start.  decrease: what L is proved to have fallen in that step.
    """

    loss: float
    error: float
    gradient: float
    gradient_error: float
    rate: float
    decrease: float

    @property
    def largest_gradient(self) -> float:
        """A proved upper bound of the norm of the true gradient."""
        return (self.gradient + self.gradient_error) * (1.0 + 2.0**-40)


@dataclass(frozen=True, eq=False)
class Trained:
    """The end of a descent, and its points in order.

    exhausted: whether the descent ended because no rate led to a proved decrease with a certified gradient.
    """

    weights: Array
    value_weights: Array
    steps: tuple[Step, ...]
    exhausted: bool


def descend(
    loss: Loss, weights: Array, value_weights: Array, *, steps: int, error: float, gradient_error: float,
    rate: float = 1.0, target: float = 0.0, threads: int | None = None,
    progress: Callable[[int, Step], None] = lambda number, step: None,
) -> Trained:  # fmt: skip
    """Gradient descent from X = ``weights`` and Y = ``value_weights``; every step's decrease of the loss is proved.

    steps: the most steps.  error, gradient_error: as for :meth:`Loss.approximate`.  rate: the first rate that is tried;
    later ones are those of Barzilai and Borwein (1988), and a rate is halved until the decrease is proved.  target: the
    descent ends where the norm of the true gradient is proved to be at most this.  progress: called after every step
    with its number and the point.

    The descent ends early where 40 halvings lead to no proved decrease, or to scores too large for the polynomial
    route.  Raises :class:`~assay.spec.approximation.Infeasible` where they are too large at the start.
    """
    here = loss.approximate(weights, value_weights, error, gradient_error, threads=threads)
    points = [_point(here, 0.0, 0.0)]
    progress(0, points[0])
    for number in range(1, steps + 1):
        if points[-1].largest_gradient <= target:
            break
        for _ in range(_HALVINGS):
            moved = weights - rate * here.weights.value, value_weights - rate * here.value_weights.value
            try:
                trial = loss.forward(*moved, error, threads=threads)
                before, after = float(here.loss.value - here.loss.error), float(trial.loss.value + trial.loss.error)
                decrease = before - after - 4.0 * _U * (abs(before) + abs(after))
                if decrease > 0.0:
                    there = loss.approximate(*moved, error, gradient_error, forward=trial, threads=threads)
                    break
            except ValueError:  # scores too large to be certified, so that nothing is proved
                pass
            rate /= 2.0
        else:
            return Trained(weights, value_weights, tuple(points), True)
        points.append(_point(there, rate, decrease))
        progress(number, points[-1])
        rate = _next(rate, here, there)
        (weights, value_weights), here = moved, there
    return Trained(weights, value_weights, tuple(points), False)


def _point(at: Evaluated, rate: float, decrease: float) -> Step:
    both = (at.weights, at.value_weights)
    norm, error = (
        math.sqrt(sum(float(np.square(x).sum()) for x in parts))
        for parts in ([each.value for each in both], [each.error for each in both])
    )
    return Step(float(at.loss.value), float(at.loss.error), norm, error, rate, decrease)


def _next(rate: float, here: Evaluated, there: Evaluated) -> float:
    """The rate ⟨s, s⟩/⟨s, y⟩ of Barzilai and Borwein, s = −rate·gradient; twice the last where that has no sense."""
    square, product = 0.0, 0.0
    for old, new in ((here.weights, there.weights), (here.value_weights, there.value_weights)):
        step, change = -rate * old.value, new.value - old.value
        square += float((step * step).sum())
        product += float((step * change).sum())
    return square / product if product > 0.0 and square / product < 100.0 * rate else 2.0 * rate
