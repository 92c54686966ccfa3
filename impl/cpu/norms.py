"""Euclidean norms whose squares neither underflow nor overflow: certificates multiply them with numbers of any size."""

from __future__ import annotations

from typing import Any

__all__ = ["norms"]


def norms(vectors: Any) -> Any:
    """(…): the norms along the last axis of (…, d), d ≥ 1, arrays of any library; rounded d + 4 times.

    >>> import numpy as np
    >>> norms(np.array([[3e-300, 4e-300], [0.0, 0.0]])).tolist()
    [5e-300, 0.0]
    """
    largest = abs(vectors).max(axis=-1, keepdims=True)
    scaled = vectors / (largest + (largest == 0))
    return (scaled * scaled).sum(axis=-1) ** 0.5 * largest[..., 0]
