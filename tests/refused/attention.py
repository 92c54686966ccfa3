"""What is no instance of attention."""

from __future__ import annotations

from typing import Any

import numpy as np

_RNG = np.random.default_rng(0)


def _zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.zeros(shape, dtype)


def _with(array: np.ndarray[Any, Any], place: tuple[int, ...], number: float) -> np.ndarray[Any, Any]:
    changed = array.copy()
    changed[place] = number
    return changed


GOOD: dict[str, Any] = {
    "query": _RNG.standard_normal((2, 4, 3, 5)).astype(np.float32),
    "key": _RNG.standard_normal((2, 2, 6, 5)).astype(np.float32),
    "value": _RNG.standard_normal((2, 2, 6, 7)).astype(np.float32),
}

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"query": _zeros(2, 3, 5)}, "query: shape (2, 3, 5), expected (batch, heads, queries, dim)"),
    ({"query": [[1.0]]}, "query: list, expected a NumPy array"),
    ({"query": None}, "query: NoneType, expected a NumPy array"),
    ({"query": _zeros(2, 4, 3, 5, dtype=np.int32)}, "query: dtype int32, expected one of bfloat16"),
    ({"query": _zeros(2, 4, 3, 5, dtype=np.complex64)}, "query: dtype complex64, expected one of bfloat16"),
    ({"query": _zeros(2, 3, 3, 5)}, "query: 3 heads, expected a multiple of the 2 heads of key"),
    ({"query": _zeros(2, 4, 0, 5)}, "query: shape (2, 4, 0, 5), expected every side at least 1"),
    ({"key": _zeros(2, 2, 6, 5, dtype=np.float64)}, "key: dtype float64, expected float32 as in query"),
    ({"key": _zeros(2, 2, 6, 4)}, "key: shape (2, 2, 6, 4), expected (batch, key_heads, keys, dim) with batch = 2"),
    ({"key": _with(GOOD["key"], (1, 0, 2, 3), np.nan)}, "key: nan at (1, 0, 2, 3), expected finite numbers"),
    ({"key": _with(GOOD["key"], (0, 0, 0, 0), np.inf)}, "key: inf at (0, 0, 0, 0), expected finite numbers"),
    ({"value": _zeros(2, 2, 5, 7)}, "value: shape (2, 2, 5, 7), expected (batch, key_heads, keys, value_dim) with"),
    ({"key": _zeros(2, 2, 0, 5), "value": _zeros(2, 2, 0, 7)}, "key: shape (2, 2, 0, 5), expected every side at"),
    ({"scale": float("inf")}, "scale: inf, expected a finite number"),
    ({"scale": "big"}, "scale: 'big', expected a finite number"),
    ({"scale": True}, "scale: True, expected a finite number"),
    ({"scale": 10**400}, "scale: an integer beyond float64, expected a finite number"),
    ({"is_causal": 1}, "is_causal: 1, expected True or False"),
    ({"causal": "diagonal"}, "causal: 'diagonal', expected 'top-left', 'bottom-right' or None"),
    ({"is_causal": True, "causal": "bottom-right"}, "is_causal: True means top-left, but causal is 'bottom-right'"),
    ({"window": (1, -1)}, "window: (1, -1), expected (left, right), each an integer ≥ 0 or None"),
    ({"window": 3}, "window: 3, expected (left, right), each an integer ≥ 0 or None"),
    ({"mask": np.ones((3, 6))}, "mask: dtype float64, expected bool"),
    ({"mask": np.ones((4, 6), bool)}, "mask: shape (4, 6), expected one that broadcasts to (2, 4, 3, 6)"),
    ({"bias": np.full((3, 6), np.nan, np.float32)}, "bias: nan at (0, 0), expected finite numbers or −inf"),
    ({"bias": np.full((3, 6), np.inf, np.float32)}, "bias: inf at (0, 0), expected finite numbers or −inf"),
    ({"bias": _zeros(3, 2, 4, 3, 6)}, "bias: shape (3, 2, 4, 3, 6), expected one that broadcasts to (2, 4, 3, 6)"),
    ({"key_lengths": np.array([7, 1])}, "key_lengths: [7, 1], expected values in [0, 6]"),
    ({"key_lengths": np.array([-1, 1])}, "key_lengths: [-1, 1], expected values in [0, 6]"),
    ({"key_lengths": np.array([1.0, 1.0])}, "key_lengths: dtype float64, expected integers"),
    ({"key_lengths": np.array([1])}, "key_lengths: shape (1,), expected (batch) with batch = 2"),
    ({"softcap": 0.0}, "softcap: 0.0, expected a number > 0"),
    ({"softcap": float("nan")}, "softcap: nan, expected a finite number"),
    ({"sink": _zeros(2)}, "sink: shape (2,), expected (heads) with heads = 4"),
    ({"sink": np.full(4, -np.inf, np.float32)}, "sink: -inf at (0,), expected finite numbers"),
    ({"return_lse": "yes"}, "return_lse: 'yes', expected True or False"),
)
