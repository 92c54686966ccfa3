"""Attention by feature maps: an inner product of features in place of e^score, summed once for all queries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["combined", "efficient", "linear", "performer", "positive_features", "projection"]


def combined(query_features: Array, key_features: Array, value: Array) -> Array:
    """φ(Q)(φ(K)ᵀV) / φ(Q)(φ(K)ᵀ1), in time O((n + m)·features·d_v)."""
    total = query_features @ key_features.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        output: Array = query_features @ (key_features.T @ value) / total[:, None]
    return output


def projection(features: int, d: int, seed: int) -> Array:
    """(features, d): Gaussian rows, orthogonal in blocks of d, of the norms of independent Gaussian vectors.

    The orthogonal factor is made uniform by the signs of the triangular one (Mezzadri 2007).  Without them some signs
    of its numbers are fixed, and the features are biased: performer-pytorch leaves them out.
    """
    rng = np.random.default_rng(seed)
    blocks = []
    for start in range(0, features, d):
        orthogonal, triangular = np.linalg.qr(rng.standard_normal((d, min(d, features - start))))
        blocks.append((orthogonal * np.sign(np.diag(triangular))).T)
    norms = np.linalg.norm(rng.standard_normal((features, d)), axis=1)
    rows: Array = np.concatenate(blocks) * norms[:, None]
    return rows


def positive_features(x: Array, rows: Array, *, keys: bool, epsilon: float = 0.0) -> Array:
    """m^(−1/2)·(exp(⟨w, x⟩ − ‖x‖²/2 − c) + ε): random features of e^⟨x, y⟩ that are positive.

    c is the largest ⟨w, x⟩ of the row, of all rows for keys: it cancels in the quotient and keeps exp in range.
    """
    dash = x @ rows.T
    largest = dash.max() if keys else dash.max(axis=1, keepdims=True)
    features: Array = (np.exp(dash - (x * x).sum(axis=1, keepdims=True) / 2 - largest) + epsilon) / math.sqrt(len(rows))
    return features


def performer(query: Array, key: Array, value: Array, *, scale: float, budget: int, seed: int) -> Array:
    """FAVOR+ with ``budget`` positive orthogonal random features.

    Source: Choromanski et al. 2021, Rethinking Attention with Performers, Lemma 1 and Theorem 2.
    """
    rows = projection(budget, query.shape[1], seed)
    root = math.sqrt(abs(scale))
    one = positive_features(query * math.copysign(root, scale), rows, keys=False)
    return combined(one, positive_features(key * root, rows, keys=True), value)


def linear(query: Array, key: Array, value: Array, *, scale: float, budget: int, seed: int) -> Array:
    """Linear attention with the feature map elu(x) + 1; no budget: it has d features.

    Source: Katharopoulos et al. 2020, Transformers are RNNs, equation 7.
    """
    root = math.sqrt(abs(scale))

    def map_(x: Array) -> Array:
        return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))

    return combined(map_(query * math.copysign(root, scale)), map_(key * root), value)


def efficient(query: Array, key: Array, value: Array, *, scale: float, budget: int, seed: int) -> Array:
    """Efficient attention: softmax over the coordinates of a query and over the keys; no budget: d features.

    Source: Shen et al. 2021, Efficient Attention: Attention with Linear Complexities, equation 4.
    """
    root = math.sqrt(abs(scale))
    one = _softmax(query * math.copysign(root, scale), 1)
    output: Array = one @ (_softmax(key * root, 0).T @ value)
    return output


def _softmax(x: Array, axis: int) -> Array:
    weights = np.exp(x - x.max(axis=axis, keepdims=True))
    shares: Array = weights / weights.sum(axis=axis, keepdims=True)
    return shares
