"""Rows of the families as instances of sparsification: points, errors, seeds; and what another call differs in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.families import CHANGES as SHARED
from assay.conformance.interface.lengths import Axes
from assay.conformance.kernel_graph.points import POINTS, other_points, placed, read, sizes
from assay.conformance.kernel_graph.rows import doubled, last_point
from assay.spec.kernel_graph_sparsify import Instance

if TYPE_CHECKING:
    from collections.abc import Callable

    from assay.conformance.interface.suite import Row
    from assay.spec.precision import Precision
    from assay.spec.problem import Provenance

__all__ = ["AXES", "CHANGES", "built"]

#: Axes by the name under which a sparsifier declares their lengths.
AXES: dict[str, Axes] = {
    "dim": Axes(("dim",), (3, 2, 1, 8, 16)),
    "points": Axes(("points",), (64, 16, 32, 128), multiples=True),
}


def built(row: Row, provenance: Provenance, precision: Precision) -> Instance:
    """The instance of a row.  A size is points:dim; options are a function with its parameter, as ``coulomb=0.5``;

    ``e=NUMBER``, the error; ``seed=NUMBER``; ``scale=NUMBER``, of the points.
    """
    n, _, _, d = sizes(row)
    rng = np.random.default_rng(provenance.seed)
    words, function, parameter = read(row)
    made = POINTS[row.pattern](rng, n, d) * float(words.get("scale", 1.0))
    return Instance(
        placed(made, function, parameter, precision.storage, rng),
        function=function,
        parameter=parameter,
        error=float(words.get("e", 0.3)),
        seed=int(words.get("seed", 0)),
        provenance=provenance,
    )


def _other_numbers(instance: Instance) -> Instance:
    """Other distances."""
    return instance.replace(points=other_points(instance.points))


#: What another call differs in.
CHANGES: dict[str, Callable[[Instance], Instance]] = {
    **SHARED,
    "numbers": _other_numbers,
    "last": last_point,
    "seed": lambda i: i.replace(seed=i.seed + 1),
    "error": lambda i: i.replace(error=min(0.9, 2 * i.error)),
    "parameter": doubled,
}
