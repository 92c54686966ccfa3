"""What the outputs of a simulation are held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.spec.criterion import Criterion, close, close_before_rounding
from assay.spec.precision import reference_accuracy
from assay.spec.small_transformers.definition import evaluate
from assay.spec.small_transformers.tolerance import tolerance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.spec.precision import Precision
    from assay.spec.small_transformers.instance import Instance

__all__ = ["criteria"]


def criteria(instance: Instance, precision: Precision) -> Mapping[str, Criterion]:
    """Output → its criterion: close to the attention that is simulated, within the tolerance of the class.

    ``log_sum_exp`` is among them where the instance asks for it (``return_lse``).  What an oracle saw is no output of
    the problem; whoever hands it over refuses calls of more than ``oracle_size`` tokens.

    >>> import numpy as np
    >>> from assay.spec.small_transformers import PRECISIONS, Instance
    >>> x = np.ones((1, 1, 4, 1), np.float32)
    >>> float(criteria(Instance(x, x, x, oracle_size=3), PRECISIONS["float32"])["output"].ratio(x).max())
    0.0
    """
    exact = evaluate(instance, reference_accuracy(precision))
    held_to = {"output": close(exact.output, tolerance(instance, precision, exact=exact))}
    if instance.return_lse:
        allowed = tolerance(instance, precision, "log_sum_exp", exact=exact)
        held_to["log_sum_exp"] = close_before_rounding(exact.log_sum_exp, allowed)
    return held_to
