"""What is no instance of a product with a kernel graph."""

from __future__ import annotations

from typing import Any

import numpy as np

POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]], np.float32)
GOOD: dict[str, Any] = {"points": POINTS, "vectors": np.ones((3, 2), np.float32), "function": "gaussian"}

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"points": np.ones(3, np.float32)}, "points: shape (3,), expected (points, dim)"),
    ({"points": np.full((3, 2), np.inf, np.float32)}, "points: inf at (0, 0), expected finite numbers"),
    ({"points": POINTS[[0, 1, 0]], "function": "coulomb"}, "points: 0 and 2 are equal, expected points that are apart"),
    ({"points": POINTS, "function": "arc_cosine"}, "points: norm 0 in row 0, expected points on the unit sphere"),
    ({"vectors": np.ones((2, 2), np.float32)}, "vectors: shape (2, 2), expected (points, columns) with points = 3"),
    ({"vectors": np.ones((3, 2))}, "vectors: dtype float64, expected float32 as in points"),
    ({"function": "gauss"}, "function: 'gauss', expected"),
    ({"function": None}, "function: NoneType, expected a name or a Function"),
    ({"parameter": -1.0}, "parameter: -1.0, expected a number > 0 for gaussian"),
    ({"parameter": 1.0, "function": "matern"}, "parameter: 1.0, expected 0.5, 1.5 or 2.5 for matern"),
    ({"parameter": "wide"}, "parameter:"),
    ({"laplacian": 2}, "laplacian: 2, expected True or False"),
    ({"laplacian": True, "targets": POINTS}, "laplacian: True, expected False with targets"),
    ({"diagonal": 1.0, "laplacian": True}, "diagonal: 1.0, expected 0 with laplacian"),
    ({"diagonal": 1.0, "targets": POINTS}, "diagonal: 1.0, expected 0 with targets"),
    ({"targets": np.ones((3, 1), np.float32)}, "targets: shape (3, 1), expected (targets, dim) with dim = 2"),
    ({"targets": POINTS, "function": "coulomb"}, "targets: 0 equals point 0, expected targets that are no points"),
)
