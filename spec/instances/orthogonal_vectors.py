"""Orthogonal vectors: is there a pair, one vector of each set, with inner product 0?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["OrthogonalVectors"]


@dataclass(frozen=True, eq=False)
class OrthogonalVectors:
    """Two sets of 0/1 vectors, ``left`` (n, d) and ``right`` (m, d), stored as read-only uint8 arrays; n, m, d ≥ 1.

    One array may serve as both sets.  Raises :class:`~assay.spec.problem.InvalidInstance` for other shapes or entries.

    >>> OrthogonalVectors([[1, 0], [1, 1]], [[0, 1]]).d
    2
    """

    left: NDArray[np.uint8]
    right: NDArray[np.uint8]

    def __init__(self, left: ArrayLike, right: ArrayLike) -> None:
        for name, given in (("left", left), ("right", right)):
            object.__setattr__(self, name, _vectors(name, given))
        if self.left.shape[1] != self.right.shape[1]:
            raise InvalidInstance(
                f"left has {self.left.shape[1]} coordinates, right {self.right.shape[1]}: expected as many"
            )

    @property
    def n(self) -> int:
        """The number of left vectors."""
        return int(self.left.shape[0])

    @property
    def m(self) -> int:
        """The number of right vectors."""
        return int(self.right.shape[0])

    @property
    def d(self) -> int:
        """The number of coordinates."""
        return int(self.left.shape[1])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OrthogonalVectors):
            return NotImplemented
        return np.array_equal(self.left, other.left) and np.array_equal(self.right, other.right)

    __hash__ = None  # type: ignore[assignment]  # holds arrays


def _vectors(name: str, given: ArrayLike) -> NDArray[np.uint8]:
    """A read-only uint8 array; it is the caller's own array where nobody can write to that one."""
    array: NDArray[Any] = np.asarray(given)
    if array.ndim != 2 or 0 in array.shape:
        raise InvalidInstance(f"{name} has shape {array.shape}: expected (vectors, coordinates), at least one of each")
    if array.dtype.kind not in "bui" and not np.array_equal(array, np.asarray(array != 0)):
        raise InvalidInstance(f"{name} has dtype {array.dtype}: expected integers 0 and 1")
    if array.dtype != np.bool_ and (array.min() < 0 or array.max() > 1):
        wrong = tuple(int(i) for i in np.argwhere((array != 0) & (array != 1))[0])
        raise InvalidInstance(f"{name}{list(wrong)} is {array[wrong]}: expected 0 or 1")
    if array.dtype == np.uint8 and not array.flags.writeable and array.flags.owndata:
        return array
    vectors = array.astype(np.uint8)
    vectors.setflags(write=False)
    return vectors
