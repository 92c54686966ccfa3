"""The plan of a gradient for one key head: a polynomial, the tables of its monomials, and units of its numbers."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.impl.cpu.features import monomials, rank

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from assay.impl.cpu.attention.plan import Frame
    from assay.impl.cpu.features import Monomials
    from assay.spec.approximation import Approximation

    Array = NDArray[np.float64]

__all__ = ["Plan"]


@dataclass(frozen=True, eq=False)
class Plan:
    """A polynomial P of degree g in a frame, and the monomials of degree g + 1 of its integral.

    lift (d_v,): powers of two with |dO_c·lift_c| ≤ 1, in the proportions of the units of V; size: the power of two that
    undoes it in ⟨dO, v⟩.
    """

    approximation: Approximation
    frame: Frame
    lift: Array
    size: float

    @property
    def degree(self) -> int:
        return self.approximation.degree

    @property
    def dimension(self) -> int:
        return self.frame.dimension

    @property
    def table(self) -> Monomials:
        return monomials(self.dimension, self.degree + 1)

    @property
    def rank(self) -> int:
        """The number of monomials of degree at most g + 1."""
        return self.table.rank

    @property
    def inner(self) -> int:
        """The number of monomials of degree at most g."""
        return rank(self.dimension, self.degree)

    @property
    def coefficients(self) -> Array:
        return np.array(self.approximation.coefficients)

    @property
    def factor(self) -> float:
        """σ times the unit of the keys, a power of two: queries times this."""
        return self.frame.queries.factor

    @property
    def shrink(self) -> float:
        """One over the unit of the keys."""
        return self.frame.keys.factor

    @functools.cached_property
    def _weights(self) -> tuple[Array, Array]:
        """Of P, for the monomials of degree at most g and their padding; of its integral, for all (GRAD-6)."""
        table, c = self.table, self.coefficients
        padded = -(-self.inner // 8) * 8
        low = np.where(table.order <= self.degree, c[np.minimum(table.order, self.degree)] * table.multinomial, 0.0)
        integral = c[np.maximum(table.order - 1, 0)] / np.maximum(table.order, 1)
        high = np.where(table.order > 0, integral * table.multinomial, 0.0)
        return low[:padded, None], high[:, None]

    def weighted(self, tables: Array, low: Iterable[int], high: Iterable[int]) -> tuple[Array, Array]:
        """Some columns of the tables with the weights of P, and some with those of its integral.

        The latter are made four by four but for the last one, which stays the last.
        """
        of_p, of_integral = self._weights
        columns = np.ascontiguousarray(tables[:, : len(of_p), list(low)] * of_p)
        chosen = list(high)
        wide = np.zeros((*tables.shape[:2], -(-(len(chosen) - 1) // 4) * 4 + 1))
        np.multiply(tables[:, :, chosen[:-1]], of_integral, out=wide[:, :, : len(chosen) - 1])
        np.multiply(tables[:, :, chosen[-1]], of_integral[:, 0], out=wide[:, :, -1])
        return columns, wide
