"""The factors of which every pair of values is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.covering import Covering, Factor, Together, length
from assay.conformance.interface.suite import Row
from assay.conformance.kernel_graph.rows import FUNCTION, LAYOUT, cost

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
    FUNCTION,
    Factor("right side", {
        "normal": ("b=normal",),
        "few": ("b=pole", "b=first"),
        "halves": ("b=halves",),
    }, role="manner"),
    Factor("number", {"few": ("2", "3", "5"), "tile": ("~8", "~16")}, role="size"),
    Factor("dim", {"one": ("1",), "few": ("2", "3"), "tile": ("~8",)}, role="size"),
    LAYOUT,
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


COVERING = Covering(_FACTORS, _row, cost, (_DECAYED,))
