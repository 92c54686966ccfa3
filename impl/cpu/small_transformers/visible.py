"""Which keys a query attends to, for a few rows and keys at a time: nothing as large as queries times keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

__all__ = ["Visible", "unmasked"]


@dataclass(frozen=True, eq=False)
class Visible:
    """The masks of an attention problem, all together.

    causal: key j ≤ i.  window w: key j > i − w, which is the w keys up to the query's own.  sinks s: the window does
    not hide the keys 0 … s − 1.  mask: (b or 1, h or 1, n_q or 1, n_k or 1), True attends.
    """

    queries: int
    keys: int
    causal: bool = False
    window: int | None = None
    sinks: int = 0
    mask: NDArray[np.bool_] | None = None

    def some(self, rows: tuple[int, int], keys: tuple[int, int]) -> bool:
        """Whether causality and the window leave anything to see of a block; the boolean mask is not looked at."""
        (first, end), (left, right) = rows, keys
        if first >= end or left >= right or (self.causal and left >= end):
            return False
        if self.window is None or left < self.sinks:
            return True
        return right - 1 > first - self.window

    def block(self, rows: Rows, keys: Rows) -> NDArray[np.bool_] | None:
        """(b or 1, h or 1, rows, keys): who sees what of a block; ``None`` where every query sees every key."""
        after = self.causal and keys.max() > rows.min()
        before = self.window is not None and keys.min() <= rows.max() - self.window
        if not after and not before and self.mask is None:
            return None
        i, j = rows[:, None], keys[None, :]
        seen = np.ones((len(rows), len(keys)), np.bool_)
        if after:
            seen &= j <= i
        if before:
            assert self.window is not None
            seen &= (j > i - self.window) | (j < self.sinks)
        result = seen[None, None]
        if self.mask is not None:
            part = self.mask[:, :, rows] if self.mask.shape[2] > 1 else self.mask
            result = result & (part[..., keys] if part.shape[3] > 1 else part)
        return None if result.all() else result

    def pairs(self) -> int:
        """How many pairs of a query and a key causality and the window leave, in one head.

        A query that sees one key only is left out: its output is the value of that key, whatever the score.
        """
        i = np.arange(self.queries, dtype=np.int64)
        end = np.minimum(i + 1, self.keys) if self.causal else np.full(self.queries, self.keys, np.int64)
        count = end
        if self.window is not None:
            begin = np.minimum(np.maximum(i - self.window + 1, 0), end)
            count = end - begin + np.minimum(begin, self.sinks)
        return int(count[count > 1].sum())


def unmasked(shape: tuple[int, ...], mask: Any) -> NDArray[np.bool_] | None:
    """A boolean mask with four axes that broadcasts to ``shape``.  Raises ``ValueError`` for another one."""
    if mask is None:
        return None
    array = np.asarray(mask)
    try:
        fits = np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        fits = False
    if array.dtype != np.bool_ or not fits:
        raise ValueError(f"mask: {array.dtype} of shape {array.shape}, expected booleans that broadcast to {shape}")
    return array.reshape((1,) * (4 - array.ndim) + array.shape)
