"""What the outputs of an attention kernel are held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.spec.attention.definition import evaluate
from assay.spec.attention.tolerance import tolerance
from assay.spec.criterion import Criterion, close, close_before_rounding
from assay.spec.precision import reference_accuracy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.spec.attention.instance import Instance
    from assay.spec.precision import Precision

__all__ = ["criteria"]


def criteria(instance: Instance, precision: Precision) -> Mapping[str, Criterion]:
    """Output → its criterion: close to the definition within the tolerance of the class.

    ``log_sum_exp`` is among them where the instance asks for it (``return_lse``).

    >>> import numpy as np
    >>> from assay.spec.attention import PRECISIONS, Instance
    >>> x = np.ones((1, 1, 2, 1), np.float32)
    >>> float(criteria(Instance(x, x, x), PRECISIONS["float32"])["output"].ratio(x).max())
    0.0
    """
    exact = evaluate(instance, reference_accuracy(precision))
    held_to = {"output": close(exact.output, tolerance(instance, precision, exact=exact))}
    if instance.return_lse:
        allowed = tolerance(instance, precision, "log_sum_exp", exact=exact)
        held_to["log_sum_exp"] = close_before_rounding(exact.log_sum_exp, allowed)
    return held_to
