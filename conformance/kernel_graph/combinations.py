"""The factors of which every pair of values is tried, and what may decide whether a kernel fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.covering import Covering, Factor, Together, length
from assay.conformance.interface.suite import Row
from assay.conformance.kernel_graph.points import sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from assay.spec.kernel_graph import Instance

__all__ = ["COVERING", "FEATURES", "squares"]

_DECAYING = ("gaussian=0.5", "laplacian=1", "matern=1.5")
_FACTORS = (
    Factor("points", {
        "normal": ("normal", "cube"),
        "uneven": ("line", "clusters", "star", "origin"),
        "equal": ("pairs", "grid"),
        "far": ("far-100", "tiny", "outlier"),
    }, role="manner"),
    Factor("function", {
        "gaussian": ("gaussian=0.5", "gaussian=3"),
        "laplacian": ("laplacian=1",),
        "matern": ("matern=0.5", "matern=2.5"),
        "rational": ("rational=1.5",),
        "inverse_multiquadric": ("inverse_multiquadric=2",),
        "polynomial": ("polynomial=2", "polynomial=3"),
        "coulomb": ("coulomb=0.5",),
        "threshold": ("threshold=3",),
        "arc_cosine": ("arc_cosine=0", "arc_cosine=1"),
    }, {name: name for name in (
        "gaussian", "laplacian", "matern", "rational", "inverse_multiquadric", "polynomial", "coulomb", "threshold",
        "arc_cosine",
    )}, role="manner"),
    Factor("asked", {
        "graph": ("plain",),
        "laplacian": ("degrees",),
        "diagonal": ("diagonal=0.75",),
        "targets": ("targets",),
    }, {"graph": "graph", "laplacian": "laplacian_of_graph", "diagonal": "diagonal", "targets": "targets"}),
    Factor("vectors", {"normal": ("v=normal", "v=unlike"), "plain": ("v=ones", "v=unit", "v=last")}, role="manner"),
    Factor("number", {"one": ("1",), "few": ("2", "5"), "tile": ("~8", "~16", "~32"), "more": ("26",)}, role="size"),
    Factor("targets", {"few": ("1", "4"), "tile": ("~8", "~16")}, role="size"),
    Factor("columns", {"one": ("1",), "more": ("2", "3", "~8")}, {"more": "several_columns"}, role="size"),
    Factor("dim", {"one": ("1",), "few": ("2", "3"), "tile": ("~8", "~16")}, role="size"),
    Factor("layout", {
        "plain": ("contiguous",),
        "cut out": ("gap", "offset", "spaced"),
        "turned": ("transposed", "reversed"),
    }, role="manner"),
)  # fmt: skip


def _row(choice: Mapping[str, str], seed: int) -> Row:
    """The row of a choice; a length near a tile is one less, the tile, or one more."""
    rng = np.random.default_rng(seed)
    n, m, columns, d = (length(choice[name], rng) for name in ("number", "targets", "columns", "dim"))
    between = f"/{m}" if choice["asked"] == "targets" else ""
    asked = (choice["asked"],) if choice["asked"] not in ("plain", "targets") else ()
    options = (choice["function"], *asked, choice["vectors"])
    return Row("standard", choice["points"], f"{n}{between}x{columns}:{d}", options, choice["layout"])


def _cost(row: Row) -> float:
    n, m, columns, d = sizes(row)
    return float(n * (m or n) * (4 + d) + n * columns)


_ALONE = Together(
    {"asked": frozenset({"graph", "laplacian", "diagonal"}), "number": frozenset({"one"})}, needs="one_point"
)
COVERING = Covering(_FACTORS, _row, _cost, (_ALONE,))


def squares(instance: Instance) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Squared distances of targets, or points, and points, in float64."""
    points = instance.points.astype(np.float64)
    rows = points if instance.targets is None else instance.targets.astype(np.float64)
    total = np.zeros((len(rows), len(points)))
    for c in range(points.shape[1]):
        total += np.square(rows[:, c, None] - points[:, c])
    return total


def _pairs(holds: Callable[[np.ndarray[tuple[int, int], np.dtype[np.float64]]], bool]) -> Callable[[Instance], bool]:
    """Whether it holds of the squared distances of pairs; a vertex and itself are none."""

    def of(instance: Instance) -> bool:
        z = squares(instance)
        return holds(z[~np.eye(len(z), dtype=bool)] if instance.targets is None else z)

    return of


def _away(instance: Instance) -> bool:
    """Points lie farther from the origin than ten times their extent."""
    points = instance.points.astype(np.float64)
    return bool((np.abs(points).max(axis=0) > 10 * np.ptp(points, axis=0)).any())


#: Words that follow "fails when" → whether it holds of an instance.
FEATURES: Mapping[str, Callable[[Instance], bool]] = {
    "points lie far from the origin, compared with their distances": _away,
    "two points are equal": _pairs(lambda z: bool((z == 0).any())),
    "a point is the origin": lambda i: bool((i.points.astype(np.float64) == 0).all(axis=1).any()),
    "there are targets": lambda i: i.targets is not None,
    "there is one point": lambda i: len(i.points) == 1,
    "there are more than 25 points": lambda i: len(i.points) > 25,
    "there are as many targets as points": lambda i: i.targets is not None and len(i.targets) == len(i.points),
    "the parameter is no integer": lambda i: not float(i.parameter).is_integer(),
    "the parameter is not 1": lambda i: i.parameter != 1.0,
    "there is more than one column": lambda i: i.vectors.shape[1] > 1,
    "a coordinate is above π in size": lambda i: bool((np.abs(i.points.astype(np.float64)) > np.pi).any()),
    "a distance is below 2^-6": _pairs(lambda z: bool((z < 2.0**-12).any())),
    "a distance is above 2^6": _pairs(lambda z: bool((z > 2.0**12).any())),
}
