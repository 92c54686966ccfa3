"""Correlations ⟨w_r, x_i⟩ by products of matrices, and bounds of their errors (proofs_notes/firing_neurons_fast.md).

All structures take their correlations from the same products of the same shapes, so that they hold the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["columns", "fresh_errors", "move_errors", "norms", "tiles", "unit"]

_POINTS, _NEURONS = 1024, 256  # of a tile: 1 MiB in float32, which stays in the cache; multiples of 64
_SLACK = 1.0 + 2.0**-30  # more than the float64 arithmetic of a bound itself loses
_EXPONENT = 500  # half of what float64 holds


def unit(dtype: np.dtype[Any]) -> float:
    """The unit roundoff of a type."""
    return float(np.finfo(dtype).eps) / 2.0


def tiles(data: NDArray[Any], weights: NDArray[Any]) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """(first point, first neuron, correlations (points, neurons)) of every tile.  A tile is overwritten by the next."""
    n, m = len(data), len(weights)
    room = np.empty(min(n, _POINTS) * min(m, _NEURONS), data.dtype)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for j in range(0, m, _NEURONS):
            some = weights[j : j + _NEURONS]
            for i in range(0, n, _POINTS):
                part = data[i : i + _POINTS]
                tile = room[: len(part) * len(some)].reshape(len(part), len(some))
                np.matmul(part, some.T, out=tile)
                _settle(tile, part, some)
                yield i, j, tile


def columns(data: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """(k, n): the correlations of some neurons, a row a neuron."""
    out = np.empty((len(weights), len(data)), data.dtype)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for j in range(0, len(weights), _NEURONS):
            part = out[j : j + _NEURONS]
            np.matmul(weights[j : j + _NEURONS], data.T, out=part)
            _settle(part, weights[j : j + _NEURONS], data)
    return out


def _settle(product: NDArray[Any], left: NDArray[Any], right: NDArray[Any]) -> None:
    """Compute what overflowed in left·rightᵀ once more, from scaled rows; what is too large becomes the largest number.

    So no correlation is NaN or infinite, and one beyond the range of its type has its sign.
    """
    low, high = product.min(), product.max()  # NaN where anything is NaN
    if np.isfinite(low) and np.isfinite(high):
        return
    i, j = np.nonzero(~np.isfinite(product))
    most = float(np.finfo(product.dtype).max)
    scales = [np.frexp(np.abs(x).max(axis=1).astype(np.float64))[1] - _EXPONENT for x in (left, right)]
    for start in range(0, len(i), 4096):
        rows, others = i[start : start + 4096], j[start : start + 4096]
        one, other = (
            np.ldexp(x[at].astype(np.float64), -scale[at, None])
            for x, at, scale in ((left, rows, scales[0]), (right, others, scales[1]))
        )
        value = np.ldexp(np.einsum("ij,ij->i", one, other), scales[0][rows] + scales[1][others])
        product[rows, others] = np.clip(value, -most, most)


def norms(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """(k,): upper bounds of the Euclidean norms of the rows, in float64."""
    largest = np.abs(vectors).max(axis=1).astype(np.float64)
    exponent = np.frexp(largest)[1]
    scaled = np.ldexp(vectors.astype(np.float64), -exponent[:, None])
    with np.errstate(over="ignore"):
        found = np.ldexp(np.sqrt(np.einsum("ij,ij->i", scaled, scaled)), exponent) * _SLACK
    return np.where(largest > 0.0, np.nextafter(found, np.inf), 0.0)


def fresh_errors(weight_norms: NDArray[Any], longest: float, d: int, dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """(k, 2): e and a with |ĉ_ri − ⟨w_r, x_i⟩| ≤ e_r‖x_i‖ + a_r for fresh products (FIRE-4).

    longest: the largest norm of a point.  a is infinite where a sum of products may leave the range of its type.
    """
    kind = np.finfo(dtype)
    found = np.empty((len(weight_norms), 2))
    with np.errstate(over="ignore", invalid="ignore"):
        relative = float(gamma(d, unit(dtype))) * weight_norms * _SLACK
        found[:, 0] = relative + np.where(weight_norms > 0.0, 2.0**-1074, 0.0)  # it may have lost its last bits
        beyond = ~(weight_norms * longest < float(kind.max) / 2.0)
    found[:, 1] = np.where(beyond, np.inf, 2.0 * d * float(kind.tiny))
    return np.where(np.isnan(found), np.inf, found)


def move_errors(
    errors: NDArray[np.float64], before: NDArray[np.float64], after: NDArray[np.float64], sizes: NDArray[np.float64],
    coefficients: NDArray[np.float64], terms: int, d: int, dtype: np.dtype[Any],
) -> NDArray[np.float64]:  # fmt: skip
    """(k, 2): what becomes of ``errors`` by w_r ← w_r + Σ_j α_rj x_j and ĉ_ri ← ĉ_ri + Σ_j α_rj Ĝ_ji (FIRE-5).

    before, after (k,): norms of the weights.  sizes (k,): S_r = Σ_j |α_rj|‖x_j‖.  coefficients (k,): Σ_j |α_rj|.
    terms: how many j there are.
    """
    u, tiny = unit(dtype), float(np.finfo(dtype).tiny)
    of_sum, of_product = float(gamma(terms, u)), float(gamma(d, u))
    moved = (1.0 + of_sum) * (1.0 + of_product) * sizes
    found = np.empty_like(errors)
    with np.errstate(over="ignore", invalid="ignore"):
        found[:, 0] = (
            errors[:, 0] + of_product * sizes + of_sum * (1.0 + of_product) * sizes + of_sum * sizes + u * after
            + u * (1.0 + u) * (before + errors[:, 0] + moved) + 2.0 * terms * tiny * np.sqrt(d)
        ) * _SLACK  # fmt: skip
        found[:, 1] = (
            errors[:, 1] * (1.0 + 2.0 * u) + 2.0 * tiny * (terms + 1.0) + 4.0 * d * tiny * coefficients
        ) * _SLACK  # fmt: skip
    return np.where(np.isnan(found), np.inf, found)
