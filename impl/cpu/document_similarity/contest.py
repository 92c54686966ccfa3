"""The best of some candidate pairs, decided without rounding, and its similarity.

A float64 evaluation with a bound of its error leaves few candidates; these are compared as rational numbers
(proofs_notes/document_similarity.md, DOC-9).
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.document_similarity.instance import Instance

    Indices = NDArray[np.intp]

__all__ = ["Contest", "powers"]

_ROWS = 1 << 13  # candidates that are evaluated in float64 at a time
_CACHED = 1 << 15  # documents and pairs whose integers are kept
_TINY = 2.0**-1000  # more than what underflow takes from a product of documents whose largest number is about 1


class Contest:
    """The best pair so far.  Not safe for two threads at a time.

    ``lower`` is a float64 number that the best similarity (its negative for the least similar pair) is not below.
    """

    def __init__(self, instance: Instance) -> None:
        self.left = instance.left
        self.right = instance.left if instance.right is None else instance.right
        self.sign = -1 if instance.least else 1
        self.cosine = instance.measure == "cosine"
        self.exponents = [powers(x, self.cosine) for x in (self.left, self.right)]
        self.error = float(gamma(2 * self.left.shape[1] + 8, 2.0**-53))
        self.sides = (self.left, self.right)
        self.whole = all(_whole(x, 53) for x in self.sides)
        self.short = all(_whole(x, 24) for x in self.sides)
        self.lower = -math.inf
        self.best: tuple[Fraction, int, int] | None = None
        self._integers: dict[tuple[int, int], tuple[tuple[int, ...], int]] = {}
        self._values: dict[tuple[Any, Any], Fraction] = {}

    def enter(self, rows: Indices, columns: Indices) -> None:
        """Let candidate pairs take part.  Of equal ones the first in the order of (i, j) wins."""
        order = np.lexsort((columns, rows))
        rows, columns = rows[order], columns[order]
        value, error = self._evaluated(rows, columns)
        if not len(value):
            return
        limit = max(float((value - error).max()), self.lower)
        near = np.flatnonzero(value + error >= limit)
        if self.whole:
            near = near[self._distinct(rows[near], columns[near])]
        if len(self._integers) + len(self._values) > _CACHED:
            self._integers.clear()
            self._values.clear()
        seen: set[tuple[Any, Any]] = set()
        for k in near.tolist():
            i, j = int(rows[k]), int(columns[k])
            documents = (self._integer(0, i), self._integer(1, j))
            if documents in seen:
                continue
            seen.add(documents)
            order_key = self.sign * self._order(documents)
            if self.best is None or order_key > self.best[0] or (order_key == self.best[0] and (i, j) < self.best[1:]):
                self.best = (order_key, i, j)
        self.lower = max(self.lower, limit)

    def similarity(self) -> float:
        """The similarity of the best pair, correct to a unit in the last place."""
        assert self.best is not None
        order = self.sign * self.best[0]
        if not self.cosine:
            return _nearest(order)
        size = abs(order)
        shift = 128 + max(0, size.denominator.bit_length() - size.numerator.bit_length())
        root = Fraction(math.isqrt((size.numerator << 2 * shift) // size.denominator), 1 << shift)
        return math.copysign(float(root), order) if order else 0.0

    def take(self, i: int, j: int) -> None:
        """Let a pair win that cannot be beaten."""
        self.best = (self.sign * self._order((self._integer(0, i), self._integer(1, j))), i, j)

    def is_zero(self, i: int, j: int) -> bool:
        """Whether the similarity of a pair is exactly 0."""
        return self._order((self._integer(0, i), self._integer(1, j))) == 0

    def _evaluated(self, rows: Indices, columns: Indices) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Similarities with their sign in float64, and bounds of their errors."""
        values, errors = np.empty(len(rows)), np.empty(len(rows))
        for start in range(0, len(rows), _ROWS):
            part = slice(start, start + _ROWS)
            one, other = (self._scaled(side, x[part]) for side, x in enumerate((rows, columns)))
            value, size = np.einsum("ij,ij->i", one, other), np.einsum("ij,ij->i", np.abs(one), np.abs(other))
            if self.cosine:
                norms = np.sqrt(np.einsum("ij,ij->i", one, one)) * np.sqrt(np.einsum("ij,ij->i", other, other))
                value, size = value / norms, size / norms
            values[part], errors[part] = self.sign * value, 1.01 * self.error * size + _TINY
        return values, errors

    def _distinct(self, rows: Indices, columns: Indices) -> Indices:
        """The first candidate of every inner product and norms: of documents of integers these are exact in float64."""
        triples = np.empty((len(rows), 3))
        for start in range(0, len(rows), _ROWS):
            part = slice(start, start + _ROWS)
            one, other = (x[at[part]].astype(np.float64) for x, at in ((self.left, rows), (self.right, columns)))
            for k, (u, v) in enumerate(((one, other), (one, one), (other, other))):
                triples[part, k] = np.einsum("ij,ij->i", u, v)
        first: Indices = np.sort(np.unique(triples, axis=0, return_index=True)[1])
        return first

    def _scaled(self, side: int, at: Indices) -> NDArray[np.float64]:
        documents = self.sides[side][at].astype(np.float64)
        scaled: NDArray[np.float64] = np.ldexp(documents, -self.exponents[side][at, None])
        return scaled

    def _integer(self, side: int, row: int) -> tuple[tuple[int, ...], int]:
        """(integers, denominator) whose quotients are the document, up to a positive factor for the cosine."""
        side = 0 if self.right is self.left else side
        if (side, row) not in self._integers:
            ratios = [float(x).as_integer_ratio() for x in self.sides[side][row]]
            denominator = max(q for _, q in ratios)
            whole = [p * (denominator // q) for p, q in ratios]
            if self.cosine:
                common = math.gcd(*whole)
                whole, denominator = [x // common for x in whole], 1
            self._integers[side, row] = (tuple(whole), denominator)
        return self._integers[side, row]

    def _order(self, documents: tuple[Any, Any]) -> Fraction:
        """A rational number in the order of similarities: the cosine squared with its sign, or the inner product."""
        if documents not in self._values:
            (u, p), (v, q) = documents
            product = sum(x * y for x, y in zip(u, v, strict=True) if x and y)
            if self.cosine:
                norms = sum(x * x for x in u) * sum(y * y for y in v)
                self._values[documents] = Fraction(product * abs(product), norms)
            else:
                self._values[documents] = Fraction(product, p * q)
        return self._values[documents]


def powers(documents: NDArray[Any], each: bool) -> NDArray[np.intp]:
    """(n,): e with |entry| < 2^e, of every document or of all of them; 0 where all are zero."""
    largest = np.maximum(documents.max(axis=1), -documents.min(axis=1)).astype(np.float64)
    exponents = np.frexp(largest if each else np.full_like(largest, largest.max()))[1]
    result: NDArray[np.intp] = exponents.astype(np.intp)
    return result


def _whole(documents: NDArray[Any], bits: int) -> bool:
    """Whether the documents hold integers so small that every sum of products is exact in so many bits."""
    largest = max(float(documents.max()), -float(documents.min()))
    return documents.shape[1] * largest * largest < 2.0**bits and bool((documents == np.rint(documents)).all())


def _nearest(x: Fraction) -> float:
    """The float64 number nearest to x; infinite beyond the largest one."""
    try:
        return float(x)
    except OverflowError:
        return math.inf if x > 0 else -math.inf
