"""Which classes of machine arithmetic are accurate enough for a decoder: computed from what their kernels may err."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from assay.spec.problem import PROBLEMS
from assay.spec.problem import problem as problem_named
from assay.spec.reductions.to_document_similarity import answer_error

if TYPE_CHECKING:
    from assay.spec.instance import Instance
    from assay.spec.reductions.reduction import Reduced

__all__ = ["largest_tolerances", "sufficient_classes"]


def largest_tolerances(problem: Reduced) -> dict[str, float]:
    """By class that stores its inputs in the instance's type: the largest error that a correct kernel of it may make.

    +inf where the instance is outside the domain of the class.  Raises ``ValueError`` where the target is not a problem
    with a definition of its own (:data:`~assay.spec.problem.PROBLEMS`).
    Takes as much memory as the criteria of that problem, n × m numbers for attention: for moderate sizes.
    """
    name = problem.reduction.target
    if name not in PROBLEMS:
        raise ValueError(f"the target is {name}: tolerances are known for {', '.join(PROBLEMS)}")
    target, instance = problem_named(name), problem.target
    classes = [u for u in target.PRECISIONS.values() if u.storage == _storage(instance)]
    if name == "document_similarity":
        return {u.name: answer_error(instance, u) for u in classes}
    if name == "firing_neurons":  # its criteria are by query
        return {u.name: float(target.tolerance(instance, u, problem.reduction.output).max()) for u in classes}
    return {u.name: float(target.criteria(instance, u)[problem.reduction.output].allowed.max()) for u in classes}


def sufficient_classes(problem: Reduced) -> tuple[str, ...]:
    """The classes of which *every* correct kernel's output decodes rightly: its tolerance is below the needed accuracy.

    A class that is missing here may well decode this instance; only, its accuracy does not promise it.
    """
    return tuple(name for name, error in largest_tolerances(problem).items() if _below(error, problem.accuracy))


def _storage(instance: Instance) -> str:
    """The type of an instance: that of its first array."""
    return next(array.dtype.name for array in instance.arrays().values())


def _below(error: float, accuracy: Fraction) -> bool:
    return error != float("inf") and Fraction(error) < accuracy
