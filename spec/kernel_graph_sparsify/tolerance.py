"""What the form of a correct sparsifier of a class may be off besides the error that is asked for (KTOL-6, KTOL-8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from assay.spec.floats import dtype_named
from assay.spec.kernel_graph.rounding import PRECISIONS
from assay.spec.kernel_graph.spectral import Weights, pair_weights, weight_error
from assay.spec.precision import precision as precision_named
from assay.spec.rounding import compound

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.kernel_graph_sparsify.instance import Instance
    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["limit", "tolerance"]


def tolerance(instance: Instance, precision: str | Precision, output: str = "weight") -> Array:
    """What the form of a correct kernel of the class may be off from that of the graph: of shape ().

    One edge is not right by its distance from another, so that it is the same number for every output.
    Raises ``ValueError`` for an unknown class or output.
    """
    if output not in ("left", "right", "weight"):
        raise ValueError(f"unknown output {output!r}: expected 'left', 'right' or 'weight'")
    return np.asarray(limit(instance, precision_named(precision, PRECISIONS), pair_weights(instance)))


def limit(instance: Instance, precision: Precision, w: Weights) -> float:
    """(1 + ε)(1 + η)(1 + u) − 1 of the error η of the weights of the class and of the rounding u of the output."""
    limits: Any = ml_dtypes.finfo(dtype_named(precision.result))  # type: ignore[no-untyped-call]
    eta = weight_error(instance, precision, w)
    return float(compound(instance.error, eta, float(limits.eps) / 2)) * (1 + 1e-9) if eta < 0.5 else np.inf
