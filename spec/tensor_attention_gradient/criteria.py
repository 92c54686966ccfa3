"""What the outputs of a backward pass are held to: the tolerance of the origin of δ that they fit best (BWD-5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.spec.attention_gradient.criteria import close_to_one_of
from assay.spec.enclosure import Enclosure
from assay.spec.memory import require_evaluable
from assay.spec.precision import precision as precision_named
from assay.spec.precision import reference_accuracy
from assay.spec.tensor_attention_gradient.definition import evaluate
from assay.spec.tensor_attention_gradient.rounding import PRECISIONS
from assay.spec.tensor_attention_gradient.tolerance import OWN, Bounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.spec.criterion import Criterion
    from assay.spec.precision import Precision
    from assay.spec.tensor_attention_gradient.instance import Incoming

__all__ = ["criteria"]


def criteria(instance: Incoming, precision: str | Precision) -> Mapping[str, Criterion]:
    """Output → its criterion: close to the definition within the tolerance of one origin of δ in all its elements.

    >>> import numpy as np
    >>> from assay.spec.tensor_attention_gradient import Instance
    >>> x = np.ones((1, 1, 2, 1), np.float32)
    >>> held_to = criteria(Instance(x, x, x, x, x, x), "float32")
    >>> list(held_to), float(held_to["grad_value2"].ratio(x).max())
    (['grad_query', 'grad_key1', 'grad_key2', 'grad_value1', 'grad_value2'], 0.0)
    """
    u = precision_named(precision, PRECISIONS)
    require_evaluable(instance)
    exact = evaluate(instance, reference_accuracy(u))
    bounds = Bounds(instance, u, exact)
    allowed = [bounds.of(origin) for origin in OWN]
    return {
        name: close_to_one_of(Enclosure(value.midpoint, value.radius), [bound[name] for bound in allowed])
        for name, value in exact.gradients().items()
    }
