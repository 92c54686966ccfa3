"""What a kernel does where the problem leaves it a choice, or where the input makes no sense."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.profile.questions import REPEATS, Ask, Question, nan_in
from assay.spec.floats import dtype_named
from assay.spec.kernel_graph import Instance

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["QUESTIONS"]


def _instance(ask: Ask, points: ArrayLike, **options: Any) -> Instance:
    """Points with ones for vectors, under the first function that the kernel takes; the Gaussian of 1 if it can."""
    dtype = dtype_named(ask.precision.storage)
    function = "gaussian" if "gaussian" in ask.capabilities else "laplacian"
    stored = np.asarray(points, np.float64).astype(dtype)
    return Instance(stored, np.ones((len(stored), 1)).astype(dtype), function=function, parameter=1.0, **options)


def _value(ask: Ask, instance: Instance, **arrays: Any) -> float:
    return float(ask.call(instance, **arrays)["output"].flat[0])


def _coincident(ask: Ask) -> str:
    """A singular function of equal points."""
    if "coulomb" not in ask.capabilities:
        return "is not asked: it takes no function that is infinite at 0"
    dtype = dtype_named(ask.precision.storage)
    apart = np.array([[0.0], [1.0]]).astype(dtype)
    instance = Instance(apart, np.ones((2, 1)).astype(dtype), function="coulomb", parameter=0.5)
    made = _value(ask, instance, points=np.zeros_like(apart))
    return "0" if made == 0 else f"{made:g}"


def _same_target(ask: Ask) -> str:
    """A target that is a point."""
    made = _value(
        ask, _instance(ask, [[0.0], [9.0]], targets=np.zeros((1, 1)).astype(dtype_named(ask.precision.storage)))
    )
    return "counts" if abs(made - 1.0) < 0.1 else f"sums to {made:g}"


def _far(ask: Ask) -> str:
    """Two points 1 apart, at growing distances from the origin: where the sum is no longer near e^-1."""
    for power in range(1, 16):
        points = np.array([[0.0], [1.0]]) + 2.0**power
        if len(np.unique(points.astype(dtype_named(ask.precision.storage)).astype(np.float64))) < 2:
            break
        made = _value(ask, _instance(ask, points))
        if not abs(made - np.exp(-1.0)) < 0.05:
            return f"is lost at 2^{power}: {made:.3g} for {np.exp(-1.0):.3g}"
    return "is kept as far as the type tells the points apart"


def _symmetric(ask: Ask) -> str:
    """Whether w_ij and w_ji have the same bits."""
    n, dtype = 9, dtype_named(ask.precision.storage)
    points = np.random.default_rng(0).standard_normal((n, 3)).astype(dtype)
    function = "gaussian" if "gaussian" in ask.capabilities else "laplacian"
    made = ask.call(Instance(points, np.eye(n).astype(dtype), function=function, parameter=0.5))["output"]
    return "in every bit" if np.array_equal(made, made.T) else f"off by up to {np.abs(made - made.T).max():.2g}"


def _constants(ask: Ask) -> str:
    """The Laplacian of a constant vector."""
    n = 9
    points = np.random.default_rng(1).standard_normal((n, 2))
    made = ask.call(_instance(ask, points, laplacian=True))["output"]
    return "exactly 0" if not made.any() else f"up to {np.abs(made).max():.2g}"


_SUMS, _INPUT = "sums", "input"

#: In the order of the data sheet.
QUESTIONS: tuple[Question, ...] = (
    Question("far", _SUMS, "a distance of 1 far from the origin", _far, ("graph",)),
    Question(
        "symmetric", _SUMS, "weights of a pair in both directions are equal", _symmetric, ("graph", "several_columns")
    ),
    Question("constants", _SUMS, "L times a constant vector", _constants, ("graph", "laplacian_of_graph")),
    Question("same-target", _SUMS, "a target that is a point", _same_target, ("targets",)),
    Question("coincident", _INPUT, "z^(-1/2) of equal points", _coincident, ("graph",)),
    REPEATS,
    nan_in("points", "NaN in a coordinate"),
    nan_in("vectors", "NaN in a vector"),
)
