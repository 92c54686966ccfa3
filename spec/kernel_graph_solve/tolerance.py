"""What a correct solve of a class may err in energy besides its own tolerance (KTOL-6 and KTOL-7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from assay.spec.floats import dtype_named
from assay.spec.kernel_graph.rounding import PRECISIONS
from assay.spec.kernel_graph.spectral import Weights, pair_weights, spread, weight_error
from assay.spec.kernel_graph_solve.definition import Solved, solved
from assay.spec.precision import precision as precision_named

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.kernel_graph_solve.instance import Instance
    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["RELATIVE", "limit", "tolerance"]

#: The relative accuracy of the potentials that solves are held to.
RELATIVE = 2.0**-80


def tolerance(instance: Instance, precision: str | Precision, output: str = "x") -> Array:
    """What the relative energy error of a correct kernel of the class is at most: of shape ().

    It is (t + η)/(1 − η) of the tolerance t of the instance and the error η of the weights of the class, and what the
    rounding of potentials to the type of the output costs; +inf outside the domain of the class.
    Raises ``ValueError`` for an unknown class or output.

    >>> from assay.spec.kernel_graph_solve import Instance
    >>> x = np.array([[0.0], [1.0]], np.float32)
    >>> pair = Instance(x, np.array([1.0, -1.0], np.float32), function="gaussian", tolerance=1e-4)
    >>> print(*(f"{tolerance(pair, name):.1e}" for name in ("float64", "float32")))
    1.0e-04 1.0e-04
    """
    if output != "x":
        raise ValueError(f"unknown output {output!r}: expected 'x'")
    u = precision_named(precision, PRECISIONS)
    return np.asarray(limit(instance, u, pair_weights(instance), solved(instance, RELATIVE)))


def limit(instance: Instance, precision: Precision, w: Weights, exact: Solved) -> float:
    """The number that :func:`tolerance` says, of weights and a solution that are known."""
    eta = weight_error(instance, precision, w)
    if not eta < 0.5:
        return np.inf
    limits: Any = ml_dtypes.finfo(dtype_named(precision.result))  # type: ignore[no-untyped-call]
    x = np.array([float(ball.mid()) for ball in exact.potentials])
    energy = float(exact.energy.abs_lower().sqrt().mid()) * (1 - 2.0**-40)
    with np.errstate(all="ignore"):
        rate = (instance.tolerance + eta) / (1.0 - eta)
        # a potential is at most as large as the range of all, whichever vertex is grounded, or where their mean is 0;
        # an error of energy ρ moves the difference of two by at most √R·ρ, R their resistance
        moved = np.sqrt(spread(w.low)) * rate * energy * (1 + 2.0**-38)
        size = (np.maximum(x.max() - x, x - x.min()) + moved) * (1 + 1e-9)
        off = float(limits.eps) / 2 * size + float(limits.smallest_subnormal)
        pairs = off[:, None] + off
        cost = float(np.sqrt(0.5 * np.sum(w.high * (pairs * pairs)))) / energy
    total = rate + cost
    return total * (1 + 1e-9) if np.isfinite(total) and size.max() <= float(limits.max) / 2 else np.inf
