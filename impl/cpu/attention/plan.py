"""What is to be computed for one head: a polynomial, the coordinates of its features, the scaling of its values."""

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

SLACK = 1.0 + 2.0**-30  # over the rounding of the bounds themselves, fewer than 2^16 roundings


@dataclass(frozen=True)
class Measure:
    """How the error of a polynomial is measured: |P(s) − e^s| ≤ error·w(s).

    order 0: w = e^s (ATT-3).  order 2 or 4: w = 1 + (ratio·s/R)^order on [−R, R], or its ``root`` (ATT-7).
    kurtosis: where it is positive, Σ s⁴ is not taken but bounded by kurtosis·(Σ s²)²/n (ATT-10).  parts: of the
    coordinates, in which it is found.
    """

    order: int = 0
    ratio: float = 0.0
    root: bool = False
    kurtosis: float = 0.0
    parts: int = 1


@dataclass(frozen=True, eq=False)
class Frame:
    """The numbers that scores are made of: ⟨z, x⟩ of the coordinates of a query and a key.

    radius: at least ‖z‖‖x‖.  shifted: at least |⟨z, x⟩ − s| for the exact score s, but for a constant of the row.
    query_norm: at least ‖z‖.
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
    """y = (v − middle)/grow; ``grow`` is a power of two, and at least |v − middle|."""

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
        """(padded rank, 1): c_|α| (|α| choose α)."""
        weights: Array = (self.coefficients[self.table.order] * self.table.multinomial)[:, None]
        return weights

    @property
    def ratio(self) -> float:
        """Scores times it are raised to the order of the measure."""
        return self.measure.ratio / self.approximation.interval[1] if self.measure.order else 0.0

    @property
    def power(self) -> int:
        """Of the scores that are summed."""
        return 2 if self.measure.kurtosis else self.measure.order

    @property
    def moment_weights(self) -> Array:
        """(padded rank,): those of (ratio·s)^power."""
        weights: Array = np.where(self.table.order == self.power, self.table.multinomial * self.ratio**self.power, 0.0)
        return weights

    def slack(self, roundings: float) -> float:
        """At least what a computed sum of (ratio·s)^power may err by, for a key that is in it (ATT-7)."""
        reach = self.ratio * self.frame.radius * (1.0 + 2.0**-40)
        return float(gamma(roundings, U)) * reach**self.power + 2.0**-300 if self.power else 0.0
