"""The plan of a computation for one head: a polynomial, the coordinates of its features, the scaling of its values."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.impl.cpu.features import monomials
from assay.spec.enclosure.float64 import U
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.cpu.features import Coordinates, Monomials
    from assay.spec.approximation import Approximation

    Array = NDArray[np.float64]

__all__ = ["SLACK", "Frame", "Measure", "Plan", "U"]

SLACK = 1.0 + 2.0**-30  # pays for the rounding of the bounds themselves, which is fewer than 2^16 roundings


@dataclass(frozen=True)
class Measure:
    """How the error of a polynomial is measured: |P(s) − e^s| ≤ error·w(s).

    order: 0 for w = e^s (ATT-3); 2 or 4 for w = 1 + (ratio·s/R)^order on [−R, R] (ATT-7).  root: whether w is the root
    of that.  kurtosis: where it is positive, Σ s⁴ is not computed but bounded by kurtosis·(Σ s²)²/n (ATT-10).  parts:
    the number of parts of the coordinates in which the kurtosis is found.
    """

    order: int = 0
    ratio: float = 0.0
    root: bool = False
    kurtosis: float = 0.0
    parts: int = 1


@dataclass(frozen=True, eq=False)
class Frame:
    """The coordinates z of queries and x of keys, whose products ⟨z, x⟩ stand for the scores.

    radius: at least ‖z‖‖x‖.  shifted: at least |⟨z, x⟩ − s| for the exact score s, up to a constant of the row.
    query_norm: at least ‖z‖.  All three are proved bounds (ATT-5).
    """

    keys: Coordinates
    queries: Coordinates
    radius: float
    shifted: float
    query_norm: float

    @functools.cached_property
    def dimension(self) -> int:
        return self.keys.dimension


@dataclass(frozen=True, eq=False)
class Plan:
    """A polynomial with its measure and frame; values v are summed as y = (v − middle)/grow.

    middle (d_v,): about the middle of each column of V.  grow (d_v,): powers of two, at least |v − middle|.
    """

    approximation: Approximation
    measure: Measure
    frame: Frame
    middle: Array
    grow: Array

    @property
    def table(self) -> Monomials:
        return monomials(self.frame.dimension, self.approximation.degree)

    @property
    def coefficients(self) -> Array:
        return np.array(self.approximation.coefficients)

    @property
    def weights(self) -> Array:
        """(padded rank, 1): the weights c_|α| (|α| choose α) of the moments."""
        weights: Array = (self.coefficients[self.table.order] * self.table.multinomial)[:, None]
        return weights

    @property
    def ratio(self) -> float:
        """t of ATT-7: the moment is of (t·s)^order; 0 where there is none."""
        return self.measure.ratio / self.approximation.interval[1] if self.measure.order else 0.0

    @property
    def power(self) -> int:
        """The power of the scores that is summed: 2 where a kurtosis stands for the fourth power."""
        return 2 if self.measure.kurtosis else self.measure.order

    @property
    def moment_weights(self) -> Array:
        """(padded rank,): the weights of the moments in the sum of (ratio·s)^power."""
        weights: Array = np.where(self.table.order == self.power, self.table.multinomial * self.ratio**self.power, 0.0)
        return weights

    def slack(self, roundings: float) -> float:
        """A bound on the error of a computed sum of (ratio·s)^power, for each key that entered it (ATT-7)."""
        reach = self.ratio * self.frame.radius * (1.0 + 2.0**-40)
        return float(gamma(roundings, U)) * reach**self.power + 2.0**-300 if self.power else 0.0
