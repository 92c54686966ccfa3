"""The input of a multiplication with a kernel graph: points, vectors, and the function of the squared distance.

The weight of two points is f(z), z their squared distance.  Without ``targets`` the points are the vertices of a graph
without loops, and out_i = Σ_{j≠i} f(z_ij)·v_j + diagonal·v_i, or with ``laplacian`` Σ_{j≠i} f(z_ij)·(v_i − v_j).  With
``targets`` out_i = Σ_j f(‖t_i − x_j‖²)·v_j over all points.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from assay.spec.instance import Instance as AnyInstance
from assay.spec.instance import array, real
from assay.spec.kernel_graph.functions import Function, named
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Instance", "Weighted", "load", "require_apart"]

_PROBES = (0.0625, 0.5, 1.0, 3.0, 10.0)  # distances at which functions of the user are told apart


@dataclass(frozen=True, eq=False)
class Weighted(AnyInstance):
    """What the three problems of kernel graphs have in common: points, a function and its parameter.

    points (n, d).  function: one of :data:`~assay.spec.kernel_graph.functions.NAMES`, or a
    :class:`~assay.spec.kernel_graph.functions.Function`.  parameter: of a named function, as
    :func:`~assay.spec.kernel_graph.functions.named` says; that of a function of the user's own is not read.
    """

    points: NDArray[Any] = array("points dim")
    function: str | Function = dataclasses.field(kw_only=True, metadata={"plain": "gaussian"})
    parameter: float = dataclasses.field(default=1.0, kw_only=True, metadata=dict(real(1.0).metadata))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.function, (str, Function)):
            raise InvalidInstance(f"function: {type(self.function).__name__}, expected a name or a Function")
        try:
            f = named(self.function, self.parameter)
        except ValueError as error:
            raise InvalidInstance(str(error)) from None
        if self.function == "arc_cosine":
            for name in ("points", "targets"):
                if (given := getattr(self, name, None)) is not None:
                    _require_unit(name, given)
        self._require_distances(f)

    def _require_distances(self, f: Function) -> None:
        """Points of which f is asked must be apart where it is singular."""
        if f.singular_at_zero:
            require_apart(self.points)

    def weight(self) -> Function:
        """f."""
        return named(self.function, self.parameter)

    def spanned(self) -> int:
        """The weight of every pair, and the arrays."""
        targets = getattr(self, "targets", None)
        rows = self.points if targets is None else targets
        return int(super().spanned() + len(rows) * len(self.points))

    def options(self) -> dict[str, Any]:
        """The plain options that differ from their usual value; a function of the user's own by its name."""
        told = super().options()
        if isinstance(self.function, Function):
            told["function"] = f"{self.function.name} (a Function)"
        return told

    def values(self) -> dict[str, Any]:
        """As of every instance.  Raises :class:`InvalidInstance` for a function of the user's own."""
        if isinstance(self.function, Function):
            raise InvalidInstance(
                f"function: {self.function.name!r}, a Function of your own, expected one of the named functions: "
                "a file holds no code"
            )
        return super().values()

    def digest(self) -> bytes:
        """As of every instance; functions of the user's own count as equal if name and some values are."""
        if not isinstance(self.function, Function):
            return super().digest()
        f = self.function
        probes = [float(x).hex() for x in f(np.array(_PROBES))]
        told = (f.name, f.monotone, f.singular_at_zero, f.weights, *probes)
        plain = self.replace(function="gaussian")
        return hashlib.blake2b(plain.digest() + repr(told).encode()).digest()

    def save(self, path: str | Path, more: Any = None) -> None:
        """As of every instance.  Raises :class:`InvalidInstance` for a function of the user's own."""
        super().save(path, more)


@dataclass(frozen=True, eq=False)
class Instance(Weighted):
    """One multiplication.  Numbers are exact as stored.

    points (n, d), vectors (n, columns), and targets (m, d) or ``None``, of one dtype.
    laplacian: L = diag(A·1) − A in place of A; not with targets, and only for weights that are never negative.
    diagonal: of A, 0 unless given; not with laplacian, in which it cancels, nor with targets.
    function, parameter: those of :class:`Weighted`.

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument; points that coincide are refused with
    their indices where f is singular at 0.

    >>> x = np.array([[0.0], [1.0], [0.0]])
    >>> print(Instance(x, x, function="gaussian", parameter=2.0).describe())
    points 3, dim 1, columns 1, float64, function gaussian, parameter 2
    >>> Instance(x, x, function="coulomb")
    Traceback (most recent call last):
    assay.spec.problem.InvalidInstance: points: 0 and 2 are equal, expected points that are apart: the function is \
infinite there
    """

    problem = "kernel_graph"

    vectors: NDArray[Any] = array("points columns", like="points")
    laplacian: bool = dataclasses.field(default=False, kw_only=True)
    diagonal: float = dataclasses.field(default=0.0, kw_only=True, metadata=dict(real(0.0).metadata))
    targets: NDArray[Any] | None = dataclasses.field(
        default=None, kw_only=True, metadata=dict(array("targets dim", optional=True, like="points").metadata)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(not self.laplacian or self.targets is None, "laplacian", "False with targets")
        self._require(self.diagonal == 0.0 or self.targets is None, "diagonal", "0 with targets")
        self._require(self.diagonal == 0.0 or not self.laplacian, "diagonal", "0 with laplacian, where it cancels")
        if self.laplacian and not self.weight().weights:
            raise InvalidInstance(f"laplacian: True, expected False for {self.weight().name} of negative weights")

    def _require_distances(self, f: Function) -> None:
        if not f.singular_at_zero:
            return
        if self.targets is None:
            require_apart(self.points)
        else:
            require_apart(self.points, self.targets)


def require_apart(points: NDArray[Any], targets: NDArray[Any] | None = None) -> None:
    """Raise InvalidInstance, with the indices, for two equal points, or a target that equals a point."""
    rows = points.astype(np.float64) + 0.0  # −0 becomes 0
    if targets is not None:
        rows = np.concatenate([rows, targets.astype(np.float64) + 0.0])
    order = np.lexsort(rows.T)
    equal = (rows[order[1:]] == rows[order[:-1]]).all(axis=1)
    n = len(points)
    if targets is None:
        if equal.any():
            at = int(np.argmax(equal))
            i, j = sorted((int(order[at]), int(order[at + 1])))
            raise InvalidInstance(
                f"points: {i} and {j} are equal, expected points that are apart: the function is infinite there"
            )
        return
    group = np.concatenate([[0], np.cumsum(~equal)])
    of_row = np.empty(len(rows), dtype=np.int64)
    of_row[order] = group
    first = {int(g): j for j, g in reversed(list(enumerate(of_row[:n].tolist())))}
    for i, g in enumerate(of_row[n:].tolist()):
        if g in first:
            raise InvalidInstance(
                f"targets: {i} equals point {first[g]}, expected targets that are no points: the function is infinite "
                "there"
            )


def _require_unit(name: str, points: NDArray[Any]) -> None:
    """Points are on the unit sphere up to the roundings of their type."""
    rows = points.astype(np.float64)
    eps = float(ml_dtypes.finfo(points.dtype).eps)  # type: ignore[no-untyped-call]
    off = np.abs((rows * rows).sum(axis=1) - 1.0)
    far = off > (rows.shape[1] + 8) * eps
    if far.any():
        row = int(np.argmax(far))
        norm = float(np.sqrt((rows[row] ** 2).sum()))
        raise InvalidInstance(
            f"{name}: norm {norm:.9g} in row {row}, expected points on the unit sphere for arc_cosine"
        )


load = Instance.load
