"""Which classes of machine arithmetic are accurate enough for a decoder: computed from their tolerance."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from assay.spec.attention import Instance, evaluate, tolerance
from assay.spec.precision import PRECISIONS, reference_accuracy

if TYPE_CHECKING:
    from assay.spec.reductions.reduction import Reduced

__all__ = ["largest_tolerances", "sufficient_classes"]


def largest_tolerances(problem: Reduced) -> dict[str, float]:
    """By class that stores its inputs in the instance's type: the largest error that a correct kernel of it may make.

    +inf where the instance is outside the domain of the class.  ``ValueError`` for another target than attention.
    Takes n × m numbers: for moderate sizes.
    """
    instance = problem.target
    if not isinstance(instance, Instance):
        raise ValueError(f"the target is {type(instance).__name__}: tolerances are known for attention only")
    classes = [each for each in PRECISIONS.values() if each.storage == instance.query.dtype.name]
    exact = evaluate(instance, min(reference_accuracy(each) for each in classes))
    return {each.name: float(tolerance(instance, each, exact=exact).max()) for each in classes}


def sufficient_classes(problem: Reduced) -> tuple[str, ...]:
    """The classes of which *every* correct kernel's output decodes rightly: its tolerance is below the needed accuracy.

    A class that is missing here may well decode this instance; only, its accuracy does not promise it.
    """
    return tuple(name for name, error in largest_tolerances(problem).items() if _below(error, problem.accuracy))


def _below(error: float, accuracy: Fraction) -> bool:
    return error != float("inf") and Fraction(error) < accuracy
