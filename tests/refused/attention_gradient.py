"""What is no instance of a backward pass: what is none of attention, and gradients that do not fit it."""

from __future__ import annotations

from typing import Any

import numpy as np

from refused import attention

GOOD: dict[str, Any] = {**attention.GOOD, "grad_output": np.ones((2, 4, 3, 7), np.float32)}

_OF_THE_GRADIENT: tuple[tuple[dict[str, Any], str], ...] = (
    ({"grad_output": None}, "grad_output: NoneType, expected a NumPy array"),
    ({"grad_output": np.ones((2, 4, 3, 5), np.float32)}, "grad_output: shape (2, 4, 3, 5), expected (batch, heads,"),
    ({"grad_output": np.ones((2, 4, 3, 7))}, "grad_output: dtype float64, expected float32 as in query"),
    ({"grad_output": np.full((2, 4, 3, 7), np.inf, np.float32)}, "grad_output: inf at (0, 0, 0, 0), expected finite"),
    ({"grad_log_sum_exp": np.ones((2, 4, 4))}, "grad_log_sum_exp: shape (2, 4, 4), expected (batch, heads, queries)"),
    ({"grad_log_sum_exp": np.full((2, 4, 3), np.nan)}, "grad_log_sum_exp: nan at (0, 0, 0), expected finite numbers"),
    ({"grad_log_sum_exp": np.ones((2, 4, 3), int)}, "grad_log_sum_exp: dtype int64, expected one of bfloat16"),
)

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    *(
        (changes, words)
        for changes, words in attention.REFUSED
        if "return_lse" not in changes and not words.startswith("query: 3 heads")
    ),
    (
        {"query": np.zeros((2, 3, 3, 5), np.float32), "grad_output": np.zeros((2, 3, 3, 7), np.float32)},
        "query: 3 heads, expected a multiple of the 2 heads of key",
    ),
    *_OF_THE_GRADIENT,
)
