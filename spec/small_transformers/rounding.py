"""What a simulation rounds between the calls of its oracle, and the classes that make sense (MERGE-2).

A class describes the oracle's machine and kernel as :class:`assay.spec.softmax.rounding.Softmax` does.  The results of
calls are recombined in arithmetic that is at least as accurate as the sums of that class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from assay.spec.precision import PRECISIONS as MACHINES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.spec.precision import Precision

__all__ = ["PRECISIONS", "Recombination"]


@dataclass(frozen=True)
class Recombination:
    """What is rounded where the results of calls are put together, and which calls count (MERGE-1).

    unit: of its products and sums.  elementary: of its exponentials and logarithms.
    least: a call with a calibrator counts for a row if the computed p and p₀ are at least this; else it is asked again.
    """

    unit: float
    elementary: float
    least: float

    @classmethod
    def usual(cls, precision: Precision) -> Self:
        """The arithmetic of the class; p and p₀ stay where the output of the oracle has digits.

        >>> from assay.spec.precision import precision
        >>> [Recombination.usual(precision(name)).least for name in ("bfloat16", "float16")] == [2.0**-60, 2.0**-9]
        True
        """
        return cls(
            unit=precision.accumulate,
            elementary=precision.elementary,
            least=2.0**-9 if precision.output_tiny else 2.0**-60,
        )

    @property
    def far(self) -> float:
        """How far the score of a calibrator is at most from the log-sum-exp of the keys of a call that counts."""
        return 1.0 - math.log(self.least)  # 1 pays for the error of the computed p and p₀


#: The classes.  Sums of fewer digits than float32 have leave nothing of a factor e^c/p₀: float8 is not among them.
PRECISIONS: Mapping[str, Precision] = {name: machine for name, machine in MACHINES.items() if name != "float8-e4m3"}
