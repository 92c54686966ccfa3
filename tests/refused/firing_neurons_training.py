"""What is no instance of a training step of firing neurons."""

from __future__ import annotations

from typing import Any

import numpy as np

GOOD: dict[str, Any] = {
    "data": np.ones((3, 2), np.float32),
    "targets": np.ones((3, 2), np.float32),
    "weights": np.ones((4, 2), np.float32),
    "outer": np.ones((4, 2), np.float32),
}

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"data": np.ones(2, np.float32)}, "data: shape (2,), expected (points, dim)"),
    ({"data": np.full((3, 2), np.nan, np.float32)}, "data: nan at (0, 0), expected finite numbers"),
    ({"targets": np.ones((2, 2), np.float32)}, "targets: shape (2, 2), expected (points, outputs) with points = 3"),
    ({"targets": -np.ones((3, 2), np.float32), "loss": "cross_entropy"}, "targets:"),
    ({"weights": np.ones((4, 3), np.float32)}, "weights: shape (4, 3), expected (neurons, dim) with dim = 2"),
    ({"outer": np.ones((4, 2))}, "outer: dtype float64, expected float32 as in data"),
    ({"threshold": np.nan}, "threshold:"),
    ({"rate": "fast"}, "rate:"),
    ({"loss": "hinge"}, "loss: 'hinge', expected 'squared' or 'cross_entropy'"),
)
