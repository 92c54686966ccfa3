"""What is no instance of attention by a smaller transformer."""

from __future__ import annotations

from typing import Any

import numpy as np


def _ones(*shape: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.ones(shape, dtype)


GOOD: dict[str, Any] = {"query": _ones(2, 4, 3, 8), "key": _ones(2, 2, 5, 8), "value": _ones(2, 2, 5, 6)}

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"query": _ones(4, 3, 8)}, "query: shape (4, 3, 8), expected (batch, heads, queries, dim)"),
    ({"query": _ones(2, 3, 3, 8)}, "query: 3 heads, expected a multiple of the 2 heads of key"),
    ({"key": _ones(2, 2, 5, 8, dtype=np.float64)}, "key: dtype float64, expected float32 as in query"),
    ({"value": _ones(2, 2, 4, 6)}, "value: shape (2, 2, 4, 6), expected (batch, key_heads, keys, value_dim)"),
    ({"oracle_size": 0}, "oracle_size: 0, expected an integer from 1 to"),
    ({"oracle_size": 1}, "oracle_size: 1, expected at least 2, for a calibrator and a key"),
    ({"oracle_size": 2.0}, "oracle_size: 2.0, expected an integer"),
    ({"oracle_size": 1, "oracle": "causal"}, "oracle_size: 1, expected at least 2"),
    ({"scale": np.inf}, "scale: inf, expected a finite number"),
    ({"is_causal": 1}, "is_causal: 1, expected True or False"),
    ({"window": 3}, "window: 3, expected none without is_causal"),
    ({"window": 0, "is_causal": True}, "window: 0, expected an integer from 1 to"),
    ({"window": (3, 0), "is_causal": True}, "window: (3, 0), expected an integer"),
    ({"sinks": 2}, "sinks: 2, expected 0 without a window"),
    ({"sinks": -1, "window": 2, "is_causal": True}, "sinks: -1, expected an integer from 0 to"),
    ({"mask": np.ones((3, 4), bool)}, "mask: shape (3, 4), expected one that broadcasts to (2, 4, 3, 5)"),
    ({"oracle": "flash"}, "oracle: 'flash', expected 'plain', 'log_sum_exp' or 'causal'"),
    ({"at_once": 0}, "at_once: 0, expected an integer from 1 to"),
    ({"return_lse": 1}, "return_lse: 1, expected True or False"),
)
