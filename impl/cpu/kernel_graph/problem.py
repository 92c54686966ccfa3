"""What the kernels of this package are given: checked once, in one place."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph.weights import code_of
from assay.spec.kernel_graph.instance import Instance
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.kernel_graph.functions import Function

    Array = NDArray[np.float64]

__all__ = ["Problem", "Scene", "box_of", "checked", "ends", "scene_of"]

DTYPES = ("float32", "float64")
_HELD = 2.0**-440  # coordinates of at least this size, and 0, differ by 2^-492 or not at all


def ends(points: Array) -> tuple[Array, Array]:
    """The least and the largest coordinates of points (n, d), column by column, which is many times faster."""
    columns = [np.ascontiguousarray(x) for x in points.T]
    return np.array([x.min() for x in columns]), np.array([x.max() for x in columns])


def box_of(points: Array, targets: Array | None) -> tuple[Array, Array]:
    """The least and the largest coordinates of points (n, d), and of targets (m, d) where there are any."""
    low, high = ends(points)
    if targets is not None and len(targets):
        others = ends(targets)
        low, high = np.minimum(low, others[0]), np.maximum(high, others[1])
    return low, high


@dataclass(frozen=True, eq=False)
class Scene:
    """The points and the function of sums, without vectors: what a plan is made of.

    points (n, d), goals (m, d): float64.  goals: the points where sums are asked for; ``None`` for the points
    themselves.  name: of a named function, "" for one of the user's own.
    """

    points: Array
    targets: Array | None
    name: str
    parameter: float
    function: Function

    @property
    def graph(self) -> bool:
        return self.targets is None

    @property
    def goals(self) -> Array:
        return self.points if self.targets is None else self.targets

    @property
    def code(self) -> tuple[int, float, float, float] | None:
        """What the compiled kernels read of a named function."""
        return code_of(self.name, self.parameter) if self.name else None

    @functools.cached_property
    def box(self) -> tuple[Array, Array]:
        """The least and the largest coordinates of all points and targets."""
        return box_of(self.points, self.targets)

    @functools.cached_property
    def farthest(self) -> float:
        """At least every squared distance."""
        sides = self.box[1] - self.box[0]
        return float((sides * sides).sum()) * (1.0 + 1e-12) + 1e-300

    @functools.cached_property
    def lost(self) -> float:
        """What squares that underflow may take from a squared distance; 0 where none does (KG-18)."""
        for x in (self.points, self.goals):
            sizes = np.abs(x[x != 0.0])
            if sizes.size and float(sizes.min()) < _HELD:
                return float(self.points.shape[1]) * 2.0**-1073
        return 0.0

    @functools.cached_property
    def least(self) -> float:
        """At most every |weight|; 0 where nothing better is declared."""
        end = np.array([self.farthest])
        if self.function.monotone == "decreasing":
            low = float(self.function(end)[0])
        elif self.function.singular_at_zero:
            return 0.0
        else:
            low = float(self.function.between(np.zeros(1), end)[0][0])
        return max(low, 0.0) * (1.0 - 1e-12)

    @functools.cached_property
    def peak(self) -> float:
        """At least every |weight|; +∞ where f is singular at 0."""
        f = self.function
        if f.singular_at_zero:
            return math.inf
        if self.name == "arc_cosine":
            return 2.0
        low, high = f.between(np.zeros(1), np.array([self.farthest]))
        return float(max(abs(low[0]), abs(high[0]))) * (1.0 + 1e-12)


@dataclass(frozen=True, eq=False)
class Problem:
    """A checked problem: the scene, and the vectors in their own type."""

    scene: Scene
    points: NDArray[Any]
    vectors: NDArray[Any]
    goals: NDArray[Any]
    laplacian: bool
    diagonal: float

    @property
    def graph(self) -> bool:
        return self.scene.graph


def checked(
    points: Any, vectors: Any, function: Any, parameter: float, laplacian: bool, diagonal: float, targets: Any
) -> Problem:
    """The problem of these arguments; raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument."""
    instance = Instance(
        points, vectors, function=function, parameter=parameter, laplacian=laplacian, diagonal=diagonal, targets=targets
    )
    if points.dtype.name not in DTYPES or not points.dtype.isnative:
        raise InvalidInstance(f"points: dtype {points.dtype.str}, expected float32 or float64 of this machine")
    goals = points if targets is None else targets
    scene = scene_of(points, targets, function, instance.weight(), parameter)
    return Problem(scene, points, vectors, goals, bool(laplacian), float(diagonal))


def scene_of(points: Any, targets: Any, function: Any, weight: Function, parameter: float) -> Scene:
    """The scene of arrays that have been checked."""
    name = function if isinstance(function, str) else ""
    # copies, because compiled kernels refuse arrays that are read-only
    wide = None if targets is None else np.array(targets, np.float64, order="C")
    return Scene(np.array(points, np.float64, order="C"), wide, name, float(parameter), weight)
