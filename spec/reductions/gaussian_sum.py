"""Sums of Gaussians, a target of reductions besides attention: s_i = Σ_j e^(−λ‖x_i − y_j‖²).

The x_i and y_j are integers, so that distances are exact.  The certified value is by definition, in balls
(python-flint).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.spec import flint_context
from assay.spec.instance import Instance, array
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GaussianSum"]

_LARGEST = 2**15  # of coordinates: squared distances stay exact


@dataclass(frozen=True, eq=False)
class GaussianSum(Instance):
    """One input of the sums, and the target of the reductions to them.

    queries (queries, dim), points (points, dim): the x_i and the y_j, integers, |entry| ≤ 2^15.
    numerator, denominator: of λ > 0; stored in lowest terms.
    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.

    >>> [total] = GaussianSum(np.array([[0]]), np.array([[0], [1]]), 1).define(64)
    >>> float(total)
    1.3678794411714423
    """

    problem = "gaussian_sum"

    queries: NDArray[np.integer[Any]] = array("queries dim", kind="whole")
    points: NDArray[np.integer[Any]] = array("points dim", kind="whole")
    numerator: int = 1
    denominator: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, entries in self.arrays().items():
            largest = max(abs(int(entries.max())), abs(int(entries.min())))
            if largest > _LARGEST:
                raise InvalidInstance(f"{name}: entries up to {largest}, expected at most {_LARGEST}")
        for name in ("numerator", "denominator"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidInstance(f"{name}: {value!r}, expected an integer above 0")
        decay = self.decay
        object.__setattr__(self, "numerator", decay.numerator)
        object.__setattr__(self, "denominator", decay.denominator)

    @property
    def decay(self) -> Fraction:
        """λ."""
        return Fraction(self.numerator, self.denominator)

    def distances(self) -> NDArray[np.int64]:
        """‖x_i − y_j‖², (queries, points), exact."""
        x, y = self.queries.astype(np.int64), self.points.astype(np.int64)
        return np.asarray((x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None, :] - 2 * (x @ y.T))

    def define(self, bits: int = 128) -> list[Any]:
        """The sums, one a query, as Arb balls with a relative radius of about 2^-bits, however small they are."""
        with flint_context.bits(bits + 16):
            decay = flint.arb(flint.fmpq(self.numerator, self.denominator))
            sums = []
            for row in self.distances():
                distances, times = np.unique(row, return_counts=True)
                total = flint.arb(0)
                for z, number in zip(distances.tolist(), times.tolist(), strict=True):
                    total += number * (-decay * z).exp()
                sums.append(total)
        return sums
