"""What the direct sums in float64 may err, pair by pair, for every function that has a compiled kernel (KG-18)."""

from __future__ import annotations

import math

from assay.impl.cpu.kernel_graph.sums import SLACK, U

__all__ = ["entry"]

_STEEPEST = {"gaussian": 0.37, "laplacian": 0.37, 0.5: 0.37, 1.5: 0.55, 2.5: 0.61}  # sup |t·f'(t)|, t the argument


def entry(name: str, parameter: float, dimension: int) -> tuple[float, float] | None:
    """(relative, floor): a computed weight is within relative·w + floor of the exact one w; ``None``: not proved here.

    Coordinates are float64 numbers, exact as stored.  A squared distance errs by at most (d + 4)u of itself.
    """
    apart = (dimension + 4.0) * U
    if name == "gaussian":
        return 9.0 * U, (_STEEPEST[name] * 1.02 * (apart + 2.0 * U) + 2.0**-1020) * SLACK
    if name == "laplacian":
        return 9.0 * U, (_STEEPEST[name] * 1.02 * (apart / 2.0 + 3.0 * U) + 2.0**-1020) * SLACK
    if name == "matern":
        return 16.0 * U, (_STEEPEST[parameter] * 1.05 * (apart / 2.0 + 4.0 * U) + 2.0**-1020) * SLACK
    if name in ("rational", "coulomb", "inverse_multiquadric"):
        power = 0.5 if name == "inverse_multiquadric" else parameter
        exact = power * (dimension + 8.0) + 3.0 * math.ceil(power) + 16.0
        return exact * U * 1.01 / max(1.0 - exact * U, 0.5) * SLACK, 2.0**-1020
    if name == "polynomial":
        exact = parameter * (dimension + 6.0)
        return exact * U * 1.01 * SLACK, 2.0**-1020
    if name == "arc_cosine":  # the slope of the angle is unbounded near z = 4
        rough = 2.0 * math.sqrt(apart + 8.0 * U) + 32.0 * U
        return 0.0, rough * SLACK
    return None
