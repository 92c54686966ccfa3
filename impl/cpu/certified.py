"""What a fast method returns: its value, a proved bound on its error, and what it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Certified"]


@dataclass(frozen=True, eq=False)
class Certified:
    """A value with |value − exact| ≤ error, element by element.

    value: array.  error: float64, broadcasts to ``value``; absolute, in units of the value; proved, not estimated.
    route: one line that says which method ran, with which parameters, and why.
    """

    value: NDArray[Any]
    error: NDArray[np.float64]
    route: str
