"""How many elements of an output are wrong, and where: counted over the whole output, beside the worst element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Wrong", "wrong_elements"]

_NAMED = 6  # indices of one axis that are named one by one


@dataclass(frozen=True)
class Wrong:
    """The wrong elements of one output.

    output: its name.  count, elements: how many of its elements are wrong, and how many it has.
    where: a subscript such as ``[0, 1:3, :, [0, 5]]`` that selects every wrong element; a list names indices of its own
    axis.
    exact: whether it selects nothing else.
    """

    output: str
    count: int
    elements: int
    where: str
    exact: bool

    @property
    def sentence(self) -> str:
        """The counts in words, as in "4 of 48 elements: output[0, 1:3, :, 0]"."""
        plural = "s" if self.elements != 1 else ""
        place = f"{'' if self.exact else 'within '}{self.output}{self.where}"
        return f"{self.count} of {self.elements} element{plural}: {place}"


def wrong_elements(output: str, ratios: NDArray[np.float64]) -> Wrong | None:
    """The elements of an output whose error is more than one tolerance; ``None`` where there are none.

    ratios: error / tolerance of every element, in the shape of the output.

    >>> import numpy as np
    >>> ratios = np.zeros((2, 3, 4))
    >>> ratios[1, :, 2:] = 9.0
    >>> wrong_elements("output", ratios).sentence
    '6 of 24 elements: output[1, :, 2:4]'
    """
    wrong = ratios > 1.0
    count = int(wrong.sum())
    if count == 0:
        return None
    selected, parts = 1, []
    for axis, length in enumerate(wrong.shape):
        others = tuple(other for other in range(wrong.ndim) if other != axis)
        indices = np.flatnonzero(wrong.any(axis=others)).tolist()
        word, chosen = _subscript(indices, length)
        parts.append(word)
        selected *= chosen
    return Wrong(output, count, wrong.size, f"[{', '.join(parts)}]" if parts else "", selected == count)


def _subscript(indices: Sequence[int], length: int) -> tuple[str, int]:
    """Indices of one axis as a subscript, and how many indices it selects, which may be more."""
    first, last = indices[0], indices[-1]
    if len(indices) == length:
        return (":" if length > 1 else "0"), length
    if len(indices) == 1:
        return str(first), 1
    step = indices[1] - first
    if list(indices) == list(range(first, last + 1, step)) and (step == 1 or len(indices) > 2):
        return (f"{first}:{last + 1}" if step == 1 else f"{first}:{last + 1}:{step}"), len(indices)
    if len(indices) <= _NAMED:
        return f"[{', '.join(map(str, indices))}]", len(indices)
    return f"{first}:{last + 1}", last + 1 - first
