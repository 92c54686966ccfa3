"""What is no instance of a backward pass of attention of order 3: arrays that do not fit, and options that are none."""

from __future__ import annotations

from typing import Any

import numpy as np

GOOD: dict[str, Any] = {
    "query": np.ones((2, 4, 3, 5), np.float32),
    "key1": np.ones((2, 2, 6, 5), np.float32),
    "key2": np.ones((2, 2, 8, 5), np.float32),
    "value1": np.ones((2, 2, 6, 7), np.float32),
    "value2": np.ones((2, 2, 8, 7), np.float32),
    "grad_output": np.ones((2, 4, 3, 7), np.float32),
}

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"query": None}, "query: NoneType, expected a NumPy array"),
    ({"query": np.ones((2, 4, 3, 5), int)}, "query: dtype int64, expected one of bfloat16"),
    ({"query": np.ones((2, 3, 3, 5), np.float32), "grad_output": np.ones((2, 3, 3, 7), np.float32)},
     "query: 3 heads, expected a multiple of the 2 heads of key1"),
    ({"key1": np.ones((2, 2, 6, 4), np.float32)}, "key1: shape (2, 2, 6, 4), expected (batch, key_heads, keys1, dim)"),
    ({"key2": np.ones((2, 4, 8, 5), np.float32)}, "key2: shape (2, 4, 8, 5), expected (batch, key_heads, keys2, dim)"),
    ({"key2": np.ones((2, 2, 8, 5))}, "key2: dtype float64, expected float32 as in query"),
    ({"value1": np.ones((2, 2, 8, 7), np.float32)}, "value1: shape (2, 2, 8, 7), expected (batch, key_heads, keys1,"),
    ({"value2": np.ones((2, 2, 8, 6), np.float32)}, "value2: shape (2, 2, 8, 6), expected (batch, key_heads, keys2,"),
    ({"value2": np.full((2, 2, 8, 7), np.nan, np.float32)}, "value2: nan at (0, 0, 0, 0), expected finite numbers"),
    ({"grad_output": None}, "grad_output: NoneType, expected a NumPy array"),
    ({"grad_output": np.ones((2, 4, 3, 5), np.float32)}, "grad_output: shape (2, 4, 3, 5), expected (batch, heads,"),
    ({"grad_log_sum_exp": np.ones((2, 4, 4))}, "grad_log_sum_exp: shape (2, 4, 4), expected (batch, heads, queries)"),
    ({"scale": float("inf")}, "scale: inf, expected a finite number"),
    ({"is_causal": 1}, "is_causal: 1, expected True or False"),
    ({"window": 3}, "window: 3, expected a tuple of 2 lengths, one a mode, each an integer ≥ 1 or None"),
    ({"window": (2, 0)}, "window: (2, 0), expected a tuple of 2 lengths"),
    ({"window": (2, 1, 1)}, "window: (2, 1, 1), expected a tuple of 2 lengths"),
)  # fmt: skip
