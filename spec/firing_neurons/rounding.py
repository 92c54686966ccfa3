"""What structures of firing neurons round in stages of their own, and the classes of arithmetic of the problem."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from assay.spec.precision import PRECISIONS as MACHINES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.spec.precision import Precision

__all__ = ["PRECISIONS", "Correlations", "incremental"]


@dataclass(frozen=True)
class Correlations:
    """How a structure keeps its correlations.

    updates: K, how many updates of a neuron may follow one another before its correlations are computed anew from its
    weights; between them they are changed by the products of the differences.  0: they are always computed anew.
    """

    updates: float

    @classmethod
    def usual(cls, precision: Precision) -> Self:
        """Correlations that are computed from the weights as they are."""
        return cls(0.0)


def incremental(precision: Precision, updates: float = math.inf) -> Precision:
    """The class of structures that change correlations by products of differences, up to ``updates`` times in a row.

    >>> incremental(MACHINES["float32"], 64).name
    'float32-incremental-64'
    """
    name = f"{precision.name}-incremental"
    return precision.with_(
        name if math.isinf(updates) else f"{name}-{updates:.0f}", Correlations, updates=float(updates)
    )


#: The classes.  A plain name: correlations are computed from the current weights.  ``incremental``: they may be changed
#: by differences without end (FN-6).
PRECISIONS: Mapping[str, Precision] = {
    machine.name: machine
    for name in ("float64", "float32", "tf32", "bfloat16", "float16")
    for machine in (MACHINES[name], incremental(MACHINES[name]))
}
