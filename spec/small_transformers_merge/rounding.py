"""The classes that make sense for a merge: the outputs are stored in the type, everything between is not (MERGE-4)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from assay.spec.precision import PRECISIONS as MACHINES
from assay.spec.softmax.rounding import Softmax

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.spec.precision import Precision

__all__ = ["PRECISIONS"]


def _merging(machine: Precision) -> Precision:
    """The machine, where a merge rounds nothing but sums and the output; it may rescale and go on with every part."""
    usual = machine.of(Softmax)
    plain = dataclasses.replace(
        usual, query_rounding=0.0, probability=0.0, probability_tiny=0.0, value_rounding=0.0, part=1, tile=1
    )
    return dataclasses.replace(machine, stages=(*machine.stages, plain))


#: The classes.  ``bfloat16`` and ``float16``: outputs in that type, log-sum-exps and sums in float32.
PRECISIONS: Mapping[str, Precision] = {
    name: _merging(MACHINES[name]) for name in ("float64", "float32", "bfloat16", "float16")
}
