"""What a kernel is handed that asks for the results of the forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec import tensor_attention
from assay.spec.floats import dtype_named
from assay.spec.precision import reference_accuracy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.precision import Precision
    from assay.spec.tensor_attention_gradient.instance import Incoming

__all__ = ["handed"]


def handed(instance: Incoming, precision: Precision) -> tuple[NDArray[Any], NDArray[Any]]:
    """The output and the log-sum-exp of the forward pass, rounded to the nearest numbers.

    Their types are those of :func:`assay.spec.attention_gradient.handed`; the log-sum-exp of a query that attends to
    nothing is −inf.

    >>> from assay.spec.tensor_attention_gradient import PRECISIONS, Instance
    >>> x = np.ones((1, 1, 2, 1), np.float16)
    >>> [str(array.dtype) for array in handed(Instance(x, x, x, x, x, x), PRECISIONS["float16"])]
    ['float16', 'float32']
    """
    exact = tensor_attention.evaluate(instance.forward(), reference_accuracy(precision))
    wide = np.float64 if precision.result == "float64" else np.float32
    with np.errstate(over="ignore"):
        return exact.output.midpoint.astype(dtype_named(precision.result)), exact.log_sum_exp.midpoint.astype(wide)
