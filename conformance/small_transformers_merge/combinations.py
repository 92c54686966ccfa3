"""The sizes that merges limit, and the factors of which every pair of values is tried."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.covering import Covering, Factor, length
from assay.conformance.interface.lengths import Axes
from assay.conformance.interface.suite import Row
from assay.conformance.small_transformers_merge.options import sizes

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AXES", "COVERING"]

#: Axes by the name under which a kernel declares their lengths.
AXES: dict[str, Axes] = {
    "value_dim": Axes(("value_dim",), (64, 128, 32, 16, 256, 8, 96, 80, 4)),
    "heads": Axes(("heads",), (2, 1, 8, 4, 16, 32)),
    "queries": Axes(("queries",), (1, 16, 64, 128, 8), multiples=True),
    "batch": Axes(("batch",), (1, 2, 4, 8)),
    "parts": Axes(("parts",), (2, 4, 8, 16, 1)),
}

_FACTORS = (
    Factor("log-sum-exps", {
        "near": ("normal", "apart"),
        "ties": ("equal", "equal-maxima"),
        "in order": ("rising", "falling"),
        "far apart": ("dominated", "spread"),
        "far from 0": ("far", "huge", "tiny"),
    }, role="manner"),
    Factor("outputs", {
        "normal": ("outputs=normal",),
        "unlike": ("outputs=unlike",),
        "other sizes": ("outputs=large", "outputs=small"),
    }, role="manner"),
    Factor(
        "empty parts",
        {
            "none": ("none",),
            "some": ("empty=one", "empty=last", "empty=one filler"),
            "first": ("empty=first",),
            "first two": ("empty=first-two", "empty=most"),
            "all": ("empty=row", "empty=head", "empty=row filler"),
        },
        {
            "some": "empty_parts",
            "first": "first_part_empty",
            "first two": "first_two_parts_empty",
            "all": "all_parts_empty",
        },
    ),
    Factor(
        "sink", {"none": ("none",), "sink": ("sink", "sink=large", "sink=small")}, {"sink": "sink"}
    ),
    Factor("log-sum-exp", {"none": ("none",), "returned": ("lse",)}, {"returned": "return_lse"}),
    Factor(
        "parts",
        {"two": ("2",), "one": ("1",), "few": ("3", "5"), "many": ("8", "17")},
        {"one": "one_part", "few": "many_parts", "many": "many_parts"},
        role="size",
    ),
    Factor("batch", {"one": ("1",), "more": ("2", "3")}, role="size"),
    Factor("heads", {"one": ("1",), "more": ("2", "3", "5")}, role="size"),
    Factor("queries", {"one": ("1",), "few": ("4", "7"), "tile": ("~16", "~32")}, role="size"),
    Factor("value dim", {"one": ("1",), "few": ("4", "5"), "tile": ("~16", "~32")}, role="size"),
    Factor("layout", {
        "plain": ("contiguous",),
        "permuted": ("permuted", "transposed"),
        "cut out": ("gap", "offset", "spaced", "reversed"),
    }, role="manner"),
)  # fmt: skip


def _row(choice: Mapping[str, str], seed: int) -> Row:
    """The row of a choice; a length near a tile is one less, the tile, or one more."""
    rng = np.random.default_rng(seed)
    rest = "x".join(str(length(choice[name], rng)) for name in ("batch", "heads", "queries", "value dim"))
    words = (choice[name] for name in ("outputs", "empty parts", "sink", "log-sum-exp"))
    options = tuple(word for words_of_one in words for word in words_of_one.split() if word != "none")
    return Row("standard", choice["log-sum-exps"], f"{choice['parts']}:{rest}", options, choice["layout"])


def _cost(row: Row) -> float:
    return float(math.prod(sizes(row)))


COVERING = Covering(_FACTORS, _row, _cost)
