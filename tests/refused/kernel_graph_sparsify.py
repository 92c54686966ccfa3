"""What is no instance of the sparsification of a kernel graph."""

from __future__ import annotations

from typing import Any

import numpy as np

POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]], np.float32)
GOOD: dict[str, Any] = {"points": POINTS, "function": "gaussian", "error": 0.5}

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"points": np.ones(3, np.float32)}, "points: shape (3,), expected (points, dim)"),
    ({"points": POINTS[:1]}, "points: 1 point, expected at least 2"),
    ({"points": 1e4 * POINTS}, "points: 2 of 3 points, such as 1, have no path to point 0"),
    ({"function": 3}, "function: int, expected a name or a Function"),
    ({"parameter": np.nan}, "parameter:"),
    ({"error": 1.0}, "error: 1.0, expected a number below 1"),
    ({"error": 0.0}, "error: 0.0, expected a number > 0"),
    ({"seed": -1}, "seed: -1, expected an integer from 0"),
)
