"""What the direct sums in float64 may err, pair by pair, for every function that has a compiled kernel (KG-18)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from assay.impl.cpu.kernel_graph.extra import trees
from assay.impl.cpu.kernel_graph.sums import SLACK, U
from assay.spec.approximation import Infeasible

if TYPE_CHECKING:
    from assay.impl.cpu.kernel_graph.problem import Scene

__all__ = ["are_held", "entry", "of_pairs", "require_held", "require_resolved"]

_STEEPEST = {"gaussian": 0.37, "laplacian": 0.37, 0.5: 0.37, 1.5: 0.55, 2.5: 0.61}  # sup |t·f'(t)|, t the argument


def entry(name: str, parameter: float, dimension: int, lost: float = 0.0) -> tuple[float, float] | None:
    """(relative, floor): a computed weight is within relative·w + floor of the exact one w; ``None``: not proved here.

    Coordinates are float64 numbers, exact as stored.  A squared distance errs by at most (d + 4)u of itself and by
    ``lost``, what squares that underflow may take; where f is infinite at 0, :func:`require_resolved` has passed.
    """
    apart = (dimension + 4.0) * U
    if name == "gaussian":
        near = parameter * lost
        return 9.0 * U, (_STEEPEST[name] * 1.02 * (apart + 2.0 * U) + near + 2.0**-1020) * SLACK
    if name == "laplacian":
        near = parameter * math.sqrt(lost)
        return 9.0 * U, (_STEEPEST[name] * 1.02 * (apart / 2.0 + 3.0 * U) + near + 2.0**-1020) * SLACK
    if name == "matern":
        near = math.sqrt(5.0 * lost)
        return 16.0 * U, (_STEEPEST[parameter] * 1.05 * (apart / 2.0 + 4.0 * U) + near + 2.0**-1020) * SLACK
    if name in ("rational", "coulomb", "inverse_multiquadric"):
        power = 0.5 if name == "inverse_multiquadric" else parameter
        exact = power * (dimension + 8.0) + 3.0 * math.ceil(power) + 16.0
        slope = {"rational": parameter, "coulomb": 0.0, "inverse_multiquadric": parameter / 2.0}[name]  # at 0
        return exact * U * 1.01 / max(1.0 - exact * U, 0.5) * SLACK, (slope * lost + 2.0**-1020) * SLACK
    if name == "polynomial":
        exact = parameter * (dimension + 6.0)
        return exact * U * 1.01 * SLACK, 2.0**-1068 * dimension  # powers that underflow, of z < 1
    if name == "arc_cosine":  # the slope of the angle is unbounded near z = 4
        rough = 2.0 * math.sqrt(apart + 8.0 * U) + 32.0 * U + 2.0 * math.sqrt(lost)
        return 0.0, rough * SLACK
    return None


def are_held(name: str, parameter: float, farthest: Any) -> Any:
    """Whether squared distances up to this one, and what the function makes of them at once, are numbers of float64."""
    rate = parameter if name == "inverse_multiquadric" else 1.0
    return farthest * max(rate, 1.0) < 2.0**1020


def require_held(scene: Scene) -> None:
    """Raise Infeasible where a squared distance, or what the function makes of it at once, may overflow."""
    if not are_held(scene.name, scene.parameter, scene.farthest):
        raise Infeasible("points are too far from each other for float64 to hold squared distances")


def require_resolved(scene: Scene) -> None:
    """Raise Infeasible where f is infinite at 0 and two points are so near that their squared distance is not held."""
    if not (scene.lost and scene.function.singular_at_zero and len(scene.points) and len(scene.goals)):
        return
    tree = trees().cKDTree(scene.points)
    if scene.graph:
        near = tree.query(scene.points, k=2)[0][:, 1] if len(scene.points) > 1 else tree.query(scene.points)[0] + 1.0
    else:
        near = tree.query(scene.goals)[0]
    if not float(near.min()) >= 2.0**-450:
        raise Infeasible(f"two points have distance {float(near.min()):.2g}, whose square float64 does not hold")


def of_pairs(scene: Scene) -> tuple[float, float]:
    """(relative, floor): what the weight of a pair that is summed by itself may err, of any function (KG-18).

    A user's function is within 2^-50(|f| + terms) + 2^-1060 of f of the computed distance; what that distance makes of
    it, and of a threshold, is left to ``doubt``.  Raises :class:`~assay.spec.approximation.Infeasible` where float64
    does not hold the squared distances.
    """
    require_held(scene)
    if scene.code is not None:
        require_resolved(scene)
    known = entry(scene.name, scene.parameter, scene.points.shape[1], scene.lost)
    return known or (2.0**-46, 2.0**-1058 + 2.0**-48 * scene.function.terms)
