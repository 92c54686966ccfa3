"""Which pairs are the best, decided in exact integers: no rounding, and every tie is seen.

The numbers of a document are integers over one power of two, and the cosine does not change where a document is
multiplied by a positive number.  So two cosines are compared as ⟨u, v⟩·|⟨u, v⟩|/(⟨u, u⟩⟨v, v⟩), which are rational
numbers in the same order (proofs_notes/document_similarity.md, DOC-9).
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.floating_point import require_usual
from assay.spec.memory import require_evaluable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.document_similarity.instance import Instance

    Array = NDArray[np.float64]
    Integers = NDArray[np.object_]

__all__ = ["best_pairs"]


def best_pairs(instance: Instance) -> list[tuple[int, int]]:
    """Every pair of the best similarity, exactly, in the order of (i, j); (i, j) and (j, i) in one collection.

    A float64 evaluation with a bound of its error leaves few pairs, and only these are compared in integers.

    >>> from assay.spec.document_similarity import Instance
    >>> best_pairs(Instance(np.array([[1.0, 1.0], [1.0, 0.0]]), np.array([[0.0, 3.0], [7.0, 0.0]])))
    [(1, 1)]
    """
    require_usual()
    require_evaluable(instance)
    left, right = instance.sides()
    cosine = instance.measure == "cosine"
    rows = [np.unique(x, axis=0, return_inverse=True) for x in (left, right)]
    (one, of_left), (other, of_right) = ((distinct, place.reshape(-1)) for distinct, place in rows)
    asked = np.zeros((len(one), len(other)), dtype=bool)
    np.maximum.at(asked, (of_left[:, None], of_right[None]), instance.pairs())
    kept = np.argwhere(_near_the_best(one, other, asked, instance.sign, cosine))
    orders, which = _orders(one, other, kept, cosine)
    wanted = max(orders) if instance.sign > 0 else min(orders)
    best = np.array([value == wanted for value in orders])[which]
    chosen = np.zeros(asked.shape, dtype=bool)
    chosen[tuple(kept[best].T)] = True
    return [(int(i), int(j)) for i, j in np.argwhere(chosen[of_left[:, None], of_right] & instance.pairs())]


def _near_the_best(left: Array, right: Array, asked: NDArray[np.bool_], sign: float, cosine: bool) -> NDArray[np.bool_]:
    """The pairs whose similarity in float64 is within its error of the best."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if cosine:  # a first division by a power of two, so that no square is too large or too small
            left, right = (np.ldexp(x, -np.frexp(np.abs(x).max(axis=1, keepdims=True))[1]) for x in (left, right))
        value, size = sign * (left @ right.T), np.abs(left) @ np.abs(right).T
        if cosine:
            norm = np.sqrt((left**2).sum(axis=1)[:, None]) * np.sqrt((right**2).sum(axis=1))
            value, size = value / norm, size / norm
        error = (3 * left.shape[1] + 20) * 2.0**-53 * size + 2.0**-1000
        near: NDArray[np.bool_] = ~(value + error < np.where(asked, value - error, -np.inf).max())
    return near & asked


def _orders(left: Array, right: Array, kept: NDArray[np.intp], cosine: bool) -> tuple[list[Fraction], NDArray[np.intp]]:
    """Numbers in the order of the similarities of the pairs ``kept``, and which of them every pair has.

    Products of small integers are exact in float64, and many pairs have the same ones: they are compared once.
    """
    if _small_integers(left, right):
        numbers = [(left @ right.T)[tuple(kept.T)]]
        if cosine:
            numbers += [(x**2).sum(axis=1)[kept[:, side]] for side, x in enumerate((left, right))]
        distinct, which = np.unique(np.stack(numbers, axis=1), axis=0, return_inverse=True)
        return [_order(*map(int, row)) for row in distinct.tolist()], which.reshape(-1)
    u, v = (
        dict(zip(needed.tolist(), _integers(documents[needed], cosine), strict=True))
        for documents, needed in ((left, np.unique(kept[:, 0])), (right, np.unique(kept[:, 1])))
    )
    squares = [{at: int(x @ x) for at, x in side.items()} if cosine else {} for side in (u, v)]
    norms = ((squares[0][a], squares[1][b]) if cosine else () for a, b in kept.tolist())
    products = (int(u[a] @ v[b]) for a, b in kept.tolist())
    return [_order(product, *pair) for product, pair in zip(products, norms, strict=True)], np.arange(len(kept))


def _small_integers(left: Array, right: Array) -> bool:
    """Whether every sum of products of two numbers is an integer that float64 holds, in any order."""
    most = max(float(np.abs(left).max()), float(np.abs(right).max()))
    whole = all(bool((x == np.rint(x)).all()) for x in (left, right))
    return whole and most < 2.0**26 and left.shape[1] * most**2 < 2.0**53


def _integers(documents: Array, cosine: bool) -> Integers:
    """Integers of which the documents are multiples by one power of two, or by one for each for the cosine."""
    exact = np.vectorize(Fraction, otypes=[object])(documents)
    widths = np.vectorize(lambda x: x.denominator, otypes=[object])(exact).max(axis=1, initial=1)
    widths = widths if cosine else np.full(len(widths), 2**1074, dtype=object)
    scaled: Integers = np.vectorize(int, otypes=[object])(exact * widths[:, None])
    return scaled


def _order(product: int, *squares: int) -> Fraction:
    """N|N|/(AB), or N where there are no squares: a number in the order of the similarities."""
    return Fraction(product * abs(product), squares[0] * squares[1]) if squares else Fraction(product)
