"""What the outputs of a backward pass are held to: the tolerance of the origin of δ that they fit best (BWD-5)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.attention_gradient.definition import evaluate
from assay.spec.attention_gradient.tolerance import OWN, Bounds
from assay.spec.criterion import Criterion, close
from assay.spec.enclosure import Enclosure, in_units_of
from assay.spec.memory import require_evaluable
from assay.spec.precision import reference_accuracy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from assay.spec.attention_gradient.instance import Instance
    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["close_to_one_of", "criteria"]


def criteria(instance: Instance, precision: Precision) -> Mapping[str, Criterion]:
    """Output → its criterion: close to the definition within the tolerance of one origin of δ in all its elements.

    >>> import numpy as np
    >>> from assay.spec.attention_gradient import PRECISIONS, Instance
    >>> x = np.ones((1, 1, 2, 1), np.float32)
    >>> float(criteria(Instance(x, x, x, x), PRECISIONS["float32"])["grad_value"].ratio(x).max())
    0.0
    """
    require_evaluable(instance)
    exact = evaluate(instance, reference_accuracy(precision))
    bounds = Bounds(instance, precision, exact)
    allowed = [bounds.of(origin) for origin in OWN]
    return {
        name: close_to_one_of(Enclosure(value.midpoint, value.radius), [bound[name] for bound in allowed])
        for name, value in exact.gradients().items()
    }


def close_to_one_of(
    value: Enclosure,
    tolerances: Sequence[Array],
    observed: Callable[..., Sequence[Array]] | None = None,
    outputs: tuple[str, ...] = (),
) -> Criterion:
    """Every number lies within one of some tolerances of a certified value, the same one for all numbers.

    observed(*others): the tolerances where other outputs are known; ``outputs`` then names the output that is judged,
    and these others.
    What is allowed is the largest of the ``tolerances``, and errors are given in its units: e·(largest/fitting), where
    e is the error and ``fitting`` the tolerance that the whole output fits best.

    >>> import numpy as np
    >>> from assay.spec.enclosure import Enclosure
    >>> zeros, steep, flat = np.zeros(2), np.array([1.0, 4.0]), np.array([2.0, 2.0])
    >>> criterion = close_to_one_of(Enclosure(zeros, zeros), [steep, flat])
    >>> criterion.ratio(np.array([1.0, 4.0])).round(9).tolist(), criterion.ratio(np.array([2.0, 4.0])).round(9).tolist()
    ([1.0, 1.0], [2.0, 1.0])
    """
    largest = np.max(list(tolerances), axis=0)

    def error(array: NDArray[Any], *others: NDArray[Any]) -> Array:
        least = value.least_error(array)
        tried = observed(*others) if observed is not None and others else tolerances
        ratios = [in_units_of(least, allowed) for allowed in tried]
        best = min(ratios, key=lambda ratio: float(ratio.max(initial=0.0)))
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = best * largest * (1 - 2.0**-50)
        usable = (largest > 0.0) & (largest < np.inf) & np.isfinite(best)
        return np.where(usable, scaled, np.where(best > 0, np.inf, 0.0))

    return dataclasses.replace(close(value, largest), error=error, outputs=outputs)
