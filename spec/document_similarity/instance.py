"""The input of document similarity: one collection of documents, or two.

A document is a vector with one coordinate a word.  Word presence (0 and 1), counts, tf–idf weights, and any other
vectors are all the same to the problem: the numbers of the arrays are what is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.instance import Instance as AnyInstance
from assay.spec.instance import array, choice
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Instance", "load"]


@dataclass(frozen=True, eq=False)
class Instance(AnyInstance):
    """The documents among which a pair is looked for.  Numbers are exact as stored.

    left (n, d), and right (m, d) of the same dtype: a pair (i, j) is document i of the left and document j of the
    right.  Without ``right`` both are of the left, and a document makes no pair with itself: i ≠ j, so that n ≥ 2.
    least: the least similar pair in place of the most similar one.
    measure: ``"cosine"``, ⟨u, v⟩/(‖u‖‖v‖), or ``"inner_product"``, ⟨u, v⟩.

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument; the cosine is not defined for a document
    of zeros, which is refused with its row.

    >>> Instance(np.array([[1.0, 1.0], [0.0, 0.0]]))
    Traceback (most recent call last):
    assay.spec.problem.InvalidInstance: left: a document of zeros in row 1, expected one with a word for the cosine
    """

    problem = "document_similarity"

    left: NDArray[Any] = array("left words")
    right: NDArray[Any] | None = array("right words", optional=True, like="left")
    least: bool = False
    measure: str = choice("cosine", "inner_product")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.right is None:
            self._require(len(self.left) > 1, "left", "at least two documents where there is no right")
        for name, documents in self.arrays().items() if self.measure == "cosine" else ():
            zero = ~np.asarray(documents != 0).any(axis=1)
            if zero.any():
                row = int(np.argmax(zero))
                raise InvalidInstance(
                    f"{name}: a document of zeros in row {row}, expected one with a word for the cosine"
                )

    def spanned(self) -> int:
        """The similarity of every pair, and the documents of both sides."""
        right = self.left if self.right is None else self.right
        return int(self.left.size + right.size + len(self.left) * len(right))

    def sides(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The documents of both sides in float64, which holds every number as it is; the left twice if it is alone."""
        left = self.left.astype(np.float64)
        return left, left if self.right is None else self.right.astype(np.float64)

    def pairs(self) -> NDArray[np.bool_]:
        """(n, m): which (i, j) are pairs: all, or those with i ≠ j where there is one collection."""
        left, right = self.sides()
        every = np.ones((len(left), len(right)), dtype=bool)
        return ~np.eye(len(left), dtype=bool) if self.right is None else every

    @property
    def sign(self) -> float:
        """1 where the most similar pair is wanted, −1 where the least: the wanted pair has the largest sign·similarity.

        >>> Instance(np.eye(2), least=True).sign
        -1.0
        """
        return -1.0 if self.least else 1.0


load = Instance.load
