"""Documents as texts: every coordinate is a word, and a document is the line of its words.

A text is read back by any vectoriser that counts words, whatever its tokens are: words are of small letters, at least
six, none is a part of another, and none is on a list of stop words (no such list has words of these syllables).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from assay.spec.document_similarity.instance import Instance

__all__ = ["counts", "vocabulary", "written"]

_SYLLABLES = tuple(first + vowel for first in "bdfgjklmnprtvz" for vowel in "aiou")
_MOST = 1000  # times that a word is repeated in a line


def vocabulary(size: int) -> list[str]:
    """``size`` different words of equally many syllables, at least three, one for each coordinate.

    >>> vocabulary(3)
    ['bababa', 'bababi', 'bababo']
    """
    length = 3
    while len(_SYLLABLES) ** length < size:
        length += 1
    base = len(_SYLLABLES)
    return ["".join(_SYLLABLES[n // base**k % base] for k in reversed(range(length))) for n in range(size)]


def written(instance: Instance) -> tuple[list[str], ...]:
    """The lines of the left documents and, for two collections, of the right ones; a count repeats its word.

    Raises :class:`~assay.spec.problem.InvalidInstance` where a number is no count.

    >>> from assay.spec.document_similarity import Instance
    >>> written(Instance(np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]])))
    (['bababa bababo bababo', 'bababi'],)
    """
    words = vocabulary(instance.left.shape[1])
    sides = []
    for name, documents in instance.arrays().items():
        numbers = documents.astype(np.float64)
        if not ((numbers >= 0) & (numbers <= _MOST) & (numbers == np.rint(numbers))).all():
            raise InvalidInstance(f"{name}: numbers that are no counts, expected integers from 0 to {_MOST}")
        sides.append(
            [" ".join(word for c in np.flatnonzero(row) for word in [words[c]] * int(row[c])) for row in numbers]
        )
    return tuple(sides)


def counts(lines: Sequence[str], words: Sequence[str]) -> NDArray[np.float64]:
    """(lines, words): how often each of the words is in each line; the inverse of :func:`written`.

    Raises ``ValueError`` for a word that is not among them.

    >>> counts(["b a b"], ["a", "b"]).tolist()
    [[1.0, 2.0]]
    """
    place = {word: c for c, word in enumerate(words)}
    result = np.zeros((len(lines), len(words)))
    for row, line in enumerate(lines):
        for word in line.split():
            if word not in place:
                raise ValueError(f"line {row}: {word!r} is not among the words")
            result[row, place[word]] += 1
    return result
