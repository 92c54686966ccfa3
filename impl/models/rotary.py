"""Rotary positions 0, 1, … as models have them: all coordinates of a head are turned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["Rotary"]


@dataclass(frozen=True)
class Rotary:
    """Rotary positions 0, 1, … of queries and keys.

    interleaved: coordinates 2i and 2i + 1 are a pair, else i and i + k/2.
    """

    base: float
    interleaved: bool

    def table(self, length: int, dim: int, dtype: Any) -> tuple[Array, Array]:
        """Cosines and sines, (length, dim/2) each."""
        half = dim // 2
        angle = np.arange(length)[:, None] * self.base ** (-np.arange(half) / half)
        return np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)

    def turned(self, x: Array, table: tuple[Array, Array]) -> Array:
        """(h, n, k): every head with row i turned by position i."""
        cos, sin = table
        half = x.shape[-1] // 2
        pairs = (np.s_[..., ::2], np.s_[..., 1::2]) if self.interleaved else (np.s_[..., :half], np.s_[..., half:])
        first, second = (x[pair] for pair in pairs)
        out = np.empty_like(x)
        out[pairs[0]] = first * cos - second * sin
        out[pairs[1]] = first * sin + second * cos
        return out

    def apply(self, x: Array) -> Array:
        """(h, n, k): the same with a table of its own."""
        length, dim = x.shape[-2:]
        return self.turned(x, self.table(length, dim, x.dtype))
