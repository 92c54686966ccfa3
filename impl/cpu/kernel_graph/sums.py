"""What every fast route gives: sums with all weights of one function, and how far the weights are from the function.

A plan is made once for some points and applied to any vectors.  In exact arithmetic it sums with weights w̃_ij in
[(1 − relative)w_ij − floor, (1 + relative)w_ij + floor], and arithmetic adds at most rounding·Σ_j w̃_ij|v_j|.  What a
plan cannot say so, ``doubt`` adds for given |v|.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["SLACK", "TINY", "Plan", "U", "gamma"]

U = 2.0**-53
SLACK = 1.0 + 2.0**-30  # more than a bound of fewer than 2^20 operations loses in float64
TINY = 2.0**-1022


def gamma(roundings: float) -> float:
    """γ_N = Nu/(1 − Nu), and +∞ from Nu = ½ on."""
    lost = roundings * U
    return lost / (1.0 - lost) * SLACK if lost < 0.5 else float("inf")


class Plan(Protocol):
    """Sums for fixed points."""

    @property
    def relative(self) -> float: ...
    @property
    def floor(self) -> float: ...
    @property
    def rounding(self) -> float: ...
    @property
    def words(self) -> str: ...
    def apply(self, vectors: Array) -> Array: ...
    def doubt(self, sizes: Array) -> Array | float: ...
