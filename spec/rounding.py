"""The calculus of relative rounding errors: what k roundings make together (Higham 2002, section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["compound", "gamma"]


def gamma(k: Array | float, u: float) -> Array:
    """γ_k(u) = ku/(1 − ku): a product of k factors (1 + δ_i)^(±1) with |δ_i| ≤ u lies within 1 ± γ_k(u).

    +inf, which is no bound, from ku = 1/2 on.  Source: Higham 2002, Lemma 3.1.

    >>> float(gamma(2, 0.125))
    0.3333333333333333
    """
    ku = np.asarray(k, dtype=np.float64) * u
    return np.where(ku < 0.5, ku / (1.0 - np.minimum(ku, 0.5)), np.inf)


def compound(*rates: Array | float) -> Array:
    """Π(1 + rate) − 1 without cancellation: the rates of the float64 class are themselves of the size of a rounding.

    >>> float(compound(0.5, 0.5))
    1.25
    """
    total = np.zeros(())
    for rate in rates:
        total = total + rate + total * rate
    return total
