"""What is no instance of a solve with the Laplacian of a kernel graph."""

from __future__ import annotations

from typing import Any

import numpy as np

POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]], np.float32)
GOOD: dict[str, Any] = {
    "points": POINTS,
    "right_side": np.array([1.0, 0.5, -1.5], np.float32),
    "function": "gaussian",
    "tolerance": 0.01,
}

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"points": np.ones(3, np.float32)}, "points: shape (3,), expected (points, dim)"),
    ({"points": 1e4 * POINTS}, "points: 2 of 3 points, such as 1, have no path to point 0"),
    ({"points": POINTS[[0, 1, 0]], "function": "coulomb"}, "points: 0 and 2 are equal, expected points that are apart"),
    ({"right_side": np.ones(2, np.float32)}, "right_side: shape (2,), expected (points) with points = 3"),
    ({"right_side": np.ones(3, np.float32)}, "right_side: its sum is 3, expected exactly 0"),
    ({"right_side": np.zeros(3, np.float32)}, "right_side: all of it is 0, expected a number that is not"),
    ({"function": "gauss"}, "function: 'gauss', expected"),
    ({"parameter": 0.0}, "parameter: 0.0, expected a number > 0 for gaussian"),
    ({"tolerance": 1.0}, "tolerance: 1.0, expected a number below 1"),
    ({"tolerance": 0.0}, "tolerance: 0.0, expected a number > 0"),
)
