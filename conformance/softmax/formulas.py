"""Meanings of wrong kernels whose outputs are numbers of a formula in float64, and not those of another instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis.meanings import Meaning
from assay.spec.enclosure import Enclosure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.criterion import Criterion

    Criteria = Mapping[str, Criterion]

__all__ = ["formula"]


def formula(
    identifier: str,
    sentence: str,
    function: Callable[[Any], Mapping[str, NDArray[np.float64]] | None],
    parts: Callable[[Any], Any],
) -> Meaning:
    """The meaning of a kernel whose outputs are those of a function of ``parts(instance)``.

    Outputs that the function does not give are right.  A wrong output may err by what the right one may, and by as much
    more as it is larger.
    """

    def criteria(instance: Any, right: Callable[[Any], Criteria | None]) -> Criteria | None:
        with np.errstate(all="ignore"):
            made = function(parts(instance))
        held_to = None if made is None else right(instance)
        if made is None or held_to is None:
            return None
        changed = {}
        for name, criterion in held_to.items():
            value = criterion.value
            if name not in made or value is None or value.shape != made[name].shape:
                changed[name] = criterion
                continue
            expected = np.asarray(made[name])
            largest = _largest(value.midpoint)
            more = 2.0 * max(1.0, _largest(expected) / largest if largest else 1.0)
            room = np.where(np.isfinite(criterion.allowed), criterion.allowed, np.inf)
            radius = np.where(np.isfinite(value.radius), value.radius, 0.0)
            changed[name] = criterion.about(Enclosure(expected, radius), more * np.maximum(room, room.mean()))
        same = all(
            changed[name] is held_to[name] or np.allclose(made[name], criterion.value.midpoint, rtol=1e-9, atol=1e-300)
            for name, criterion in held_to.items()
            if criterion.value is not None
        )
        return None if same else changed

    return Meaning(identifier, sentence, criteria)


def _largest(numbers: NDArray[np.float64]) -> float:
    """The largest finite one; a log-sum-exp is −∞ where a row attends to nothing."""
    return float(np.abs(numbers[np.isfinite(numbers)]).max(initial=0.0))
