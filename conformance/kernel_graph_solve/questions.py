"""What a solver does where the problem leaves it a choice, or where the input makes no sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.profile.questions import REPEATS, Ask, Question, nan_in

if TYPE_CHECKING:
    from assay.spec.kernel_graph_solve import Instance

__all__ = ["QUESTIONS"]


def _constant(ask: Ask) -> str:
    """Which of the solutions, all of which are right, is returned."""
    instance: Instance = ask.typical()
    x = ask.call(instance)["x"]
    size = float(np.abs(x).max())
    if abs(float(x.mean())) <= 1e-3 * size:
        return "its mean is 0"
    for place, words in ((0, "the first number is 0"), (-1, "the last number is 0")):
        if x[place] == 0:
            return words
    return f"its mean is {x.mean():.3g}"


def _not_orthogonal(ask: Ask) -> str:
    """A right side whose sum is not 0, for which there is no solution."""
    instance: Instance = ask.typical()
    x = ask.call(instance, right_side=np.ones_like(instance.right_side))["x"]
    if not np.isfinite(x).all():
        return "gives numbers that are not finite"
    return f"is taken: numbers up to {np.abs(x).max():.3g}"


def _apart(ask: Ask) -> str:
    """Points so far apart that every weight is 0."""
    instance: Instance = ask.typical()
    far = np.arange(len(instance.points), dtype=np.float64)[:, None] * 2.0**12 + np.zeros(instance.points.shape)
    x = ask.call(instance, points=far.astype(instance.points.dtype))["x"]
    return (
        f"is taken: numbers up to {np.abs(x).max():.3g}"
        if np.isfinite(x).all()
        else "gives numbers that are not finite"
    )


#: In the order of the data sheet.
QUESTIONS: tuple[Question, ...] = (
    Question("constant", "choices", "which solution", _constant),
    Question("not-orthogonal", "input", "a right side whose sum is not 0", _not_orthogonal),
    Question("apart", "input", "a graph that falls apart", _apart),
    REPEATS,
    nan_in("points", "NaN in a coordinate"),
    nan_in("right_side", "NaN in the right side"),
)
