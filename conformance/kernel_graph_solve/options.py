"""Rows of the families as instances of solves: points, right sides; and what another call differs in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.families import CHANGES as SHARED
from assay.conformance.interface.lengths import Axes
from assay.conformance.kernel_graph.points import POINTS, other_points, placed, read, sizes
from assay.conformance.kernel_graph.rows import doubled, last_point
from assay.spec.floats import dtype_named
from assay.spec.kernel_graph_solve import Instance, orthogonal

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.conformance.interface.suite import Row
    from assay.spec.precision import Precision
    from assay.spec.problem import Provenance

    Array = NDArray[np.float64]
    Generator = np.random.Generator

__all__ = ["AXES", "CHANGES", "RIGHT_SIDES", "built"]

#: Axes by the name under which a solver declares their lengths.
AXES: dict[str, Axes] = {
    "dim": Axes(("dim",), (3, 2, 1, 8, 16)),
    "points": Axes(("points",), (64, 16, 32, 8), multiples=True),
}


def _pole(rng: Generator, n: int) -> Array:
    """1 at one vertex and −1 at another: potentials are resistances."""
    made = np.zeros(n)
    made[0], made[-1] = 1.0, -1.0
    return made


def _halves(rng: Generator, n: int) -> Array:
    """The first half against the second."""
    return np.where(np.arange(n) < n // 2, 1.0, -1.0)


def _nearby(rng: Generator, n: int) -> Array:
    """A current between the last two vertices, and a thousandth as much from the first third to the others.

    Of two clusters far apart nearly all of the energy is in the small part, which a small residual does not see.
    """
    first = np.where(np.arange(n) < max(1, n // 3), 1.0, 0.0)
    off = first - first.mean()
    made: Array = 1e-3 * off / np.abs(off).sum()
    made[-2:] += np.array([1.0, -1.0])
    return made


#: What right sides are, before they are made orthogonal to 1: (rng, n) → numbers.
RIGHT_SIDES: dict[str, Callable[[Generator, int], Array]] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "pole": _pole,
    "first": lambda rng, n: np.eye(1, n)[0],
    "halves": _halves,
    "nearby": _nearby,
    "large": lambda rng, n: 1000.0 * rng.standard_normal(n),
    "small": lambda rng, n: 2.0**-12 * rng.standard_normal(n),
}


def built(row: Row, provenance: Provenance, precision: Precision) -> Instance:
    """The instance of a row.  A size is points:dim; options are a function with its parameter, as ``coulomb=0.5``;

    ``b=WORD``, the right side; ``t=NUMBER``, the tolerance; ``scale=NUMBER``, of the points.
    """
    n, _, _, d = sizes(row)
    rng = np.random.default_rng(provenance.seed)
    words, function, parameter = read(row)
    made = POINTS[row.pattern](rng, n, d) * float(words.get("scale", 1.0))
    side = RIGHT_SIDES[words.get("b", "normal")](rng, n).astype(dtype_named(precision.storage))
    return Instance(
        placed(made, function, parameter, precision.storage, rng),
        orthogonal(side),
        function=function,
        parameter=parameter,
        tolerance=float(words.get("t", 1e-6 if precision.storage == "float64" else 1e-3)),
        provenance=provenance,
    )


def _other_numbers(instance: Instance) -> Instance:
    """Other distances, and the right side backwards and negated."""
    side = np.ascontiguousarray(-instance.right_side[::-1])
    return instance.replace(points=other_points(instance.points), right_side=side)


#: What another call differs in.
CHANGES: dict[str, Callable[[Instance], Instance]] = {
    **SHARED,
    "numbers": _other_numbers,
    "last": last_point,
    "side": lambda i: i.replace(right_side=i.right_side[::-1].copy()),
    "parameter": doubled,
    "tolerance": lambda i: i.replace(tolerance=min(0.5, 100 * i.tolerance)),
}
