"""What is no instance of the rotary embedding."""

from __future__ import annotations

from typing import Any

import numpy as np

_LLAMA3: dict[str, Any] = {"scaling": "llama3", "factor": 8.0, "original_length": 8192}
_YARN: dict[str, Any] = {"scaling": "yarn", "factor": 40.0, "original_length": 4096}

GOOD: dict[str, Any] = {
    "query": np.zeros((2, 4, 7, 16), np.float32),
    "key": np.zeros((2, 1, 7, 16), np.float32),
    "positions": np.arange(7),
}

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"query": np.zeros((4, 7, 16))}, "query: shape (4, 7, 16), expected (batch, heads, length, dim)"),
    ({"query": np.zeros((2, 4, 7, 5)), "key": None}, "query: shape (2, 4, 7, 5), expected an even number of columns"),
    ({"key": np.zeros((2, 1, 7, 16))}, "key: dtype float64, expected float32 as in query"),
    (
        {"key": np.zeros((2, 1, 6, 16), np.float32)},
        "key: shape (2, 1, 6, 16), expected (batch, key_heads, length, dim)",
    ),
    ({"positions": np.zeros((2, 1), int)}, "positions: shape (2, 1), expected a shape of (7,) or (2, 7)"),
    ({"positions": np.full(7, 2**53 + 1)}, "positions: shape (7,), expected at most 2^53 in size"),
    ({"positions": np.full(7, -(2**53) - 1)}, "positions: shape (7,), expected at most 2^53 in size"),
    ({"positions": np.full(7, 0.5)}, "positions: dtype float64, expected integers"),
    ({"base": 1.0}, "base: 1.0, expected a number > 1"),
    ({"layout": "interleaved"}, "layout: 'interleaved', expected 'halves' or 'pairs'"),
    ({"rotary_dim": 3}, "rotary_dim: 3, expected an even number of columns to rotate, at most 16"),
    ({"rotary_dim": 18}, "rotary_dim: 18, expected an even number of columns to rotate, at most 16"),
    ({"rotary_dim": 4.0}, "rotary_dim: 4.0, expected an integer from 2"),
    ({"scaling": "ntk-aware"}, "scaling: 'ntk-aware', expected 'linear', 'ntk', 'dynamic', 'llama3', 'yarn' or None"),
    ({"scaling": "ntk", "factor": 2.0, "rotary_dim": 2}, "scaling: 'ntk', expected None for two rotated columns"),
    ({"scaling": "linear"}, "factor: None, expected a value, which scaling 'linear' needs"),
    ({"factor": 2.0}, "factor: 2.0, expected none with scaling None"),
    ({"scaling": "linear", "factor": 0.5}, "factor: 0.5, expected a number of at least 1"),
    (_LLAMA3 | {"low_frequency": 4.0}, "low_frequency: 4.0, expected a number between 0 and high_frequency, 4.0"),
    (_LLAMA3 | {"high_frequency": -1.0}, "high_frequency: -1.0, expected a number > 0"),
    (_LLAMA3 | {"truncate": False}, "truncate: False, expected none with scaling 'llama3'"),
    (_LLAMA3 | {"attention_factor": 2.0}, "attention_factor: 2.0, expected none with scaling 'llama3'"),
    (_YARN | {"attention_factor": 0.0}, "attention_factor: 0.0, expected a number > 0"),
    (_YARN | {"original_length": 6}, "original_length: 6, expected a length for which the ramp of yarn meets"),
    (_YARN | {"original_length": 4096.0}, "original_length: 4096.0, expected an integer from 1"),
    (_YARN | {"truncate": 1}, "truncate: 1, expected True or False"),
)
