"""What is no sum of Gaussians."""

from __future__ import annotations

from typing import Any

import numpy as np

GOOD: dict[str, Any] = {"queries": np.array([[0, 1], [2, 3]]), "points": np.array([[0, 1]]), "numerator": 1}

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"queries": [[0, 1]]}, "queries: list, expected a NumPy array"),
    ({"queries": np.zeros((2, 2))}, "queries: dtype float64, expected integers"),
    ({"queries": np.zeros((0, 2), int)}, "queries: shape (0, 2), expected every side at least 1"),
    ({"points": np.zeros((1, 3), int)}, "points: shape (1, 3), expected (points, dim) with dim = 2"),
    ({"points": np.zeros(2, int)}, "points: shape (2,), expected (points, dim) with dim = 2"),
    ({"points": np.array([[0, -(2**15) - 1]])}, "points: entries up to 32769, expected at most 32768"),
    ({"numerator": 0}, "numerator: 0, expected an integer above 0"),
    ({"numerator": 0.5}, "numerator: 0.5, expected an integer above 0"),
    ({"denominator": -2}, "denominator: -2, expected an integer above 0"),
    ({"denominator": True}, "denominator: True, expected an integer above 0"),
)
