"""Sums with a polynomial of the squared distance on a GPU: no pair of points is ever formed (``polynomial.cu``).

As on the CPU (:mod:`assay.impl.cpu.kernel_graph.polynomial`), in float64: ``features.cu`` sums features of the points
and evaluates them at the targets, and ``polynomial.cu`` multiplies with the matrix between them, and finds the bound of
the error, which is one of the numbers on the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.kernel_graph.sums import U
from assay.impl.gpu import features
from assay.impl.gpu.features import Points
from assay.impl.gpu.kernel_graph.plan import VANISHED, Known, Shape
from assay.impl.gpu.machine import TYPES, struct, view

if TYPE_CHECKING:
    from assay.impl.gpu.kernel_graph.plan import Plan
    from assay.impl.gpu.machine import Machine

__all__ = ["Measured", "measured", "summed"]


@dataclass(frozen=True, eq=False)
class Measured:
    """What the device found of points (n, d), targets (m, d), or ``None`` for the points, and vectors (n, columns).

    values (n, summed): the vectors, and for a Laplacian a column of ones after them.  centre (1, d): the middle of the
    points.  mass (summed,): at least Σ|v| of values.  grow (summed,): powers of two above |v|.
    told (3,): the bounds of :class:`~assay.impl.gpu.kernel_graph.plan.Known`.
    """

    points: Any
    targets: Any
    vectors: Any
    laplacian: bool
    values: Any
    centre: Any
    mass: Any
    grow: Any
    told: Any

    @property
    def goals(self) -> Any:
        return self.points if self.targets is None else self.targets

    @property
    def shape(self) -> Shape:
        return Shape.of(self.points, self.vectors, self.targets, laplacian=self.laplacian)

    def known(self, machine: Machine) -> Known:
        """What the host is told, for which the call waits."""
        return Known(*map(float, machine.host(self.told)))


def measured(machine: Machine, points: Any, targets: Any, vectors: Any, *, laplacian: bool = False) -> Measured:
    """Measure points and vectors, without waiting for it."""
    n, d = points.shape
    values = _with_ones(machine, vectors) if laplacian else vectors
    columns = values.shape[1]
    _, least, largest = features.extent(machine, Points(points[None, None]))
    centre = 0.5 * least + 0.5 * largest
    squares = [
        features.largest_squares(machine, Points(each[None, None], None, centre))
        for each in (points, points if targets is None else targets)
    ]
    sizes = abs(values.astype(np.float64))
    highest, mass = sizes.max(axis=0), sizes.sum(axis=0) * (1.0 + (n + 2.0) * U)
    whole = mass
    if laplacian:
        whole = mass + mass[-1] * highest
        whole[-1] = 0.0  # of the ones, which are no vector
    grow, told = (machine.empty((count,), np.float64) for count in (columns, 3))
    arguments = struct(
        points=machine.address(squares[0]),
        targets=machine.address(squares[1]),
        sizes=machine.address(highest),
        mass=machine.address(whole),
        grow=machine.address(grow),
        told=machine.address(told),
        dim=d,
        columns=columns,
    )
    machine.run("kernel_graph/polynomial.cu", "polynomial_settle", arguments, features.blocks(columns))
    return Measured(points, targets, vectors, laplacian, values, centre, mass, grow, told)


def _with_ones(machine: Machine, vectors: Any) -> Any:
    """The vectors, and a column of ones after them, whose sums are the degrees."""
    n, columns = vectors.shape
    values = machine.empty((n, columns + 1), vectors.dtype)
    values[:, :columns], values[:, columns] = vectors, 1.0
    return values


def summed(machine: Machine, given: Measured, plan: Plan, diagonal: float) -> tuple[Any, Any]:
    """The sums of a plan in the type of the points, (m, columns), and their certificate, of that shape (GPU-19)."""
    vectors, points, shape = given.vectors, given.points, given.shape
    columns, matrix = shape.columns, plan.matrix
    table = features.table(machine, plan.width, plan.degree, matrix.those)
    one, ones = machine.laid(np.ones(1)), machine.laid(np.ones(shape.summed))

    x, front = _placed(machine, points, given.centre, plan)
    if front is None:
        values, grow = given.values, given.grow
    else:  # numbers of size 1 are multiplied, so that none is lost
        values, grow = given.values.astype(np.float64) / given.grow * front[:, None], ones
    spans = features.spans(len(values), plan.spans)
    parts = features.sums(machine, table, Points(x, None, None, one), values[None, None], None, grow, *spans)[0]
    sums = parts[0] if len(parts) == 1 else parts.sum(axis=0)
    starts, others, entries = (machine.laid(each) for each in (matrix.starts, matrix.columns, matrix.entries))
    weighted = machine.empty((1, matrix.rank, shape.summed + 1), np.float64)
    arguments = struct(
        starts=machine.address(starts),
        columns=machine.address(others),
        entries=machine.address(entries),
        sums=machine.address(sums),
        out=machine.address(weighted),
        width=shape.summed + 1,
        count=weighted.size,
    )
    machine.run("kernel_graph/polynomial.cu", "polynomial_mix", arguments, features.blocks(weighted.size))

    if given.targets is not None:
        x, front = _placed(machine, given.targets, given.centre, plan)
    totals = features.totals(machine, table, Points(x, None, None, one), weighted)
    out = machine.empty((shape.targets, columns), points.dtype)
    error = machine.empty((shape.targets, columns), np.float64)
    arguments = struct(
        totals=machine.address(totals),
        grow=machine.address(given.grow),
        front=0 if front is None else machine.address(front),
        mass=machine.address(given.mass),
        told=machine.address(given.told),
        vectors=view(machine, vectors, (1, 1, *vectors.shape)),
        out=machine.address(out),
        error=machine.address(error),
        vector_type=TYPES.index(vectors.dtype.name),
        single=int(points.dtype.name == "float32"),
        count=shape.targets,
        columns=columns,
        graph=int(shape.graph),
        laplacian=int(shape.laplacian),
        own=plan.own,
        diagonal=float(diagonal),
        reach=plan.reach,
        other=plan.other,
        floor=plan.floor,
        doubt=plan.doubt,
        least=shape.points * VANISHED,
    )
    machine.run("kernel_graph/polynomial.cu", "polynomial_finish", arguments, features.blocks(out.size))
    return out, error


def _placed(machine: Machine, points: Any, centre: Any, plan: Plan) -> tuple[Any, Any]:
    """Scaled points x (1, 1, rows, width), with |x|² where features have it, and e^(−decay|x|²) (rows,) or ``None``."""
    rows, d = points.shape
    out = machine.empty((1, 1, rows, plan.width), np.float64)
    front = None if plan.decay is None else machine.empty((rows,), np.float64)
    arguments = struct(
        points=view(machine, points, (1, 1, rows, d)),
        centre=machine.address(centre),
        out=machine.address(out),
        front=0 if front is None else machine.address(front),
        type=TYPES.index(points.dtype.name),
        rows=rows,
        dim=d,
        width=plan.width,
        shrink=1.0 / plan.scale,
        decay=plan.decay or 0.0,
    )
    machine.run("kernel_graph/polynomial.cu", "polynomial_place", arguments, features.blocks(rows))
    return out, front
