"""The weights: embedding, one attention layer with one head, and a perceptron with two neurons.

Documents are 0/1 vectors of ℓ words.  A token is a document and one coordinate that says which type the token has; one
more token, the calibrator, has the only value that is not 0.  So the output of a query is the share of its attention
that the calibrator gets.  A pair that answers the question weighs at least as much as the calibrator: share at most
1/2.  Every other pair weighs at most e^(−κ²) ≤ 1/(16N) as much, N the number of documents: share at least 16/17.

κ is a power of two.  So all weights and all products of them with 0 and 1 are exact in every binary type, and scores
are integers times κ²: no rounding decides between t and t − 1.  (A least κ of the type, or √t as a weight on both
sides, would be rounded.)  The perceptron has its ramp between 1/2 and 5/8, and its weights have at most three bits.
The claims are DOC-6 and DOC-7 of proofs_notes/document_similarity.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["CUT", "Transformer", "factor", "least", "most", "orthogonal", "require_room"]

#: An output of at most this says that the token has a partner; between 1/2 and 16/17.
CUT = 5 / 8


@dataclass(frozen=True, eq=False)
class Transformer:
    """One layer.  ℓ words, width w = the length of a token, head dimension h; attention scores have scale 1.

    words: ℓ.  sides: 1 for one collection of documents, 2 for two.
    documents: N, the most documents that there may be, those of both sides together.
    embedding: (sides·ℓ, w): what the words of a document become, those of the left before those of the right.
    types: (sides + 1, w): what is added to a token of the left, of the right, and to the calibrator, which comes last.
    query, key, value: (w, h).  The value has one coordinate that is not 0, the first, and only for the calibrator.
    inner: (h, 2), inner_bias: (2,), outer: (2, 1): the perceptron relu(x·inner + inner_bias)·outer, 1 for an output of
    at most 1/2 and 0 for one of at least 5/8.
    masked: whether a token does not attend to itself (the calibrator does).
    The answer is yes where the mean of the perceptron over all tokens exceeds 1/(2·tokens).
    """

    words: int
    sides: int
    documents: int
    embedding: Array
    types: Array
    query: Array
    key: Array
    value: Array
    inner: Array
    inner_bias: Array
    outer: Array
    masked: bool

    @property
    def head(self) -> int:
        """h, the head dimension."""
        return int(self.query.shape[1])

    def tokens(self, left: NDArray[np.generic], right: NDArray[np.generic] | None = None) -> Array:
        """(documents + 1, w): the embedded documents of the left, of the right, and the calibrator.

        left (n, ℓ) and, for two sides, right (m, ℓ): 0 and 1.  Raises ``ValueError`` for other shapes or numbers, and
        for more documents than N: then the others together could weigh as much as the calibrator.
        """
        collections = [x for x in (left, right) if x is not None]
        if len(collections) != self.sides:
            raise ValueError(f"{len(collections)} collections of documents: expected {self.sides}")
        require_room(sum(len(x) for x in collections), self.documents)
        rows = []
        for side, documents in enumerate(collections):
            if documents.ndim != 2 or documents.shape[1] != self.words or not np.isin(documents, (0, 1)).all():
                raise ValueError(f"documents of shape {documents.shape}: expected (n, {self.words}) of 0 and 1")
            block = self.embedding[side * self.words : (side + 1) * self.words]
            rows.append(documents.astype(np.float64) @ block + self.types[side])
        return np.concatenate([*rows, self.types[-1:]])

    def mask(self, tokens: int) -> NDArray[np.bool_] | None:
        """(tokens, tokens), True where a query attends to a key; ``None`` where all do."""
        if not self.masked:
            return None
        attends = ~np.eye(tokens, dtype=bool)
        attends[-1, -1] = True
        return attends


def factor(documents: int) -> float:
    """κ: the least power of two with κ² ≥ ln(16·documents).

    >>> factor(4096), factor(2)
    (4.0, 2.0)
    """
    return 2.0 ** math.ceil(math.log2(math.log(16 * documents)) / 2)


def require_room(documents: int, most: int) -> None:
    """Raises ``ValueError`` for more documents than the ``most`` that weights are made for (κ² ≥ ln(16·most))."""
    if documents > most:
        raise ValueError(f"{documents} documents: expected at most {most}")


def orthogonal(words: int, documents: int) -> Transformer:
    """Are two documents of one collection orthogonal?  None may be empty; head dimension ℓ + 1, no mask.

    documents: N, the most that there may be, without the calibrator.
    """
    kappa = factor(documents)
    query, key = np.zeros((words + 2, words + 1)), np.zeros((words + 2, words + 1))
    query[:words, :words] = kappa * np.eye(words)
    key[:words, :words] = -kappa * np.eye(words)
    query[-1, words] = key[-1, words] = kappa  # the calibrator with itself: it never has a partner
    return _transformer(words, 1, documents, query, key, masked=False)


def most(words: int, documents: int, threshold: int, *, sides: int = 2) -> Transformer:
    """Is an inner product of two documents at least ``threshold`` ≥ 1?  Head dimension ℓ + 1.

    documents: N, the most that there may be, those of both sides together.
    sides: 2 for pairs of a left and a right document; 1 for pairs of one collection, with a masked diagonal, as a
    document has its largest inner product with itself.  The threshold is exact in a type that holds integers up to it.
    """
    if threshold < 1:
        raise ValueError(f"threshold {threshold}: expected at least 1")
    kappa = factor(documents)
    width = sides * words + sides + 1
    query, key = np.zeros((width, words + 1)), np.zeros((width, words + 1))
    query[:words, :words] = kappa * np.eye(words)
    key[(sides - 1) * words : sides * words, :words] = kappa * np.eye(words)
    query[sides * words :, words] = kappa
    key[-1, words] = kappa * threshold
    return _transformer(words, sides, documents, query, key, masked=sides == 1)


def least(words: int, documents: int, threshold: int, *, sides: int = 2) -> Transformer:
    """Is an inner product of two documents at most ``threshold`` ≥ 0?  Head dimension ℓ + 2.

    documents, sides: as in :func:`most`.
    """
    if threshold < 0:
        raise ValueError(f"threshold {threshold}: expected at least 0")
    kappa = factor(documents)
    width = sides * words + sides + 1
    query, key = np.zeros((width, words + 2)), np.zeros((width, words + 2))
    query[:words, :words] = kappa * np.eye(words)
    key[(sides - 1) * words : sides * words, :words] = -kappa * np.eye(words)
    query[sides * words, words] = kappa
    query[sides * words + 1 :, words + 1] = kappa
    key[-1, words], key[-1, words + 1] = -kappa * threshold, kappa
    if sides == 2:
        key[2 * words, words] = -kappa * (threshold + 1)  # the left is no partner of the left
    return _transformer(words, sides, documents, query, key, masked=sides == 1)


def _transformer(words: int, sides: int, documents: int, query: Array, key: Array, *, masked: bool) -> Transformer:
    """The weights that do not depend on the question."""
    width, head = query.shape
    value = np.zeros((width, head))
    value[-1, 0] = 1.0
    inner = np.zeros((head, 2))
    inner[0] = -8.0
    types = np.zeros((sides + 1, width))
    types[:, sides * words :] = np.eye(sides + 1)
    return Transformer(
        words,
        sides,
        documents,
        np.eye(sides * words, width),
        types,
        query,
        key,
        value,
        inner,
        np.array([5.0, 4.0]),
        np.array([[1.0], [-1.0]]),
        masked,
    )
