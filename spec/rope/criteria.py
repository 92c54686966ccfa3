"""What the outputs of a rotary kernel are held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.spec.criterion import Criterion, close
from assay.spec.precision import precision as precision_named
from assay.spec.precision import reference_accuracy
from assay.spec.rope.definition import define, rotation
from assay.spec.rope.rounding import PRECISIONS
from assay.spec.rope.tolerance import tolerance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.spec.precision import Precision
    from assay.spec.rope.instance import Instance

__all__ = ["criteria"]


def criteria(instance: Instance, precision: str | Precision) -> Mapping[str, Criterion]:
    """Output → its criterion: close to the definition within the tolerance of the class.

    ``key`` is among them where the instance has one.

    >>> import numpy as np
    >>> from assay.spec.rope import Instance
    >>> x = np.ones((1, 1, 1, 2), np.float32)
    >>> float(criteria(Instance(x, positions=np.array([0])), "float32")["query"].ratio(x).max())
    0.0
    """
    turned, accuracy = rotation(instance), reference_accuracy(precision_named(precision, PRECISIONS))
    return {
        name: close(
            define(instance, accuracy, name, turned=turned), tolerance(instance, precision, name, turned=turned)
        )
        for name in ("query", "key")[: 1 + (instance.key is not None)]
    }
