"""Which lengths of its axes a kernel takes, as data: progressions of numbers, and the axes that belong together."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Axes", "Lengths"]

_LONGEST = 1 << 40  # no axis is longer: the end of a progression that has none
_TERM = re.compile(r"(\d+)(?:(\.\.)(\d+)?(?::(\d+))?)?")


@dataclass(frozen=True)
class Axes:
    """Axes of a problem that a kernel limits in the same way, such as head dim and value dim.

    names: the axes as the instances declare them.
    usual: lengths that kernels are made for, the likeliest first: what is tried to learn what a kernel takes.
    multiples: whether a plain number in a declaration stands for all of its multiples, as for axes that run in tiles.
    apart: whether what lies along these axes is computed each by itself, as heads and batches are: where other axes
    are made longer, a few of them show as much as many.
    """

    names: tuple[str, ...]
    usual: tuple[int, ...]
    multiples: bool = False
    apart: bool = False


@dataclass(frozen=True)
class Lengths:
    """Lengths that an axis may have: arithmetic progressions (first, last, step), every end included.

    >>> Lengths.of("64,128").nearest(100), Lengths.of("16..256:16").nearest(100)
    (128, 96)
    >>> tiles = Lengths.of("128", multiples=True)
    >>> tiles.nearest(3), tiles.above(128), tiles.below(128), 129 in tiles
    (128, 256, None, False)
    """

    progressions: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, words: str, *, multiples: bool = False) -> Lengths:
        """The lengths that a declaration names.

        Terms are separated by commas: ``N`` is that length, or with ``multiples`` all of its multiples; ``N..M``,
        ``N..`` and ``N..M:STEP`` are progressions.  Raises ``ValueError`` with what was expected.
        """
        progressions = []
        for term in words.split(","):
            match = _TERM.fullmatch(term.strip())
            if match is None:
                raise ValueError("expected lengths such as 64,128 or 16..256:16 or 128..")
            first = int(match[1])
            last = int(match[3] or _LONGEST) if match[2] or multiples else first
            step = int(match[4] or 1) if match[2] else first
            if not 1 <= first <= last or step < 1:
                raise ValueError("expected lengths of at least 1, in rising order")
            progressions.append((first, last, step))
        return cls(tuple(progressions))

    def __contains__(self, length: object) -> bool:
        return isinstance(length, int) and any(
            first <= length <= last and (length - first) % step == 0 for first, last, step in self.progressions
        )

    def nearest(self, length: int) -> int:
        """The length that is nearest to ``length``; of two the longer one."""
        if length in self:
            return length
        around = [n for n in (self.below(length), self.above(length)) if n is not None]
        return min(around, key=lambda n: (abs(n - length), -n))

    def above(self, length: int) -> int | None:
        """The least length beyond ``length``, if there is one."""
        beyond = (max(first, first + ((length - first) // step + 1) * step) for first, last, step in self.progressions)
        return min((n for n, (_, last, _) in zip(beyond, self.progressions, strict=True) if n <= last), default=None)

    def below(self, length: int) -> int | None:
        """The greatest length short of ``length``, if there is one."""
        short = (
            first + (min(last, length - 1) - first) // step * step
            for first, last, step in self.progressions
            if length > first
        )
        return max(short, default=None)
