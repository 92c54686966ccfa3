"""Rows of the families as instances: documents, how many, which pair is the best; and what calls change."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.families import CHANGES as SHARED
from assay.spec.document_similarity import Instance
from assay.spec.floats import dtype_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.conformance.interface.suite import Row
    from assay.spec.precision import Precision
    from assay.spec.problem import Provenance

    Array = NDArray[np.float64]
    Generator = np.random.Generator
    Sides = tuple[Array, Array]

__all__ = ["CHANGES", "DOCUMENTS", "PLACES", "built", "sizes"]


def sizes(row: Row) -> tuple[int, int, int]:
    """How many documents there are on the left and on the right, 0 where the left is alone, and how many words.

    >>> from assay.conformance.interface.suite import Row
    >>> sizes(Row("smoke", "normal", "5/7:12")), sizes(Row("smoke", "normal", "6:12"))
    ((5, 7, 12), (6, 0, 12))
    """
    left, *right, words = (int(word) for word in re.split("[/:]", row.size))
    return left, right[0] if right else 0, words


def _words(documents: Array, rng: Generator) -> Array:
    """The documents with a word for those that have none."""
    empty = ~(documents != 0).any(axis=1)
    documents[empty, rng.integers(0, documents.shape[1], int(empty.sum()))] = 1.0
    return documents


def _presence(rng: Generator, n: int, d: int) -> Array:
    return _words((rng.random((n, d)) < 0.4).astype(np.float64), rng)


def _counts(rng: Generator, n: int, d: int) -> Array:
    return _words(rng.poisson(0.8, (n, d)).astype(np.float64) * rng.integers(1, 4, (n, 1)), rng)


def _weighted(rng: Generator, n: int, d: int) -> Array:
    """tf–idf: counts times a weight of the word."""
    return _words(rng.poisson(0.9, (n, d)).astype(np.float64) * np.log(1 + 40.0 / rng.integers(1, 40, d)), rng)


def _sparse(rng: Generator, n: int, d: int) -> Array:
    """A few words each, some of them a document's own: norms differ from those over the words in common."""
    documents = np.zeros((n, d))
    for row in documents:
        chosen = rng.choice(d, max(1, min(d, 3 + d // 16)), replace=False)
        row[chosen] = rng.integers(1, 6, len(chosen))
    return documents


def _rare(rng: Generator, n: int, d: int) -> Array:
    """About two words each."""
    return _words(np.where(rng.random((n, d)) < 2.0 / d, rng.integers(1, 4, (n, d)), 0.0), rng)


def _late(rng: Generator, n: int, d: int) -> Array:
    """Documents that are alike in all words but the last few, which decide."""
    documents = np.tile(1.0 + 0.01 * rng.standard_normal(d), (n, 1))
    documents[:, -max(1, d // 8) :] = 3 * rng.standard_normal((n, max(1, d // 8)))
    return documents


def _faint(rng: Generator, n: int, d: int) -> Array:
    """One heavy word each, mostly not that of others, and one light word that all have: cosines far below 1."""
    documents = np.zeros((n, d))
    documents[:, -1] = rng.integers(1, 4, n)
    documents[np.arange(n), rng.permutation(max(n, d - 1))[:n] % max(d - 1, 1)] += rng.integers(500, 2000, n)
    return documents


#: What documents are: (rng, documents, words) → numbers.
DOCUMENTS: dict[str, Callable[[Generator, int, int], Array]] = {
    "normal": lambda rng, n, d: rng.standard_normal((n, d)) * np.exp2(rng.integers(-2, 3, (n, 1))),
    "presence": _presence,
    "counts": _counts,
    "tf-idf": _weighted,
    "sparse": _sparse,
    "late": _late,
    "equal-norms": lambda rng, n, d: np.where(rng.random((n, d)) < 0.5, -1.0, 1.0),
    "alike": lambda rng, n, d: 4.0 + rng.standard_normal((n, d)),  # cosines near 1
    "faint": _faint,
    "all-equal": lambda rng, n, d: np.tile(rng.integers(1, 5, d).astype(np.float64), (n, 1)),
    "lengths": lambda rng, n, d: rng.standard_normal((n, d)) * np.exp2(rng.integers(-6, 7, (n, 1))),
    "positive": lambda rng, n, d: (0.1 + rng.random((n, d))) * np.exp2(rng.integers(-2, 3, (n, 1))),
    "opposite": lambda rng, n, d: (
        np.where(np.arange(n)[:, None] % 2, -1, 1) * (1.0 + 0.3 * rng.standard_normal((n, d)))
    ),
    "large-counts": lambda rng, n, d: _words(rng.integers(0, 200, (n, d)).astype(np.float64), rng),
    "full-counts": lambda rng, n, d: rng.integers(30, 101, (n, d)).astype(np.float64),  # eight bits hold every one
    "rare-words": _rare,
}

#: Where the best pair is put: (documents on the left, on the right) → (i, j).
PLACES: dict[str, Callable[[int, int], tuple[int, int]]] = {
    "first": lambda n, m: (0, min(1, m - 1)),
    "origin": lambda n, m: (0, 0),
    "last": lambda n, m: (n - 1, m - 1),
    "corner": lambda n, m: (0, m - 1),
    "foot": lambda n, m: (n - 1, 0),
    "middle": lambda n, m: (n // 2, m // 3),
}


def _planted(left: Array, right: Array, place: tuple[int, int], least: bool, rng: Generator) -> None:
    """Make a pair the most similar one, by far, or the least; both stay documents of their kind."""
    i, j = place
    signed = bool((left < 0).any() or (right < 0).any())
    if not least:
        right[j] = left[i] * (1.0 if rng.random() < 0.5 else 2.0)
    elif signed:
        right[j] = -left[i]
    else:
        d = left.shape[1]
        words = rng.permutation(d) < max(1, d // 2)
        other = ~words if d > 1 else words
        left[i], right[j] = (
            np.where(words, np.maximum(left[i], 1.0), 0.0),
            np.where(other, np.maximum(right[j], 1.0), 0.0),
        )


def _graded(documents: Array, power: int) -> Array:
    exponents = np.linspace(0, power, max(len(documents), 2))[: len(documents)]
    return np.asarray(documents * np.exp2(-np.rint(exponents))[:, None])


#: How large numbers are that are tiny or huge and yet in the domain of the class, as powers of two.
_EXTREMES = {"float64": 300, "float16": 8}


def built(row: Row, provenance: Provenance, precision: Precision) -> Instance:
    """The instance of a row.  Sizes are "left/right:words", or "left:words" for one collection; options are

    ``least``, ``inner_product``; ``at=PLACE``, where the best pair is; ``tiny``, ``huge``: the scale of all numbers;
    ``graded``: every document of another scale, from 1 down to that of ``tiny``; ``one-side``: the left is of norm 1,
    and the right is not; ``twice``: documents occur several times; ``same``: the right has the numbers of the left, and
    is a collection of its own nevertheless; ``orthogonal``: documents have a word in common,
    except for a planted pair of ``least``.
    """
    n, m, d = sizes(row)
    rng, dtype = np.random.default_rng(provenance.seed), dtype_named(precision.storage)
    words = {name: text for name, _, text in (option.partition("=") for option in row.options)}
    least = "least" in words
    make = DOCUMENTS[row.pattern]
    left = make(rng, n, d)
    right = left.copy() if "same" in words else make(rng, m, d) if m else left
    if "orthogonal" in words:
        left[:, 0] = np.maximum(left[:, 0], 1.0)
        right[:, 0] = np.maximum(right[:, 0], 1.0)
    if "twice" in words:
        for side in (left, right):
            side[len(side) // 2 :] = side[: len(side) - len(side) // 2]
    if "at" in words:
        i, j = PLACES[words["at"]](n, m or n)
        _planted(left, right, (i, j if m or i != j else (j or n) - 1), least, rng)
    if "one-side" in words:
        left = left / np.linalg.norm(left, axis=1, keepdims=True)
    if "graded" in words:
        left, right = (_graded(side, _EXTREMES.get(precision.storage, 40)) for side in (left, right))
    power = _EXTREMES.get(precision.storage, 40) * (("huge" in words) - ("tiny" in words))
    stored = [(side * 2.0**power).astype(dtype) for side in (left, right)]
    measure = "inner_product" if "inner_product" in words else "cosine"
    return Instance(stored[0], stored[1] if m else None, least, measure, provenance=provenance)


def _all_numbers(instance: Instance) -> Instance:
    """Both sides with other numbers: words in reverse, and other documents of them negated."""
    changed = {}
    for name, documents in instance.arrays().items():
        signs = np.where(np.arange(len(documents)) % 2, -1, 1)[:, None]
        changed[name] = np.ascontiguousarray(documents.astype(np.float64)[::-1, ::-1] * signs).astype(documents.dtype)
    return instance.replace(**changed)


def _one_number(instance: Instance) -> Instance:
    """The last number of the last document changed: what a key of the first few numbers does not tell apart."""
    changed: dict[str, Any] = {}
    for name, documents in instance.arrays().items():
        other = documents.copy()
        other[-1] = -other[-1]
        changed[name] = other
    return instance.replace(**changed)


#: What another call differs in: what a kernel may keep from it, under a key that does not tell the two apart.
CHANGES: dict[str, Callable[[Instance], Instance]] = {
    **SHARED,
    "numbers": _all_numbers,
    "last": _one_number,
    "right": lambda i: i if i.right is None else i.replace(right=i.right[::-1].copy()),
    "least": lambda i: i.replace(least=not i.least),
    "measure": lambda i: i.replace(measure="inner_product" if i.measure == "cosine" else "cosine"),
    "alone": lambda i: i.replace(right=None) if len(i.left) > 1 else i,
    "shorter": lambda i: i.part(left=range(max(len(i.left) - 1, 1))) if i.right is not None else i,
}
