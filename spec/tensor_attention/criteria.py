"""What the outputs of a kernel of attention of order k are held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.spec.criterion import Criterion, close, close_before_rounding
from assay.spec.precision import precision as precision_named
from assay.spec.precision import reference_accuracy
from assay.spec.tensor_attention.definition import evaluate
from assay.spec.tensor_attention.rounding import PRECISIONS
from assay.spec.tensor_attention.tolerance import tolerance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.spec.precision import Precision
    from assay.spec.tensor_attention.instance import Instance

__all__ = ["criteria"]


def criteria(instance: Instance, precision: str | Precision) -> Mapping[str, Criterion]:
    """Output → its criterion: close to the definition within the tolerance of the class.

    ``log_sum_exp`` is among them where the instance asks for it (``return_lse``).

    >>> import numpy as np
    >>> from assay.spec.tensor_attention import Instance
    >>> x = np.ones((1, 1, 2, 2), np.float32)
    >>> float(criteria(Instance(x, x, x, x, x), "float32")["output"].ratio(x).max())
    0.0
    """
    u = precision_named(precision, PRECISIONS)
    exact = evaluate(instance, reference_accuracy(u))
    held_to = {"output": close(exact.output, tolerance(instance, u, exact=exact))}
    if instance.return_lse:
        allowed = tolerance(instance, u, "log_sum_exp", exact=exact)
        held_to["log_sum_exp"] = close_before_rounding(exact.log_sum_exp, allowed)
    return held_to
