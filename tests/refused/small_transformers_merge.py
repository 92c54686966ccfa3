"""What is no instance of a merge."""

from __future__ import annotations

from typing import Any

import numpy as np

GOOD: dict[str, Any] = {
    "outputs": np.ones((3, 2, 4, 5, 6), np.float32),
    "log_sum_exps": np.zeros((3, 2, 4, 5), np.float32),
}

_NAN = np.ones((3, 2, 4, 5, 6), np.float32)
_NAN[2, 0, 1, 0, 3] = np.nan
_INFINITE = np.zeros((3, 2, 4, 5), np.float32)
_INFINITE[0, 1, 2, 3] = np.inf

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"outputs": np.ones((3, 2, 4, 5), np.float32)}, "outputs: shape (3, 2, 4, 5), expected (parts, batch, heads, qu"),
    ({"outputs": _NAN}, "outputs: nan at (2, 0, 1, 0, 3), expected finite numbers"),
    ({"outputs": [[[[[1.0]]]]]}, "outputs: list, expected a NumPy array"),
    ({"log_sum_exps": np.zeros((2, 2, 4, 5))}, "log_sum_exps: shape (2, 2, 4, 5), expected (parts, batch, heads, que"),
    ({"log_sum_exps": _INFINITE}, "log_sum_exps: inf at (0, 1, 2, 3), expected finite numbers or −inf"),
    ({"log_sum_exps": np.zeros((3, 2, 4, 5), int)}, "log_sum_exps: dtype int64, expected one of"),
    ({"sink": np.zeros(5)}, "sink: shape (5,), expected (heads)"),
    ({"sink": np.full(4, -np.inf)}, "sink: -inf at (0,), expected finite numbers"),
    ({"return_lse": "yes"}, "return_lse: 'yes', expected True or False"),
)
