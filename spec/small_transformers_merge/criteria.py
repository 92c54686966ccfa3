"""What the outputs of a merge are held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.spec.criterion import Criterion, close, close_before_rounding
from assay.spec.enclosure import Enclosure
from assay.spec.precision import reference_accuracy
from assay.spec.small_transformers_merge.definition import evaluate, restored
from assay.spec.small_transformers_merge.tolerance import tolerance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.spec.precision import Precision
    from assay.spec.small_transformers_merge.instance import Instance

__all__ = ["criteria"]


def criteria(instance: Instance, precision: Precision) -> Mapping[str, Criterion]:
    """Output → its criterion: close to the definition within the tolerance of the class.

    ``log_sum_exp`` is among them where the instance asks for it (``return_lse``).

    >>> import numpy as np
    >>> from assay.spec.small_transformers_merge import PRECISIONS, Instance
    >>> parts, logs = np.ones((2, 1, 1, 1, 1), np.float32), np.zeros((2, 1, 1, 1), np.float32)
    >>> float(criteria(Instance(parts, logs), PRECISIONS["float32"])["output"].ratio(parts[0]).max())
    0.0
    """
    exact = evaluate(instance, reference_accuracy(precision))
    held_to = {"output": close(_back(instance, exact.output), tolerance(instance, precision, exact=exact))}
    if instance.return_lse:
        allowed = tolerance(instance, precision, "log_sum_exp", exact=exact)
        held_to["log_sum_exp"] = close_before_rounding(_back(instance, exact.log_sum_exp), allowed)
    return held_to


def _back(instance: Instance, made: Enclosure) -> Enclosure:
    return Enclosure(restored(instance, made.midpoint), restored(instance, made.radius))
