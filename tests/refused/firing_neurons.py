"""What is no instance of firing neurons."""

from __future__ import annotations

from typing import Any

import numpy as np

GOOD: dict[str, Any] = {
    "data": np.ones((3, 2), np.float32),
    "weights": np.ones((4, 2), np.float32),
    "operations": np.array([0, 1, 2]),
    "operands": np.array([3, 0, 1]),
    "new_weights": np.ones((3, 2), np.float32),
    "joined": np.zeros(3, bool),
    "thresholds": np.array([np.nan, 1.0, np.nan], np.float32),
}

_NAN = np.ones((4, 2), np.float32)
_NAN[2, 1] = np.nan

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"data": np.ones(2, np.float32)}, "data: shape (2,), expected (points, dim)"),
    ({"data": np.ones((3, 2), int)}, "data: dtype int64, expected one of"),
    ({"data": np.full((3, 2), np.inf, np.float32)}, "data: inf at (0, 0), expected finite numbers"),
    ({"weights": np.ones((4, 3), np.float32)}, "weights: shape (4, 3), expected (neurons, dim) with dim = 2"),
    ({"weights": np.ones((4, 2))}, "weights: dtype float64, expected float32 as in data"),
    ({"weights": _NAN}, "weights: nan at (2, 1), expected finite numbers"),
    ({"operations": np.array([0, 1, 3])}, "operations:"),
    ({"operations": np.ones(3)}, "operations: dtype float64, expected"),
    ({"operands": np.array([0, 1])}, "operands: shape (2,), expected (steps) with steps = 3"),
    ({"new_weights": np.ones((3, 1), np.float32)}, "new_weights: shape (3, 1), expected (steps, dim)"),
    ({"joined": np.zeros(3, int)}, "joined: dtype int64, expected"),
    ({"threshold": np.inf}, "threshold:"),
    ({"thresholds": np.array([np.inf, 1, 1], np.float32)}, "thresholds:"),
)
