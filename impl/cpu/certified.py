"""The result of a fast method: its value, a proved bound on the error, and the route that was taken."""

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

    value: an array.  error: a float64 array that broadcasts to ``value``; the error is absolute, in units of the value,
    and proved, not estimated.  route: one line that says which method ran, with which parameters, and why.
    """

    value: NDArray[Any]
    error: NDArray[np.float64]
    route: str
