"""The factors of which every pair of values is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.covering import Covering, Factor, Together, length
from assay.conformance.interface.suite import Row
from assay.conformance.kernel_graph.points import sizes

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["COVERING"]

_FACTORS = (
    Factor("points", {
        "normal": ("normal", "cube"),
        "uneven": ("line", "clusters", "star"),
        "far": ("far-100",),
        "outlier": ("outlier",),
    }, role="manner"),
    Factor("function", {
        "gaussian": ("gaussian=0.25", "gaussian=1"),
        "laplacian": ("laplacian=0.5",),
        "matern": ("matern=1.5",),
        "rational": ("rational=1.5",),
        "inverse_multiquadric": ("inverse_multiquadric=2",),
        "coulomb": ("coulomb=0.5",),
    }, {name: name for name in (
        "gaussian", "laplacian", "matern", "rational", "inverse_multiquadric", "coulomb",
    )}, role="manner"),
    Factor("right side", {
        "normal": ("b=normal",),
        "few": ("b=pole", "b=first"),
        "halves": ("b=halves",),
    }, role="manner"),
    Factor("number", {"few": ("2", "3", "5"), "tile": ("~8", "~16")}, role="size"),
    Factor("dim", {"one": ("1",), "few": ("2", "3"), "tile": ("~8",)}, role="size"),
    Factor("layout", {
        "plain": ("contiguous",),
        "cut out": ("gap", "offset", "spaced"),
        "turned": ("transposed", "reversed"),
    }, role="manner"),
)  # fmt: skip


#: An outlier belongs to no graph of a function that decays fast: it falls apart.
_DECAYED = Together({
    "points": frozenset({"outlier"}),
    "function": frozenset({"gaussian", "laplacian", "matern"}),
})  # fmt: skip


def _row(choice: Mapping[str, str], seed: int) -> Row:
    """The row of a choice; a length near a tile is one less, the tile, or one more."""
    rng = np.random.default_rng(seed)
    n, d = (length(choice[name], rng) for name in ("number", "dim"))
    return Row("standard", choice["points"], f"{n}:{d}", (choice["function"], choice["right side"]), choice["layout"])


def _cost(row: Row) -> float:
    n, _, _, d = sizes(row)
    return float(n**3 + n * n * d)


COVERING = Covering(_FACTORS, _row, _cost, (_DECAYED,))
