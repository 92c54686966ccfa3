"""What the edges of a sparser graph are held to: their form is certified not to be within 1 ± ε (KTOL-8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.criterion import Criterion, Proof, bounded
from assay.spec.kernel_graph.rounding import PRECISIONS
from assay.spec.kernel_graph.spectral import Weights, pair_weights
from assay.spec.kernel_graph_sparsify.forms import Edges, extremes, proved
from assay.spec.kernel_graph_sparsify.tolerance import limit
from assay.spec.precision import precision as precision_named
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.spec.kernel_graph_sparsify.instance import Instance
    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["LARGEST", "QUOTIENT", "criteria", "edges_of", "interval", "violation"]

#: Points of the largest instance whose sparsifiers are judged: eigenvectors of all pairs are computed.
LARGEST = 2048
#: What :func:`interval` is about.
QUOTIENT = "x'L_H x / x'L_G x of every x"


def criteria(instance: Instance, precision: str | Precision) -> Mapping[str, Criterion]:
    """The criterion ``form`` of the three outputs together: how far some quotient of the forms is certainly from 1.

    It is +inf for what is no graph: indices out of range, loops, an edge given twice, weights that are negative or no
    numbers.  What it ``proves`` is the opposite, that no quotient is further away, as :func:`interval` does.
    Raises :class:`~assay.spec.problem.InvalidInstance` for more than 2,048 points.

    >>> from assay.spec.kernel_graph_sparsify import Instance
    >>> held = criteria(Instance(np.array([[0.0], [1.0], [2.0]]), function="rational", error=0.25), "float64")["form"]
    >>> left, right, weight = np.array([0, 1, 0]), np.array([1, 2, 2]), np.array([0.5, 0.5, 0.2])
    >>> [round(float(held.ratio(left, right, factor * weight)), 3) for factor in (1.0, 1.125, 1.5)]
    [0.0, 0.5, 2.0]
    """
    u = precision_named(precision, PRECISIONS)
    if len(instance.points) > LARGEST:
        raise InvalidInstance(f"points: {len(instance.points)}, expected at most {LARGEST}, whose forms are compared")
    w = pair_weights(instance)
    most = limit(instance, u, w)

    def measure(left: NDArray[Any], right: NDArray[Any], weight: NDArray[Any]) -> float:
        return violation(instance, w, left, right, weight)

    def proves(left: NDArray[Any], right: NDArray[Any], weight: NDArray[Any]) -> Proof:
        return Proof(QUOTIENT, *_interval(instance, w, left, right, weight), 1.0 - most, 1.0 + most)

    words = "a distance of the quotient of the two quadratic forms from 1"
    return {"form": bounded(measure, most, words, ("left", "right", "weight"), proves)}


def edges_of(n: int, left: NDArray[Any], right: NDArray[Any], weight: NDArray[Any]) -> Edges | None:
    """The edges of a kernel's output; ``None`` where they are no graph with n vertices, each edge given once."""
    left, right, weight = (np.asarray(x) for x in (left, right, weight))
    if not (left.ndim == 1 and left.shape == right.shape == weight.shape):
        return None
    if left.dtype.kind not in "iu" or right.dtype.kind not in "iu" or weight.dtype.kind in "iubcOSU":
        return None
    a, b, values = left.astype(np.int64), right.astype(np.int64), weight.astype(np.float64)
    inside = (a >= 0) & (a < n) & (b >= 0) & (b < n) & (a != b)
    if not (inside.all() and np.isfinite(values).all() and (values >= 0.0).all()):
        return None
    key = np.minimum(a, b) * n + np.maximum(a, b)
    return Edges(a, b, values, n) if len(np.unique(key)) == len(key) else None


def violation(instance: Instance, w: Weights, left: NDArray[Any], right: NDArray[Any], weight: NDArray[Any]) -> float:
    """A lower bound of the largest |x'L_H x / x'L_G x − 1|; +inf for what is no graph."""
    edges = edges_of(len(instance.points), left, right, weight)
    if edges is None:
        return np.inf
    least, most = extremes(edges.matrix(), w, instance.error)
    return float(max(1.0 - least, most - 1.0, 0.0) * (1 - 2.0**-50))


def interval(instance: Instance, left: NDArray[Any], right: NDArray[Any], weight: NDArray[Any]) -> tuple[float, float]:
    """(a, b) with a ≤ x'L_H x / x'L_G x ≤ b proved for every x that is not constant; (0, inf) for what is no graph.

    >>> from assay.spec.kernel_graph_sparsify import Instance
    >>> triangle = Instance(np.array([[0.0], [1.0], [2.0]]), function="rational", error=0.25)
    >>> found = interval(triangle, np.array([0, 1]), np.array([1, 2]), np.array([0.75, 0.75]))
    >>> print("{:.5f} {:.5f}".format(*found))
    0.83333 1.50000
    """
    return _interval(instance, pair_weights(instance), left, right, weight)


def _interval(
    instance: Instance, w: Weights, left: NDArray[Any], right: NDArray[Any], weight: NDArray[Any]
) -> tuple[float, float]:
    edges = edges_of(len(instance.points), left, right, weight)
    return (0.0, np.inf) if edges is None else proved(edges.matrix(), w)
