"""Rows of the families as instances: points, vectors, functions; and what another call differs in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.families import CHANGES as SHARED
from assay.conformance.interface.lengths import Axes
from assay.conformance.kernel_graph.points import POINTS, other_points, placed, read, sizes
from assay.conformance.kernel_graph.rows import doubled
from assay.spec.floats import dtype_named
from assay.spec.kernel_graph import Instance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.conformance.interface.suite import Row
    from assay.spec.precision import Precision
    from assay.spec.problem import Provenance

    Array = NDArray[np.float64]
    Generator = np.random.Generator

__all__ = ["AXES", "CHANGES", "VECTORS", "built", "resized"]

#: Axes by the name under which a kernel declares their lengths.
AXES: dict[str, Axes] = {
    "dim": Axes(("dim",), (3, 2, 1, 8, 16, 4, 64)),
    "points": Axes(("points",), (64, 16, 128, 32, 8), multiples=True),
    "targets": Axes(("targets",), (64, 16, 128, 32, 8), multiples=True),
    "columns": Axes(("columns",), (1, 2, 4, 8, 16)),
}


def resized(row: Row, lengths: Mapping[str, int]) -> Row:
    """The row with other lengths of some axes.

    >>> from assay.conformance.interface.suite import Row
    >>> resized(Row("smoke", "normal", "5/7x2:3"), {"dim": 8, "targets": 16}).size
    '5/16x2:8'
    """
    n, m, columns, d = sizes(row)
    n, columns, d = (lengths.get(name, now) for name, now in (("points", n), ("columns", columns), ("dim", d)))
    between = f"/{lengths.get('targets', m)}" if m else ""
    return replace(row, size=f"{n}{between}x{columns}:{d}")


def _unlike(rng: Generator, n: int, columns: int) -> Array:
    """Columns of different sizes."""
    return np.asarray(rng.standard_normal((n, columns)) * np.exp2(3.0 * (np.arange(columns) % 4)))


#: What vectors are: (rng, n, columns) → numbers.
VECTORS: dict[str, Callable[[Generator, int, int], Array]] = {
    "normal": lambda rng, n, columns: rng.standard_normal((n, columns)),
    "ones": lambda rng, n, columns: np.ones((n, columns)),
    "unit": lambda rng, n, columns: np.eye(n, columns),
    "last": lambda rng, n, columns: np.eye(n, columns)[::-1],
    "unlike": _unlike,
    "positive": lambda rng, n, columns: 0.5 + rng.random((n, columns)),
    "signs": lambda rng, n, columns: rng.choice([-1.0, 1.0], (n, columns)),
}


def _graded(points: Array, vectors: Array, most: float) -> Array:
    """Vectors that grow, up to 2^most, as points lie farther from the first: light weights count as heavy ones do."""
    far = np.linalg.norm(points - points[:1], axis=1)
    return np.asarray(vectors * np.exp2(np.minimum(4 * far, most))[:, None])


def built(row: Row, provenance: Provenance, precision: Precision) -> Instance:
    """The instance of a row.  A size is points/targets x columns : dim, of which targets and columns may be left out.

    Options are a function with its parameter, as ``coulomb=0.5``; ``degrees``, for the Laplacian; ``diagonal=NUMBER``;
    ``v=WORD``, the vectors; ``graded``: vectors grow with the distance from the first point; ``scale=NUMBER``, of the
    points; ``same``: the targets are the first of the points.
    """
    n, m, columns, d = sizes(row)
    rng = np.random.default_rng(provenance.seed)
    words, function, parameter = read(row)
    made = POINTS[row.pattern](rng, n + m, d) * float(words.get("scale", 1.0))
    if "same" in words:
        made[n:] = np.resize(made[:n], (m, d))
    stored = placed(made, function, parameter, precision.storage, rng)
    vectors = VECTORS[words.get("v", "normal")](rng, n, columns)
    if "graded" in words:
        vectors = _graded(made[:n], vectors, 8.0 if precision.storage == "float16" else 20.0)
    return Instance(
        stored[:n],
        vectors.astype(dtype_named(precision.storage)),
        function=function,
        parameter=parameter,
        laplacian="degrees" in words,
        diagonal=float(words.get("diagonal", 0.0)),
        targets=stored[n:] if m else None,
        provenance=provenance,
    )


def _other_numbers(instance: Instance) -> Instance:
    """Other distances; vectors backwards and negated."""
    changed = {}
    for name, array in instance.arrays().items():
        changed[name] = np.ascontiguousarray(-array.astype(np.float64)[..., ::-1]).astype(array.dtype)
    return instance.replace(**changed | {"points": other_points(instance.points)})


def _last_point(instance: Instance) -> Instance:
    """The last point is another one: what a key of the first few numbers does not tell apart."""
    points = instance.points.copy()
    points[-1] = -points[-1]
    return instance.replace(points=points)


def _other_function(instance: Instance) -> Instance:
    """The next function that has the same parameter."""
    others = ["gaussian", "inverse_multiquadric", "rational", "laplacian"]
    if instance.function not in others:
        return instance
    return instance.replace(function=others[(others.index(str(instance.function)) + 1) % len(others)])


#: What another call differs in: what a kernel may keep from it, under a key that does not tell the two apart.
CHANGES: dict[str, Callable[[Instance], Instance]] = {
    **SHARED,
    "numbers": _other_numbers,
    "last": _last_point,
    "vectors": lambda i: i.replace(vectors=i.vectors[::-1].copy()),
    "function": _other_function,
    "parameter": doubled,
    "laplacian": lambda i: i.replace(laplacian=not i.laplacian) if i.targets is None and not i.diagonal else i,
}
