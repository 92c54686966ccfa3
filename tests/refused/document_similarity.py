"""What is no instance of document similarity."""

from __future__ import annotations

from typing import Any

import numpy as np

GOOD: dict[str, Any] = {"left": np.ones((3, 4), np.float32), "right": np.ones((2, 4), np.float32)}

_EMPTY = np.ones((3, 4), np.float32)
_EMPTY[1] = 0
_NAN = np.ones((2, 4), np.float32)
_NAN[0, 2] = np.nan

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"left": np.ones(4, np.float32)}, "left: shape (4,), expected (left, words)"),
    ({"left": np.ones((3, 4), int)}, "left: dtype int64, expected one of"),
    ({"left": np.zeros((0, 4), np.float32)}, "left: shape (0, 4), expected every side at least 1"),
    ({"left": np.ones((1, 4)), "right": None}, "left: shape (1, 4), expected at least two documents where there is no"),
    ({"left": _EMPTY}, "left: a document of zeros in row 1, expected one with a word for the cosine"),
    ({"left": np.full((3, 4), np.inf, np.float32)}, "left: inf at (0, 0), expected finite numbers"),
    ({"right": np.ones((2, 5), np.float32)}, "right: shape (2, 5), expected (right, words) with words = 4"),
    ({"right": np.ones((2, 4))}, "right: dtype float64, expected float32 as in left"),
    ({"right": _NAN}, "right: nan at (0, 2), expected finite numbers"),
    ({"right": _EMPTY}, "right: a document of zeros in row 1, expected one with a word for the cosine"),
    ({"least": 1}, "least: 1, expected True or False"),
    ({"measure": "jaccard"}, "measure: 'jaccard', expected 'cosine' or 'inner_product'"),
)
