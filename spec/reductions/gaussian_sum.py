"""Sums of Gaussians, a target of reductions besides attention: s_i = Σ_j e^(−λ‖x_i − y_j‖²).

``queries`` are the x_i, ``points`` the y_j: integers, so that distances are exact.  The certified value is by
definition, in balls (python-flint).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GaussianSum"]

_LARGEST = 2**15  # of coordinates: squared distances stay exact


@dataclass(frozen=True, eq=False)
class GaussianSum:
    """``queries`` (n, d), ``points`` (m, d): integer arrays, |entry| ≤ 2^15; ``decay``: λ > 0, rational.

    Raises :class:`~assay.spec.problem.InvalidInstance` for anything else.

    >>> [total] = GaussianSum(np.array([[0]]), np.array([[0], [1]]), Fraction(1)).define(64)
    >>> float(total)
    1.3678794411714423
    """

    queries: NDArray[Any]
    points: NDArray[Any]
    decay: Fraction

    def __post_init__(self) -> None:
        for name in ("queries", "points"):
            array = np.asarray(getattr(self, name))
            if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "iu":
                raise InvalidInstance(f"{name}: {array.dtype} of shape {array.shape}, expected integers (points, dim)")
            if max(abs(int(array.max())), abs(int(array.min()))) > _LARGEST:
                raise InvalidInstance(f"{name}: entries up to {np.abs(array).max()}, expected at most {_LARGEST}")
            object.__setattr__(self, name, array)
        if self.queries.shape[1] != self.points.shape[1]:
            raise InvalidInstance(
                f"points: {self.points.shape[1]} coordinates, expected {self.queries.shape[1]} as in queries"
            )
        if not self.decay > 0:
            raise InvalidInstance(f"decay {self.decay}: expected a rational number above 0")
        object.__setattr__(self, "decay", Fraction(self.decay))

    def distances(self) -> NDArray[np.int64]:
        """‖x_i − y_j‖², (n, m), exact."""
        x, y = self.queries.astype(np.int64), self.points.astype(np.int64)
        return np.asarray((x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None, :] - 2 * (x @ y.T))

    def define(self, bits: int = 128) -> list[Any]:
        """The n sums as Arb balls with a relative radius of about 2^-bits, however small they are."""
        with flint.ctx.workprec(bits + 16):
            decay = flint.arb(flint.fmpq(self.decay.numerator, self.decay.denominator))
            sums = []
            for row in self.distances():
                distances, times = np.unique(row, return_counts=True)
                total = flint.arb(0)
                for z, number in zip(distances.tolist(), times.tolist(), strict=True):
                    total += number * (-decay * z).exp()
                sums.append(total)
        return sums
