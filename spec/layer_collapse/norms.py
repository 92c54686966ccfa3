"""Upper bounds of sizes that the bounds of collapse are made of: spectral norms, diameters, ranges of scores.

They are computed in float64 from certified balls, and hold with everything that this rounds; the factor 1 + 1e-9 pays
for sums and roots of up to 2^20 numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec.enclosure import Float64Ball

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.enclosure import Enclosure
    from assay.spec.layer_collapse.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["SLACK", "distances", "head_norms", "largest_distance", "row_ranges", "spectral_norm"]

SLACK = 1.0 + 1e-9


def spectral_norm(matrix: Float64Ball) -> float:
    """An upper bound of the spectral norm of every (m, n) matrix in a ball, near the largest.

    With the singular vectors U and V of float64, which are orthogonal but for roundings, ‖A‖ is at most
    ‖UᵀAV‖/(σ_min(U)·σ_min(V)).  UᵀAV is almost diagonal, so that its norm is at most its largest diagonal entry and the
    Frobenius norm of the rest; and σ_min(U)² ≥ 1 − ‖UᵀU − I‖.  All of these are certified (LC-6).

    >>> spectral_norm(Float64Ball.exact(np.array([[3.0, 0.0], [0.0, -4.0]]))) <= 4.0 + 1e-7
    True
    """
    left, _, right = np.linalg.svd(matrix.mid, full_matrices=True)
    middle = (
        Float64Ball.exact(np.ascontiguousarray(left.T)).matmul(matrix).times_matrix(np.ascontiguousarray(right.T))[0]
    )
    size = np.abs(middle.mid) + middle.rad
    diagonal = np.arange(min(size.shape))
    largest = float(size[diagonal, diagonal].max())
    size[diagonal, diagonal] = 0.0
    shrunk = 1.0
    for vectors in (left, right.T):
        square = Float64Ball.product(np.ascontiguousarray(vectors.T), np.ascontiguousarray(vectors))
        off = np.abs(square.mid - np.eye(len(vectors))) + square.rad + 2.0**-52
        shrunk *= 1.0 - float(np.sqrt((off**2).sum())) * SLACK
    bound = (largest + float(np.sqrt((size**2).sum()))) * SLACK
    return float(bound / np.sqrt(shrunk) * SLACK) if shrunk > 0.0 and np.isfinite(bound) else np.inf


def head_norms(instance: Instance) -> tuple[Array, Array]:
    """|σ|‖A_h‖ and ‖V_h‖ of every layer and head, (L, h): A = W_Q W_Kᵀ, and V = W_V W_O (LC-6)."""
    scores, values = (np.empty(instance.query_weights.shape[:2]) for _ in range(2))
    for layer, head in np.ndindex(*scores.shape):
        of = layer, head // instance.group
        query, key = instance.query_weights[layer, head].astype(np.float64), instance.key_weights[of].astype(np.float64)
        scores[layer, head] = abs(instance.scale or 0.0) * spectral_norm(Float64Ball.product(query, key.T)) * SLACK
        values[layer, head] = spectral_norm(value_matrix(instance, layer, head))
    return scores, values


def value_matrix(instance: Instance, layer: int, head: int) -> Float64Ball:
    """V_h = W_V W_O of one head, (d, d)."""
    value = instance.value_weights[layer, head // instance.group].astype(np.float64)
    if instance.output_weights is None:
        return Float64Ball.exact(value)
    return Float64Ball.product(value, instance.output_weights[layer, head].astype(np.float64))


def distances(rows: Enclosure) -> Array:
    """Upper bounds of ‖x_i − x_j‖, (…, n, n), for rows (…, n, d)."""
    x, spread = rows.midpoint, np.sqrt((rows.radius**2).sum(axis=-1)) * SLACK
    n = x.shape[-2]
    between: Array = np.empty((*x.shape[:-1], n))
    for i in range(n):
        between[..., i, :] = np.sqrt(((x - x[..., i : i + 1, :]) ** 2).sum(axis=-1))
    between = (between + 2.0**-500) * SLACK + spread[..., :, None] + spread[..., None, :]
    between[..., np.arange(n), np.arange(n)] = 0.0
    return between


def largest_distance(rows: Enclosure) -> float:
    """D(X) = max_ij ‖x_i − x_j‖, an upper bound."""
    return float(distances(rows).max())


def row_ranges(scores: Enclosure, attended: NDArray[np.bool_]) -> Array:
    """η_i, the range of every row of scores over what it attends to, (…, n): an upper bound."""
    high = np.where(attended, scores.midpoint + scores.radius, -np.inf).max(axis=-1)
    low = np.where(attended, scores.midpoint - scores.radius, np.inf).min(axis=-1)
    ranges: Array = (high - low) * SLACK + 2.0**-50 * np.maximum(np.abs(high), np.abs(low))
    return ranges
