"""What the output of a stack is held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.spec.criterion import Criterion, close
from assay.spec.layer_collapse.definition import evaluate
from assay.spec.layer_collapse.tolerance import PRECISIONS, accuracy, tolerance
from assay.spec.precision import precision as precision_named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.spec.layer_collapse.instance import Instance
    from assay.spec.precision import Precision

__all__ = ["criteria"]


def criteria(instance: Instance, precision: str | Precision) -> Mapping[str, Criterion]:
    """Output → its criterion: the tokens after every layer are close to the definition, within the tolerance.

    >>> import numpy as np
    >>> from assay.spec.layer_collapse import Instance
    >>> one = np.ones((1, 1, 1, 1), np.float32)
    >>> tokens = np.full((1, 2, 1), 2, np.float32)
    >>> float(criteria(Instance(tokens[0] / 2, one, one, one), "float32")["tokens"].ratio(tokens).max())
    0.0
    """
    u = precision_named(precision, PRECISIONS)
    exact = evaluate(instance, accuracy(u))
    return {"tokens": close(exact["tokens"], tolerance(instance, u, exact=exact))}
