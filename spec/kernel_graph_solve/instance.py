"""The input of a solve: the points of a kernel graph, a right side, and how close the potentials shall be."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.instance import array, real
from assay.spec.kernel_graph.connected import require_connected
from assay.spec.kernel_graph.instance import Weighted
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["Instance", "load", "orthogonal", "require_solvable"]


@dataclass(frozen=True, eq=False)
class Instance(Weighted):
    """L x = b for the Laplacian L of the weights f(‖x_i − x_j‖²).  Numbers are exact as stored.

    points, function, parameter: as for :class:`assay.spec.kernel_graph.Instance`, of at least two points.
    right_side (n,): b, of the dtype of the points; its exact sum is 0, and it is not 0 everywhere.
    :func:`orthogonal` makes one.
    tolerance: of |x − L⁺b|_L / |L⁺b|_L, where |y|_L² = y'Ly; between 0 and 1.

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument: also for a function with negative weights,
    and for a graph that falls apart in float64, where a weight is at least 2^-1022 or 0.

    >>> x = np.array([[0.0], [1.0]])
    >>> Instance(x, np.array([1.0, -0.5]), function="gaussian", tolerance=1e-8)
    Traceback (most recent call last):
    assay.spec.problem.InvalidInstance: right_side: its sum is 0.5, expected exactly 0
    """

    problem = "kernel_graph_solve"

    right_side: NDArray[Any] = array("points", like="points")
    tolerance: float = dataclasses.field(kw_only=True, metadata={**real(0.5, above=0.0).metadata, "plain": 2.0**-10})

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.tolerance < 1.0, "tolerance", "a number below 1")
        require_solvable(self.right_side)
        if not self.weight().weights:
            raise InvalidInstance(f"function: {self.weight().name!r}, expected one whose values are never negative")
        require_connected(self.weight(), self.points)

    def part(self, **kept: Sequence[int] | NDArray[np.intp] | None) -> Self:
        """As of every instance; where points are left out, the right side is made orthogonal to 1 again."""
        changes = self._parts(kept)
        if "right_side" in changes:
            changes["right_side"] = orthogonal(changes["right_side"])
        return self.replace(**changes)


def require_solvable(right_side: NDArray[Any]) -> None:
    """Raise :class:`~assay.spec.problem.InvalidInstance` unless the exact sum of finite numbers is 0, and not all are.

    >>> require_solvable(np.array([1.0, -1.0]))
    >>> require_solvable(np.array([1.0, -1.0, 2.0**-1074]))
    Traceback (most recent call last):
    assay.spec.problem.InvalidInstance: right_side: its sum is 4.94065646e-324, expected exactly 0
    """
    total = _sum(right_side.astype(np.float64).tolist())
    if total != 0.0:
        raise InvalidInstance(f"right_side: its sum is {total:.9g}, expected exactly 0")
    if not np.asarray(right_side != 0).any():
        raise InvalidInstance("right_side: all of it is 0, expected a number that is not")


def _sum(numbers: list[float]) -> float:
    """The exact sum, rounded once; an infinity where float64 has no such number."""
    try:
        return math.fsum(numbers)
    except OverflowError:  # of a partial sum
        exact = sum(map(Fraction, numbers), Fraction(0))
        return float(exact) if abs(exact) < 2**1023 else (math.inf if exact > 0 else -math.inf)


def orthogonal(right_side: NDArray[Any]) -> NDArray[Any]:
    """Numbers near these whose exact sum is 0, of the same dtype: multiples of one power of two.

    Raises ``ValueError`` where numbers of that dtype cannot have it, and for NaN and infinities.

    >>> orthogonal(np.array([1.0, 2.0, 3.75])).tolist()
    [-1.25, -0.25, 1.5]
    """
    wide = right_side.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ValueError(f"right_side: {wide[~np.isfinite(wide)][0]}, expected finite numbers")
    if len(wide) < 2:
        return np.zeros_like(right_side)
    with np.errstate(over="ignore", invalid="ignore"):
        wide = wide - wide.mean()
    largest = float(np.abs(wide).max())
    if not math.isfinite(largest):
        raise ValueError("right_side: the sum of its numbers overflows, expected numbers of less than 2^1000")
    if largest == 0.0:
        wide = np.where(np.arange(len(wide)) % 2 == 0, 1.0, -1.0)
        largest = 1.0
    # multiples of 2^e that stay below 2^(e + p − 1), p the bits of the type, so that the last one is of the type too
    digits = _digits(right_side.dtype) - 1
    room = digits - max(2, math.ceil(math.log2(len(wide))))
    unit = 2.0 ** (math.ceil(math.log2(largest)) - max(1, room))
    steps = np.rint(wide / unit)
    excess = int(steps.sum())
    order = np.argsort(-np.abs(steps), kind="stable")
    share, rest = divmod(abs(excess), len(steps))
    change = np.full(len(steps), share)
    change[order[:rest]] += 1
    steps -= math.copysign(1.0, excess) * change
    exact = (steps * unit).astype(right_side.dtype)
    if math.fsum(exact.astype(np.float64).tolist()) != 0.0:
        raise ValueError(f"right_side: no numbers of {right_side.dtype.name} near it with the sum 0")
    return exact


def _digits(dtype: np.dtype[Any]) -> int:
    """Significant bits of a floating type."""
    import ml_dtypes

    eps = float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]
    return 1 - round(math.log2(eps))


load = Instance.load
