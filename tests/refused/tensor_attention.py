"""What is no instance of attention of order 3."""

from __future__ import annotations

from typing import Any

import numpy as np


def _ones(*shape: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.ones(shape, dtype)


GOOD: dict[str, Any] = {
    "query": _ones(2, 4, 3, 8), "key1": _ones(2, 2, 5, 8), "key2": _ones(2, 2, 6, 8), "value1": _ones(2, 2, 5, 7),
    "value2": _ones(2, 2, 6, 7),
}  # fmt: skip

_NAN = _ones(2, 2, 6, 8)
_NAN[1, 0, 2, 3] = np.nan

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"query": _ones(4, 3, 8)}, "query: shape (4, 3, 8), expected (batch, heads, queries, dim)"),
    ({"query": _ones(2, 3, 3, 8)}, "query: 3 heads, expected a multiple of the 2 heads of key1"),
    ({"key1": _ones(2, 2, 5, 9)}, "key1: shape (2, 2, 5, 9), expected (batch, key_heads, keys1, dim)"),
    ({"key2": _ones(2, 1, 6, 8)}, "key2: shape (2, 1, 6, 8), expected (batch, key_heads, keys2, dim)"),
    ({"key2": _ones(2, 2, 6, 8, dtype=np.float64)}, "key2: dtype float64, expected float32 as in query"),
    ({"key2": _NAN}, "key2: nan at (1, 0, 2, 3), expected finite numbers"),
    ({"value1": _ones(2, 2, 6, 7)}, "value1: shape (2, 2, 6, 7), expected (batch, key_heads, keys1, value_dim)"),
    ({"value2": _ones(2, 2, 6, 5)}, "value2: shape (2, 2, 6, 5), expected (batch, key_heads, keys2, value_dim)"),
    ({"scale": float("nan")}, "scale: nan, expected a finite number"),
    ({"is_causal": 1}, "is_causal: 1, expected True or False"),
    ({"window": (3,)}, "window: (3,), expected a tuple of 2 lengths, one a mode, each an integer ≥ 1 or None"),
    ({"window": (3, 0)}, "window: (3, 0), expected a tuple of 2 lengths, one a mode, each an integer ≥ 1 or None"),
    ({"window": (True, 2)}, "window: (True, 2), expected a tuple of 2 lengths"),
    ({"window": 3}, "window: 3, expected a tuple of 2 lengths"),
    ({"window": [3, 3]}, "window: [3, 3], expected a tuple of 2 lengths"),
    ({"return_lse": 1}, "return_lse: 1, expected True or False"),
)
