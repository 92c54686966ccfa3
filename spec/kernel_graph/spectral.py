"""How far the weights that a kernel computes are from those of the graph, as quadratic forms (KTOL-6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.enclosure import Float64Ball
from assay.spec.floating_point import require_usual
from assay.spec.kernel_graph.definition import weights
from assay.spec.kernel_graph.distances import reach
from assay.spec.kernel_graph.tolerance import entries
from assay.spec.memory import require_evaluable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.kernel_graph.instance import Weighted
    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["Weights", "pair_weights", "spread", "weight_error"]

_UP = 1.0 + 1e-9


@dataclass(frozen=True, eq=False)
class Weights:
    """Bounds of the weight of every pair, symmetric with a diagonal of 0: low ≤ w ≤ high, (n, n) each."""

    low: Array
    high: Array


def pair_weights(instance: Weighted) -> Weights:
    """Bounds of all weights of a graph in float64."""
    require_usual()
    require_evaluable(instance)
    x = instance.points.astype(np.float64)
    other = ~np.eye(len(x), dtype=bool)
    with np.errstate(all="ignore"):
        middle, radius = weights(Float64Ball, instance.weight(), x, x, other).where(other, 0.0).rounded()
        low, high = (middle - radius) * (1 - 2.0**-50), (middle + radius) * (1 + 2.0**-50)
    # the roundings of an entry and of its mirror image may differ
    low, high = np.maximum(np.maximum(low, low.T), 0.0), np.minimum(high, high.T)
    return Weights(np.where(np.isfinite(low), low, 0.0), np.where(np.isnan(high), np.inf, high))


def spread(low: Array) -> float:
    """Σ 1/w over a spanning tree of large weights: a bound of every effective resistance; +inf where there is none.

    low: lower bounds of the weights, (n, n).  The tree is grown from vertex 0 by the largest weight (Prim).

    >>> spread(np.array([[0.0, 2.0, 1.0], [2.0, 0.0, 4.0], [1.0, 4.0, 0.0]])) == 0.75 * _UP
    True
    """
    n = len(low)
    best, left = low[0].copy(), np.ones(n, dtype=bool)
    left[0] = False
    total = 0.0
    for _ in range(n - 1):
        at = int(np.argmax(np.where(left, best, -1.0)))
        if best[at] <= 0.0:
            return np.inf
        total += 1.0 / float(best[at])
        left[at] = False
        best = np.maximum(best, low[at])
    return total * _UP


def weight_error(instance: Weighted, precision: Precision, w: Weights) -> float:
    """η with (1 − η)L ⪯ L̂ ⪯ (1 + η)L for every L̂ whose weights a correct kernel of the class may compute (KTOL-6).

    +inf outside the domain of the class.  The relative error of a weight counts where it is not small; the smallest
    weights, whose relative error may be anything, count with their absolute errors times a resistance.
    """
    x = instance.points.astype(np.float64)
    used = ~np.eye(len(x), dtype=bool)
    with np.errstate(all="ignore"):
        size, h, inside = entries(instance.weight(), reach(x, x, precision), precision, used)
        if not inside.all():
            return np.inf
        h = h + precision.operand * (size + h) + precision.operand_tiny
        above = np.triu(used, 1)
        h, low = np.maximum(h, h.T)[above], w.low[above]
        order = np.argsort(-h / low, kind="stable")
        relative = np.append((h / low)[order], 0.0)  # 0 where every pair counts by its absolute error
        absolute = np.append(0.0, np.cumsum(h[order])) * spread(w.low)
        absolute[0] = 0.0
        return float(np.nanmin(relative + absolute)) * _UP if len(h) else 0.0
