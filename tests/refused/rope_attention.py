"""What is no instance of attention with relative positions."""

from __future__ import annotations

from typing import Any

import numpy as np


def _ones(*shape: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.ones(shape, dtype)


GOOD: dict[str, Any] = {"query": _ones(2, 4, 3, 8), "key": _ones(2, 2, 5, 8), "value": _ones(2, 2, 5, 6)}

_GENERAL: dict[str, Any] = {"relative": _ones(2, 7), "support": ((0, 0), (7, 3))}
_LLAMA3: dict[str, Any] = {"scaling": "llama3", "factor": 8.0, "original_length": 8192}
_YARN: dict[str, Any] = {"scaling": "yarn", "factor": 40.0, "original_length": 4096}
_NAN = _ones(2, 7)
_NAN[1, 2] = np.nan

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"query": _ones(4, 3, 8)}, "query: shape (4, 3, 8), expected (batch, heads, queries, dim)"),
    ({"query": _ones(2, 3, 3, 8)}, "query: 3 heads, expected a multiple of the 2 heads of key"),
    (
        {"query": _ones(2, 4, 3, 5), "key": _ones(2, 2, 5, 5)},
        "query: shape (2, 4, 3, 5), expected an even number of columns to rotate, at most 5, not 5",
    ),
    ({"key": _ones(2, 2, 5, 8, dtype=np.float64)}, "key: dtype float64, expected float32 as in query"),
    ({"value": _ones(2, 2, 4, 6)}, "value: shape (2, 2, 4, 6), expected (batch, key_heads, keys, value_dim)"),
    # the general form
    (_GENERAL | {"relative": _ones(2, 8)}, "relative: shape (2, 8), expected 7 columns, one for every offset of a"),
    (_GENERAL | {"relative": _NAN}, "relative: nan at (1, 2), expected finite numbers"),
    ({"support": ((0, 0),)}, "support: ((0, 0),), expected none without relative"),
    (_GENERAL | {"support": None}, "support: None, expected a tuple of pairs (row, column), each from 0 to 7"),
    (_GENERAL | {"support": ((0, 0), (8, 3))}, "support: ((0, 0), (8, 3)), expected a tuple of pairs (row, column)"),
    (_GENERAL | {"support": ((0, 0), (0, 0))}, "support: ((0, 0), (0, 0)), expected 2 different pairs"),
    (_GENERAL | {"support": ((0, 0),)}, "support: ((0, 0),), expected 2 different pairs"),
    (_GENERAL | {"base": 100.0}, "base: 100.0, expected none with relative"),
    (_GENERAL | {"layout": "pairs"}, "layout: 'pairs', expected none with relative"),
    (_GENERAL | {"rotary_dim": 4}, "rotary_dim: 4, expected none with relative"),
    (_GENERAL | {"query_positions": np.array([1, 2, 4])}, "query_positions: shape (3,), expected none with relative"),
    # the rotary form
    ({"base": 1.0}, "base: 1.0, expected a number > 1"),
    ({"layout": "interleaved"}, "layout: 'interleaved', expected 'halves' or 'pairs'"),
    ({"rotary_dim": 3}, "rotary_dim: 3, expected an even number of columns to rotate, at most 8"),
    ({"scaling": "su"}, "scaling: 'su', expected 'linear', 'ntk', 'dynamic', 'llama3', 'yarn' or None"),
    ({"scaling": "linear"}, "factor: None, expected a value, which scaling 'linear' needs"),
    ({"scaling": "linear", "factor": 0.5}, "factor: 0.5, expected a number of at least 1"),
    (_YARN | {"original_length": 6}, "original_length: 6, expected a length for which the ramp of yarn meets"),
    (_LLAMA3 | {"low_frequency": 4.0}, "low_frequency: 4.0, expected a number between 0 and high_frequency, 4.0"),
    (_LLAMA3 | {"high_frequency": -1.0}, "high_frequency: -1.0, expected a number > 0"),
    (_LLAMA3 | {"truncate": False}, "truncate: False, expected none with scaling 'llama3'"),
    (_YARN | {"attention_factor": 0.0}, "attention_factor: 0.0, expected a number > 0"),
    ({"query_positions": np.zeros((2, 5), int)}, "query_positions: shape (2, 5), expected"),
    ({"query_positions": np.full(3, 0.5)}, "query_positions: dtype float64, expected integers"),
    ({"key_positions": np.full(5, 2**53 + 1)}, "key_positions: shape (5,), expected at most 2^53 in size"),
    ({"key_positions": np.zeros((1, 3), int)}, "key_positions: shape (1, 3), expected"),
    # both
    ({"relative_bias": _ones(2, 7)}, "relative_bias: shape (2, 7), expected 1 or 4 rows"),
    ({"relative_bias": _ones(4, 6)}, "relative_bias: shape (4, 6), expected 7 columns, one for every offset of a"),
    ({"relative_bias": _NAN[:1] * np.nan}, "relative_bias: nan at (0, 0), expected finite numbers or −inf"),
    ({"relative_bias": _ones(4, 7), "bias": _ones(1, 1, 1, 5)}, "bias: shape (1, 1, 1, 5), expected none with"),
    ({"scale": float("nan")}, "scale: nan, expected a finite number"),
    ({"is_causal": 1}, "is_causal: 1, expected True or False"),
    ({"is_causal": True, "causal": "bottom-right"}, "is_causal: True means top-left, but causal is 'bottom-right'"),
    ({"causal": "left"}, "causal: 'left', expected 'top-left', 'bottom-right' or None"),
    ({"window": (1, -1)}, "window: (1, -1), expected (left, right), each an integer ≥ 0 or None"),
    ({"mask": np.zeros((3, 5))}, "mask: dtype float64, expected bool"),
    ({"bias": _ones(4, 2, 5)}, "bias: shape (4, 2, 5), expected one that broadcasts to (2, 4, 3, 5)"),
    ({"key_lengths": np.array([1, 6])}, "key_lengths: [1, 6], expected values in [0, 5]"),
    ({"softcap": 0.0}, "softcap: 0.0, expected a number > 0"),
    ({"sink": _ones(2)}, "sink: shape (2,), expected (heads)"),
    ({"return_lse": 1}, "return_lse: 1, expected True or False"),
)
