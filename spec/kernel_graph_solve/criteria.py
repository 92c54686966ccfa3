"""What potentials are held to: their certified distance from L⁺b in the energy of the graph (KTOL-7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.spec import flint_context
from assay.spec.criterion import Criterion, bounded
from assay.spec.enclosure.arb import into_parts
from assay.spec.kernel_graph.rounding import PRECISIONS
from assay.spec.kernel_graph.spectral import Weights, pair_weights
from assay.spec.kernel_graph_solve.definition import Solved, solved
from assay.spec.kernel_graph_solve.tolerance import RELATIVE, limit
from assay.spec.precision import precision as precision_named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.spec.kernel_graph_solve.instance import Instance
    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["criteria", "energy_error"]


def criteria(instance: Instance, precision: str | Precision) -> Mapping[str, Criterion]:
    """The criterion of ``x``: |x − L⁺b|_L / |L⁺b|_L, whatever constant is added to x.

    Raises :class:`~assay.spec.problem.InvalidInstance` for more than 512 points.

    >>> from assay.spec.kernel_graph_solve import Instance
    >>> x = np.array([[0.0], [1.0]])
    >>> pair = Instance(x, np.array([1.0, -1.0]), function="gaussian", tolerance=1e-3)
    >>> held = criteria(pair, "float64")["x"]
    >>> [round(float(held.ratio(np.array([np.e * (1 + e), 0.0]))), 3) for e in (0.0, 5e-4, 2e-3)]
    [0.0, 0.5, 2.0]
    """
    u = precision_named(precision, PRECISIONS)
    w, exact = pair_weights(instance), solved(instance, RELATIVE)

    def measure(x: NDArray[Any]) -> float:
        return energy_error(np.asarray(x), w, exact)[0]

    return {"x": bounded(measure, limit(instance, u, w, exact), "a relative error in the energy of the graph")}


def energy_error(x: NDArray[Any], w: Weights, exact: Solved) -> tuple[float, float]:
    """Certified bounds of |x − L⁺b|_L / |L⁺b|_L from below and above; (inf, inf) where x is no vector of numbers."""
    n = len(exact.potentials)
    if x.shape != (n,) or not np.isfinite(x.astype(np.float64)).all():
        return np.inf, np.inf
    values = x.astype(np.float64).tolist()
    # e = x − L⁺b, exactly enough whatever constant x has, and without its first number, which changes nothing
    balls = np.empty(n, dtype=object)
    with flint_context.bits(2400):
        balls[:] = [flint.arb(value) - ball for value, ball in zip(values, exact.potentials, strict=True)]
        balls[:] = [ball - balls[0].mid() for ball in balls]
        energy = exact.energy.sqrt()
    e, off = into_parts(balls, 1)
    with np.errstate(all="ignore"):
        gap = np.abs(e[:, None] - e)
        spread = (off[:, None] + off) * (1 + 2.0**-40)
        least = np.maximum(gap * (1 - 2.0**-50) - spread, 0.0)
        most = gap * (1 + 2.0**-50) + spread
        # a unit is taken out of the squares, so that none of them underflows
        unit = float(most.max())
        if unit == 0.0:
            return 0.0, 0.0
        rounding = 2.0 * n * n * 2.0**-53 + 1e-14
        low = np.sqrt(0.5 * np.sum(w.low * (least / unit) ** 2)) * (1 - rounding)
        high = np.sqrt(0.5 * np.sum(w.high * (most / unit) ** 2) + n * n * 2.0**-1070) * (1 + rounding)
    # a number may be beyond float64 where the quotient is not
    with flint_context.bits(128):
        ratios = [flint.arb(float(side)) * flint.arb(unit) / energy for side in (low, high)]
        return float(ratios[0].lower()) * (1 - 2.0**-50), float(ratios[1].upper()) * (1 + 2.0**-50)
