"""What a merge stores between two steps, and the classes that make sense for it (MERGE-4)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from assay.spec.precision import PRECISIONS as MACHINES
from assay.spec.softmax.rounding import Softmax

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from assay.spec.precision import Precision

__all__ = ["PRECISIONS", "Between"]


@dataclass(frozen=True)
class Between:
    """How what is merged of some parts is rounded where it is stored before it is merged with others."""

    output: float  # relative to the merged output
    output_tiny: float  # the absolute part of it (gradual underflow)

    @classmethod
    def usual(cls, precision: Precision) -> Self:
        """It is kept in the type of the sums, whose roundings TOL-0 counts.

        >>> [Between.usual(machine) for machine in PRECISIONS.values()][0]
        Between(output=0.0, output_tiny=0.0)
        """
        return cls(output=0.0, output_tiny=0.0)


def _merging(machine: Precision) -> Precision:
    """The machine, where a merge rounds nothing but sums and the output; it may rescale and go on with every part."""
    usual = machine.of(Softmax)
    plain = dataclasses.replace(
        usual, query_rounding=0.0, probability=0.0, probability_tiny=0.0, value_rounding=0.0, part=1, tile=1
    )
    return dataclasses.replace(machine, stages=(*machine.stages, plain))


def _classes() -> Iterator[Precision]:
    """The classes of every type, tight ones first."""
    for name in ("float64", "float32", "bfloat16", "float16"):
        machine = _merging(MACHINES[name])
        yield machine
        if machine.output > 0.0:
            stored = {"output": machine.output, "output_tiny": machine.output_tiny}
            yield machine.with_(f"{name}-stored", Between, **stored)


#: The classes.  ``bfloat16`` and ``float16``: outputs in that type, log-sum-exps and sums in float32.  ``stored``: what
#: is merged of some parts is stored in the type of the output as well before it is merged with the next, as by
#: FlashInfer's ``merge_state_in_place``; log-sum-exps are in float32 all the same.
PRECISIONS: Mapping[str, Precision] = {precision.name: precision for precision in _classes()}
