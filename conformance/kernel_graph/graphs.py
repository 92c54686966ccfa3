"""Graphs of points in float64: their weights, and what may decide whether a solver or a sparsifier fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.kernel_graph.functions import named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["FEATURES", "dense_weights", "weights", "weights_of"]


def _squares(points: NDArray[Any]) -> Array:
    """Squared distances of all pairs, from differences."""
    x = points.astype(np.float64)
    z = np.zeros((len(x), len(x)))
    for c in range(x.shape[1]):
        z += np.square(x[:, c, None] - x[:, c])
    return z


def weights(instance: Any) -> Array:
    """The weights of all pairs, 0 on the diagonal and where they are infinite."""
    return weights_of(instance, instance.weight())


def weights_of(instance: Any, function: Callable[[Array], Array]) -> Array:
    """The same of another function of squared distances."""
    with np.errstate(all="ignore"):
        w = function(_squares(instance.points))
    w = np.where(np.isfinite(w), w, 0.0)
    np.fill_diagonal(w, 0.0)
    return np.asarray(w)


def dense_weights(points: NDArray[Any], function: str, parameter: float) -> Array:
    """The same of a function by its name."""
    with np.errstate(divide="ignore"):
        w = named(function, parameter)(_squares(points))
    np.fill_diagonal(w, 0.0)
    return w


def _spread(instance: Any) -> float:
    """The quotient of the largest degree and the least."""
    degrees = weights(instance).sum(axis=1)
    return float(degrees.max() / max(float(degrees.min()), 1e-300))


def _away(instance: Any) -> bool:
    points = instance.points.astype(np.float64)
    return bool((np.abs(points).max(axis=0) > 10 * np.ptp(points, axis=0)).any())


#: Words that follow "fails when" → whether it holds of an instance.
FEATURES: Mapping[str, Callable[[Any], bool]] = {
    "points lie far from the origin, compared with their distances": _away,
    "there are two points": lambda i: len(i.points) == 2,
    "there are more than eight points": lambda i: len(i.points) > 8,
    "degrees differ by more than ten times": lambda i: _spread(i) > 10,
    "the parameter is not 1": lambda i: i.parameter != 1.0,
}
