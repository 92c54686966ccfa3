"""What the output of a multiplication is held to: every number is close to the exact one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.spec.criterion import close
from assay.spec.kernel_graph.definition import define
from assay.spec.kernel_graph.rounding import PRECISIONS
from assay.spec.kernel_graph.tolerance import tolerance
from assay.spec.precision import precision as precision_named
from assay.spec.precision import reference_accuracy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.spec.criterion import Criterion
    from assay.spec.kernel_graph.instance import Instance
    from assay.spec.precision import Precision

__all__ = ["criteria"]


def criteria(instance: Instance, precision: str | Precision) -> Mapping[str, Criterion]:
    """The criterion of the output: KTOL-3.

    >>> import numpy as np
    >>> from assay.spec.kernel_graph import Instance
    >>> x = np.array([[0.0], [1.0]], np.float32)
    >>> held_to = criteria(Instance(x, x, function="gaussian"), "float32")["output"]
    >>> bool(held_to.ratio(np.array([[0.36787945], [0.0]], np.float32)).max() < 0.1)
    True
    """
    u = precision_named(precision, PRECISIONS)
    return {"output": close(define(instance, reference_accuracy(u)), tolerance(instance, u))}
