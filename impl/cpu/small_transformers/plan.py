"""Plans: which queries and which keys every call of a small transformer is handed (MERGE-3, ST-1, ST-4).

A plan is data.  One head of N queries and keys, an oracle of M tokens that holds K = M − 1 keys beside its calibrator
(K = M where it returns its log-sum-exp):

- every query sees every key: ⌈N/M⌉·⌈N/K⌉ calls, with key blocks of equal size up to one key;
- causal: T(T + 1)/2 calls with T = ⌈N/K⌉, of which T lie on the diagonal;
- causal, with an oracle that is itself causal only: T² calls with T = ⌈N/(M − 1)⌉, two for each pair of blocks, one on
  the diagonal; where every query sees every key, 2T²;
- a window of w keys and s sinks: ⌈N/b⌉ calls with b = M − w − s + 1, whose results are final.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from assay.impl.cpu.small_transformers.model import Small
    from assay.impl.cpu.small_transformers.visible import Visible

    Rows = NDArray[np.int64]
    Span = tuple[int, int]

__all__ = ["Block", "Plan", "balanced", "planned"]


@dataclass(frozen=True)
class Block:
    """The queries and keys of one call of one head.

    rows, keys: from the first to before the last.  lead: keys 0 … lead − 1 come first besides (sinks).
    layout: ``plain``; or, for an oracle that is causal only, ``forward``, in which query r of the block sees its keys
    0 … r, and ``reversed``, in which it sees the others.
    """

    rows: Span
    keys: Span
    lead: int = 0
    layout: str = "plain"

    def query_rows(self) -> Rows:
        return np.arange(*self.rows, dtype=np.int64)

    def key_rows(self) -> Rows:
        return np.concatenate([np.arange(self.lead, dtype=np.int64), np.arange(*self.keys, dtype=np.int64)])

    @property
    def shape(self) -> tuple[int, int, str]:
        """Calls of one shape can be handed over together."""
        return self.rows[1] - self.rows[0], self.lead + self.keys[1] - self.keys[0], self.layout

    def __str__(self) -> str:
        first = f"0–{self.lead - 1} and " if self.lead else ""
        what = "" if self.layout == "plain" else f", {self.layout}"
        return f"queries {self.rows[0]}–{self.rows[1] - 1}, keys {first}{self.keys[0]}–{self.keys[1] - 1}{what}"


@dataclass(frozen=True, eq=False)
class Plan:
    """The calls of one group of heads, in the order in which their results are recombined: by rows, then by keys.

    route: how the keys are shared out, in words.  groups: how often all blocks are asked for, once for the heads that
    one call computes.  merged: whether results of several calls belong to one row, or each is final.
    """

    small: Small
    visible: Visible
    heads: int
    blocks: tuple[Block, ...]
    route: str
    merged: bool = True

    @property
    def groups(self) -> int:
        return -(-self.heads // self.small.at_once)

    @property
    def calls(self) -> int:
        """How often the oracle is asked, rows that are asked again apart."""
        return len(self.blocks) * self.groups

    @property
    def parts(self) -> int:
        """How many calls there are for one row at most; those of the same rows are recombined."""
        return max(Counter(block.rows for block in self.blocks).values(), default=1)

    @property
    def counting_bound(self) -> int:
        """The least number of calls of any plan whose tokens are rows of the input (ST-2).

        One head of one call sees at most M² pairs of a query and a key, an oracle that is causal M(M + 1)/2, and every
        pair that the attention depends on has to be seen.  A boolean mask of the caller is not taken into account.
        """
        m = self.small.size
        most = m * (m + 1) // 2 if self.small.causal else m * m
        return -(-self.visible.pairs() * self.heads // (most * self.small.at_once))


def balanced(length: int, most: int) -> Iterator[Span]:
    """Cut 0 … length − 1 into as few parts of at most ``most`` as there can be, of equal size up to one.

    >>> list(balanced(10, 4))
    [(0, 3), (3, 6), (6, 10)]
    """
    parts = -(-length // most)
    for part in range(parts):
        yield part * length // parts, (part + 1) * length // parts


def planned(small: Small, visible: Visible, heads: int, *, sums: bool = False) -> Plan:
    """The plan of fewest calls, of those above, for an attention problem of so many heads.

    sums: the log-sum-exp is asked for, so that a window leaves room for a calibrator too.
    """
    blocks, route, merged = _blocks(small, visible)
    # a call that is padded is padded with calibrators
    room = small.keys if small.fixed or sums else small.size
    step = room - (visible.window or 0) - visible.sinks + 1
    if visible.window is not None and not small.causal and step >= 1 and -(-visible.queries // step) <= len(blocks):
        blocks, route, merged = _bands(visible, step), f"windows of {step} queries", False
    if visible.mask is not None:
        blocks = [block for block in blocks if _seen(visible, block)]
    return Plan(small, visible, heads, tuple(blocks), route, merged)


def _seen(visible: Visible, block: Block) -> bool:
    seen = visible.block(block.query_rows(), block.key_rows())
    return seen is None or bool(seen.any())


def _blocks(small: Small, visible: Visible) -> tuple[list[Block], str, bool]:
    """Rectangles of queries and keys that cover every pair, without those in which no query sees a key."""
    if small.causal:
        return _halves(small, visible), "pairs of blocks, forward and reversed", True
    # on a diagonal of equal blocks, half of the rectangles are empty, and the others but one a row are full
    rows = list(balanced(visible.queries, small.keys if visible.causal else small.size))
    keys = list(balanced(visible.keys, small.keys))
    blocks = [Block(q, k) for q in rows for k in keys if visible.some(q, k)]
    return blocks, f"{len(rows)} blocks of queries, {len(keys)} of keys", True


def _halves(small: Small, visible: Visible) -> list[Block]:
    """Two calls of a causal oracle for each pair of blocks; one where the other would see nothing."""
    rows = list(balanced(visible.queries, small.keys))
    keys = list(balanced(visible.keys, small.keys))
    blocks = []
    for q in rows:
        for k in keys:
            if not visible.some(q, k):
                continue
            blocks.append(Block(q, k, layout="forward"))
            if not (visible.causal and q[0] <= k[0]):  # the reversed call sees keys after the query's own
                blocks.append(Block(q, k, layout="reversed"))
    return blocks


def _bands(visible: Visible, step: int) -> list[Block]:
    """Each call has ``step`` queries, and all keys that one of them sees."""
    assert visible.window is not None
    blocks = []
    for first in range(0, visible.queries, step):
        end = min(first + step, visible.queries)
        begin = min(max(0, first - visible.window + 1), visible.keys)
        last = max(begin, min(end, visible.keys))
        lead = min(visible.sinks, begin)
        if lead or last > begin:
            blocks.append(Block((first, end), (begin, last), lead))
    return blocks
