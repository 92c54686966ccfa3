"""The factors of which every pair of values is tried: the order, masks, windows, lengths of modes, heads, layouts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.covering import Covering, Factor, Together, length
from assay.conformance.interface.lengths import Axes
from assay.conformance.interface.suite import Row
from assay.conformance.tensor_attention.options import cost

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AXES", "COVERING", "OPTIONS", "lengths_of_order"]

#: Axes by the name under which a kernel declares their lengths; those whose inequality matters least come first.
AXES: dict[str, Axes] = {
    "dims": Axes(("dim", "value_dim"), (16, 8, 64, 32, 128, 4)),
    "heads": Axes(("heads", "key_heads"), (2, 1, 4, 8)),
    "lengths": Axes(("queries", "keys1", "keys2"), (16, 32, 8, 64, 1), multiples=True),
    "batch": Axes(("batch",), (1, 2, 4)),
}

#: The most keys of a mode, by order: there are as many combinations as the product of the lengths.
_MOST = {2: 1 << 20, 3: 1 << 20, 4: 7, 5: 4}
_MOST_QUERIES = 17  # of the higher orders

_FACTORS = (
    Factor("numbers", {
        "plain": ("normal", "integers"),
        "large": ("large", "row-levels"),
        "unlike": ("unlike-heads", "unlike-modes"),
    }, role="manner"),
    Factor(
        "order",
        {"three": ("3",), "two": ("2",), "four": ("4",), "five": ("5",)},
        {"three": "order_3", "two": "order_2", "four": "order_4", "five": "order_5"},
        role="size",
    ),
    Factor("causal", {"none": ("none",), "causal": ("causal",)}, {"causal": "causal"}),
    Factor(
        "window",
        {
            "none": ("none",),
            "short": ("window=3,2", "window=1,4"),
            "long": ("window=17,6",),
            "one": ("window=*,3", "window=4,*"),
        },
        {"none": "without_window", "short": "window", "long": "window", "one": "window_without_limit"},
    ),
    Factor("log-sum-exp", {"none": ("none",), "asked": ("lse",)}, {"asked": "return_lse"}),
    Factor("scale", {"usual": ("none",), "other": ("scale=-0.4217", "scale=0")}, {"other": "other_scale"}),
    Factor("queries", {"one": ("1",), "short": ("2", "7"), "tile": ("~16",), "longer": ("~32",)}, role="size"),
    Factor(
        "keys of mode 1",
        {"same": ("same",), "short": ("2", "6"), "tile": ("~16",), "longer": ("~32",)},
        dict.fromkeys(("short", "tile", "longer"), "cross_lengths"),
        role="size",
    ),
    Factor(
        "keys of others",
        {"same": ("same",), "short": ("3", "5"), "tile": ("~16",), "longer": ("~32",)},
        dict.fromkeys(("short", "tile", "longer"), "unlike_modes"),
        role="size",
    ),
    Factor("dim", {"small": ("4", "8"), "odd": ("5",), "wide": ("16", "33")}, role="size"),
    Factor("value dim", {"same": ("same",), "other": ("3", "five more")}, {"other": "value_dim"}, role="manner"),
    Factor(
        "heads",
        {"one": ("1x1", "2x1"), "several": ("1x2", "2x3"), "groups": ("1x4/2", "2x6/2", "1x4/1")},
        {"groups": "grouped_heads"},
        role="size",
    ),
    Factor("layout", {
        "contiguous": ("contiguous",),
        "permuted": ("permuted", "mixed"),
        "cut out": ("gap", "offset", "spaced"),
        "turned": ("transposed", "reversed"),
    }, role="manner"),
)  # fmt: skip

_CROSS = frozenset({"short", "tile", "longer"})
_WINDOWS = frozenset({"short", "long", "one"})
_TOGETHER = (
    Together({"causal": frozenset({"causal"}), "keys of mode 1": _CROSS}, "causal_cross_lengths"),
    Together({"causal": frozenset({"causal"}), "keys of others": _CROSS}, "causal_cross_lengths"),
    Together({"keys of mode 1": frozenset({"same"}), "keys of others": _CROSS}, "cross_lengths"),
    Together({"causal": frozenset({"none"}), "window": _WINDOWS}, "window_without_causal"),
    Together({"log-sum-exp": frozenset({"asked"}), "window": _WINDOWS, "keys of others": _CROSS}, "empty_row_lse"),
    Together({"log-sum-exp": frozenset({"asked"}), "window": _WINDOWS, "keys of mode 1": _CROSS}, "empty_row_lse"),
)  # fmt: skip
#: The factors that are options.
OPTIONS = ("causal", "window", "log-sum-exp", "scale")
_LARGE = float(1 << 17)  # products, beyond which a row has one head and few columns


def lengths_of_order(order: int, queries: int, first: int, others: int) -> tuple[int, ...]:
    """The lengths of a row of an order: as given for order 3, and shorter where there are more modes."""
    keys = (first, *(others,) * (order - 2))
    return (queries if order <= 3 else min(queries, _MOST_QUERIES), *(min(n, _MOST[order]) for n in keys))


def _row(choice: Mapping[str, str], seed: int) -> Row:
    """The row of a choice; a length near a tile is one less, the tile, or one more.  A large one has few heads."""
    rng = np.random.default_rng(seed)
    queries, dim, order = length(choice["queries"], rng), int(choice["dim"]), int(choice["order"])
    first = queries if choice["keys of mode 1"] == "same" else length(choice["keys of mode 1"], rng)
    others = first if choice["keys of others"] == "same" else length(choice["keys of others"], rng)
    value_dim = {"same": dim, "five more": dim + 5}.get(choice["value dim"]) or int(choice["value dim"])
    lengths = "x".join(str(n) for n in lengths_of_order(order, queries, first, others))
    options = tuple(choice[name] for name in OPTIONS if choice[name] != "none")
    row = Row("standard", choice["numbers"], f"{choice['heads']}:{lengths}:{dim}/{value_dim}", options)
    if cost(row) > _LARGE:
        heads = "1x2/1" if "/" in choice["heads"] else min(choice["heads"], "1x2")
        row = replace(row, size=f"{heads}:{lengths}:{min(dim, 5)}/{min(value_dim, 5 if dim == value_dim else 6)}")
    return replace(row, layout=choice["layout"])


COVERING = Covering(_FACTORS, _row, cost, _TOGETHER)
