"""The factors of which every pair of values is tried, and what may decide whether a sparsifier fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.covering import Covering, Factor, length
from assay.conformance.interface.suite import Row
from assay.conformance.kernel_graph.graphs import FEATURES as OF_GRAPHS
from assay.conformance.kernel_graph.rows import FUNCTION, LAYOUT, cost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from assay.spec.kernel_graph_sparsify import Instance

__all__ = ["COVERING", "FEATURES"]

_FACTORS = (
    Factor("points", {
        "normal": ("normal", "cube"),
        "uneven": ("line", "clusters", "star"),
        "far": ("far-100",),
    }, role="manner"),
    FUNCTION,
    Factor("error", {"small": ("e=0.1",), "usual": ("e=0.3",), "large": ("e=0.7",)}, role="manner"),
    Factor("number", {"few": ("2", "3", "5"), "tile": ("~8", "~16"), "more": ("24",)}, role="size"),
    Factor("dim", {"one": ("1",), "few": ("2", "3"), "tile": ("~8",)}, role="size"),
    LAYOUT,
)  # fmt: skip


def _row(choice: Mapping[str, str], seed: int) -> Row:
    """The row of a choice; a length near a tile is one less, the tile, or one more."""
    rng = np.random.default_rng(seed)
    n, d = (length(choice[name], rng) for name in ("number", "dim"))
    options = (choice["function"], choice["error"], f"seed={seed % 1000}")
    return Row("standard", choice["points"], f"{n}:{d}", options, choice["layout"])


COVERING = Covering(_FACTORS, _row, cost)

#: Words that follow "fails when" → whether it holds of an instance.
FEATURES: Mapping[str, Callable[[Instance], bool]] = {
    **OF_GRAPHS,
    "the error is above 1/2": lambda i: i.error > 0.5,
    "the seed is not 0": lambda i: i.seed != 0,
}
