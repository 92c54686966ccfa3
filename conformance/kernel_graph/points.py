"""Points of kernel graphs, by name, and the words of a row: sizes and functions.  All of their problems share them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.floats import dtype_named
from assay.spec.kernel_graph.functions import NAMES, named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.conformance.interface.suite import Row

    Array = NDArray[np.float64]
    Generator = np.random.Generator

__all__ = ["POINTS", "function_of", "other_points", "placed", "read", "sizes", "words_of"]

#: What a function gets for its parameter where a row names the function alone.
_PARAMETERS = {"matern": 1.5, "polynomial": 2.0, "arc_cosine": 1.0, "threshold": 2.0, "coulomb": 0.5}


def sizes(row: Row) -> tuple[int, int, int, int]:
    """(points, targets, columns, dim) of a row, 0 targets where the points are the vertices of a graph.

    >>> from assay.conformance.interface.suite import Row
    >>> sizes(Row("smoke", "normal", "5/7x2:3")), sizes(Row("smoke", "normal", "5:3"))
    ((5, 7, 2, 3), (5, 0, 1, 3))
    """
    match = re.fullmatch(r"(\d+)(?:/(\d+))?(?:x(\d+))?:(\d+)", row.size)
    assert match is not None, f"size {row.size}: expected points/targets x columns : dim"
    n, m, columns, d = (int(word) if word else 0 for word in match.groups())
    return n, m, columns or 1, d


def words_of(row: Row) -> Mapping[str, str]:
    """The options of a row, as name → what stands behind the equals sign."""
    return {name: text for name, _, text in (option.partition("=") for option in row.options)}


def function_of(words: Mapping[str, str]) -> tuple[str, float]:
    """The function and the parameter that a row names, as in ``coulomb=0.5``; the Gaussian of ½ if it names none."""
    for name, text in words.items():
        if name in NAMES:
            return name, float(text) if text else _PARAMETERS.get(name, 1.0)
    return "gaussian", 0.5


def _grid(rng: Generator, n: int, d: int) -> Array:
    """Whole numbers: distances are exact, and many of them are equal."""
    return rng.integers(-2, 3, (n, d)).astype(np.float64)


def _line(rng: Generator, n: int, d: int) -> Array:
    """Points in a row along the first axis, closer and closer: the weights of neighbours differ widely."""
    made = 0.05 * rng.standard_normal((n, d))
    made[:, 0] += np.cumsum(np.exp2(-np.linspace(0, 4, n)))
    return made


def _clusters(rng: Generator, n: int, d: int) -> Array:
    """Two clusters: degrees are unequal, and few edges lead from one to the other."""
    second = np.arange(n) >= max(1, n // 3)
    return np.where(second[:, None], 1.5, -0.5) + 0.3 * rng.standard_normal((n, d))


def _star(rng: Generator, n: int, d: int) -> Array:
    """One point in the middle and the others around it: degrees are as unequal as they can be."""
    made = rng.standard_normal((n, d))
    made *= 2 / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-3)
    made[0] *= 1 / 16
    return made


def _equal(rng: Generator, n: int, d: int) -> Array:
    """Pairs of equal points."""
    made = rng.standard_normal((n, d))
    made[1::2] = made[: 2 * (n // 2) : 2]
    return made


def _origin(rng: Generator, n: int, d: int) -> Array:
    """Some point is 0."""
    made = 0.5 + np.abs(rng.standard_normal((n, d)))
    made[n // 2] = 0.0
    return made


def _outlier(rng: Generator, n: int, d: int) -> Array:
    made = 0.7 * rng.standard_normal((n, d))
    made[n // 2, 0] = 3000.0
    return made


def _late(rng: Generator, n: int, d: int) -> Array:
    """The last coordinate decides."""
    made = 0.02 * rng.standard_normal((n, d))
    made[:, -1] = 1.5 * rng.standard_normal(n)
    return made


def _boxes(rng: Generator, n: int, d: int) -> Array:
    """Points right beside the borders of boxes of side 2, on either side."""
    borders = 2.0 * rng.integers(-2, 3, (n, d))
    return np.asarray(borders + rng.choice([-1, 1], (n, d)) * np.exp2(-rng.integers(2, 7, (n, d)).astype(np.float64)))


def _period(rng: Generator, n: int, d: int) -> Array:
    """Points just below π and just above −π, and beyond 4π."""
    ends = np.array([np.pi - 3e-16, -np.pi + 3e-16, 4 * np.pi, -4 * np.pi, 3.5])
    spread: Array = 1 + 0.05 * rng.random((n, d)) * (rng.random((n, 1)) < 0.8)
    return np.asarray(rng.choice(ends, (n, d)) * spread)


def _far(distance: float) -> Callable[[Generator, int, int], Array]:
    return lambda rng, n, d: distance + rng.standard_normal((n, d))


#: What points are: (rng, n, d) → numbers.
POINTS: dict[str, Callable[[Generator, int, int], Array]] = {
    "normal": lambda rng, n, d: rng.standard_normal((n, d)),
    "cube": lambda rng, n, d: rng.random((n, d)),
    "grid": _grid,
    "line": _line,
    "clusters": _clusters,
    "star": _star,
    "pairs": _equal,
    "origin": _origin,
    "outlier": _outlier,
    "late": _late,
    "boxes": _boxes,
    "period": _period,
    "wide": lambda rng, n, d: 8.0 * rng.standard_normal((n, d)),
    "far-100": _far(100.0),
    "far-10000": _far(10000.0),
    "tiny": lambda rng, n, d: 1 + 1e-3 * rng.standard_normal((n, d)),
    "all-equal": lambda rng, n, d: np.tile(rng.standard_normal(d), (n, 1)),
}


def _on_the_sphere(made: Array) -> Array:
    norms = np.linalg.norm(made, axis=1, keepdims=True)
    unit = np.zeros_like(made)
    unit[:, 0] = 1.0
    return np.asarray(np.where(norms > 0, made / np.where(norms > 0, norms, 1), unit))


def placed(made: Array, function: str, parameter: float, storage: str, rng: Generator) -> NDArray[np.generic]:
    """Points in the type of a class: on the sphere for the arc-cosine, apart where the function is infinite at 0."""
    dtype = dtype_named(storage)
    sphere, apart = function == "arc_cosine", named(function, parameter).singular_at_zero
    stored: NDArray[np.generic] = (_on_the_sphere(made) if sphere else made).astype(dtype)
    step = 2.0**-6
    while apart and len(again := _repeated(stored)):
        made[again] += step * rng.standard_normal((len(again), made.shape[1])) * np.maximum(np.abs(made[again]), 1)
        stored, step = made.astype(dtype), 2 * step
    return stored


def _repeated(stored: NDArray[np.generic]) -> NDArray[np.intp]:
    """The rows that an earlier row equals."""
    _, first = np.unique(stored.astype(np.float64) + 0.0, axis=0, return_index=True)
    return np.setdiff1d(np.arange(len(stored)), first)


def other_points(points: NDArray[Any]) -> NDArray[Any]:
    """Coordinates backwards, and every second point negated: as large and on the sphere, and distances are others.

    Negating every point would keep all distances, so that another call would have the same graph.
    """
    turned = points.astype(np.float64)[:, ::-1] * (-1.0) ** np.arange(1, len(points) + 1)[:, None]
    return turned.astype(points.dtype)


def read(row: Row) -> tuple[Mapping[str, str], str, float]:
    """(options, function, parameter) of a row."""
    words = words_of(row)
    function, parameter = function_of(words)
    return words, function, parameter
