"""What a small transformer can do: how many tokens it takes, and what else it takes or returns."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    Oracle = Callable[..., Any]

__all__ = ["KEYWORDS", "Small", "keywords_of"]

#: Keywords that an oracle may have besides ``scale``.
KEYWORDS = ("mask", "is_causal", "return_lse")


@dataclass(frozen=True)
class Small:
    """An oracle that computes attention on at most ``size`` tokens.

    It is called as ``oracle(query, key, value, scale=σ)`` with query (calls, heads, ≤ size, d), key
    (calls, heads, ≤ size, d) and value (calls, heads, ≤ size, d_v), and it returns (calls, heads, queries, d_v).

    size: M, the most tokens of one call.
    causal: it is causal whatever it is asked: query r attends to keys ≤ r of its own call.
    at_once: H'·L', the independent heads that one call computes: all heads of all its layers.
    fixed: it takes exactly ``size`` queries and ``size`` keys.
    keywords: which of :data:`KEYWORDS` it takes: ``mask`` (boolean, True attends, broadcasts to
    (calls, heads, queries, keys)), ``is_causal``, and ``return_lse``,
    with which it returns (output, log_sum_exp), the latter of shape (calls, heads, queries), natural logarithms.
    """

    size: int
    causal: bool = False
    at_once: int = 1
    fixed: bool = False
    keywords: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, least in (("size", 1), ("at_once", 1)):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise ValueError(f"{name}: {number!r}, expected an integer of at least {least}")
        unknown = self.keywords - set(KEYWORDS)
        if unknown:
            raise ValueError(f"keywords: {sorted(unknown)}, expected some of {', '.join(KEYWORDS)}")
        if self.size < 2 and not self.returns_lse:
            raise ValueError(f"size: {self.size} leaves no room for a key beside the calibrator, expected at least 2")

    @property
    def returns_lse(self) -> bool:
        """Whether its log-sum-exp is used, so that no calibrator is needed.

        Where calls are padded, or see a part of their keys only, there is a calibrator all the same.
        """
        return "return_lse" in self.keywords and not self.fixed and not self.causal

    @property
    def keys(self) -> int:
        """The most keys of one call: M, or M − 1 beside the calibrator."""
        return self.size if self.returns_lse else self.size - 1


def keywords_of(oracle: Oracle, taken: Collection[str] | None = None) -> frozenset[str]:
    """Which of :data:`KEYWORDS` an oracle takes: ``taken``, or what its signature names.

    A function whose signature cannot be read takes none.

    >>> sorted(keywords_of(lambda query, key, value, *, scale, mask=None: query))
    ['mask']
    """
    if taken is not None:
        return frozenset(taken)
    try:
        names = inspect.signature(oracle).parameters
    except (TypeError, ValueError):
        return frozenset()
    return frozenset(KEYWORDS) & set(names)
