"""Attention by compression of the keys: landmarks (Nyström) and projections along the length (Linformer)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["attended", "linformer", "nystrom", "nystrom_of", "pseudo_inverse"]


def attended(query: Array, key: Array, value: Array, scale: float) -> Array:
    """softmax(scale·QKᵀ)V, by all scores."""
    output: Array = _shares(scale * (query @ key.T)) @ value
    return output


def _shares(scores: Array) -> Array:
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Array = weights / weights.sum(axis=1, keepdims=True)
    return shares


def pseudo_inverse(x: Array, steps: int = 6) -> Array:
    """The iterative pseudo-inverse of the paper, of order three."""
    z = x.T / (np.abs(x).sum(axis=1).max() * np.abs(x).sum(axis=0).max())
    one = np.eye(len(x))
    for _ in range(steps):
        xz = x @ z
        z = 0.25 * z @ (13 * one - xz @ (15 * one - xz @ (7 * one - xz)))
    inverse: Array = z
    return inverse


def nystrom_of(query: Array, key: Array, value: Array, scale: float, landmarks: int, steps: int = 6) -> Array:
    """softmax(QK̃ᵀ)·softmax(Q̃K̃ᵀ)⁺·softmax(Q̃Kᵀ)V with the means of ``landmarks`` segments as Q̃ and K̃."""
    one, other = (_means(x, landmarks) for x in (query, key))
    middle = pseudo_inverse(_shares(scale * (one @ other.T)), steps)
    output: Array = _shares(scale * (query @ other.T)) @ (middle @ attended(one, key, value, scale))
    return output


def _means(x: Array, segments: int) -> Array:
    """The means of segments of a length as equal as they can be."""
    borders = np.linspace(0, len(x), min(segments, len(x)) + 1).astype(int)
    means: Array = np.add.reduceat(x, borders[:-1], axis=0) / np.diff(borders)[:, None]
    return means


def nystrom(query: Array, key: Array, value: Array, *, scale: float, budget: int, seed: int) -> Array:
    """Nyströmformer with ``budget`` landmarks, the means of segments, and six steps of the pseudo-inverse.

    Source: Xiong et al. 2021, Nyströmformer, equations 13 to 15.
    """
    return nystrom_of(query, key, value, scale, min(budget, len(query), len(key)))


def linformer(query: Array, key: Array, value: Array, *, scale: float, budget: int, seed: int) -> Array:
    """Keys and values projected along the length to ``budget`` rows by Gaussian matrices of variance 1/budget.

    Source: Wang et al. 2020, Linformer, equation 7; the projection is that of the proof of Theorem 2, untrained.
    """
    rng = np.random.default_rng(seed)
    along = rng.standard_normal((budget, len(key))) / math.sqrt(budget)
    return attended(query, along @ key, along @ value, scale)
