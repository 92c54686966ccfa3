"""The sizes that rotary kernels limit, and the factors of which every pair of values is tried."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.covering import Covering, Factor, length
from assay.conformance.interface.lengths import Axes
from assay.conformance.interface.suite import Row
from assay.conformance.rope.options import sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from assay.spec.rope import Instance

__all__ = ["AXES", "COVERING", "FEATURES", "resized"]

#: Axes by the name under which a kernel declares their lengths.
AXES: dict[str, Axes] = {
    "dims": Axes(("dim",), (64, 128, 32, 16, 256, 8, 96, 80, 48, 40, 24, 4)),
    "heads": Axes(("heads", "key_heads"), (2, 1, 8, 4, 16, 32)),
    "lengths": Axes(("length",), (128, 256, 64, 512, 32, 16, 8, 1), multiples=True),
    "batch": Axes(("batch",), (1, 2, 4, 8)),
}


def resized(row: Row, lengths: Mapping[str, int]) -> Row:
    """The row with other lengths of some axes, in the words of the table.

    >>> from assay.conformance.interface.suite import Row
    >>> resized(Row("smoke", "normal", "1x2/1:5:8"), {"dim": 64, "length": 128}).size
    '1x2/1:128:64'
    """
    names = ("batch", "heads", "key_heads", "length", "dim")
    b, h, h_k, n, d = (lengths.get(name, size) for name, size in zip(names, sizes(row), strict=True))
    return replace(row, size=f"{b}x{h}/{h_k}:{n}:{d}")


_FACTORS = (
    Factor("numbers", {
        "plain": ("normal",),
        "sizes": ("spread", "large", "small"),
        "units": ("units",),
    }, role="manner"),
    Factor("layout of pairs", {"halves": ("halves",), "pairs": ("pairs",)}, {"halves": "halves", "pairs": "pairs"}),
    Factor("rotated", {"all": ("all",), "some": ("half", "few")}, {"some": "partial"}),
    Factor("base", {"usual": ("usual",), "other": ("base=100", "base=500000")}),
    Factor(
        "scaling",
        {
            "none": ("none",),
            "linear": ("linear=4", "linear=1.5"),
            "ntk": ("ntk=4",),
            "dynamic": ("dynamic=4,8", "dynamic=2,100"),
            "llama3": ("llama3=8,8192", "llama3=2,100"),
            "yarn": (
                *("yarn=4,2048", "yarn=8,300 whole"),
                *("yarn=16,2048 magnitude=0.8", "yarn=4,1000 whole magnitude=1.3"),
            ),
        },
        {kind: kind for kind in ("linear", "ntk", "dynamic", "llama3", "yarn")},
    ),
    Factor(
        "positions",
        {
            "first": ("none",),
            "later": ("from=1", "from=3000"),
            "any": ("shuffled=700", "repeated=5", "packed=3", "stretched=7", "backwards=40", "ends"),
            "rows": ("rows=60", "offsets=300", "padded"),
            "negative": ("signed=9", "signed-rows=40"),
        },
        {
            "later": "offset_positions",
            "any": "any_positions",
            "rows": "batched_positions",
            "negative": "negative_positions",
        },
    ),
    Factor(
        "heads",
        {"one": ("1x1/1", "2x1/1"), "several": ("1x3/3", "3x4/4"), "groups": ("1x4/1", "2x4/2", "3x6/2")},
        {"groups": "grouped_heads"},
        role="size",
    ),
    Factor("length", {
        "one": ("1",),
        "short": ("2", "8"),
        "tile": ("~16", "~32", "~64", "~128"),
        "beyond": ("130", "200"),
    }, role="size"),
    Factor("dim", {
        "small": ("8", "16"),
        "odd pairs": ("10", "18", "34"),
        **{dim: (dim,) for dim in ("64", "96", "128", "256")},
    }, role="size"),
    Factor("layout", {
        "contiguous": ("contiguous",),
        "permuted": ("permuted", "mixed"),
        "cut out": ("gap", "offset", "spaced"),
        "turned": ("transposed", "reversed"),
    }, role="manner"),
)  # fmt: skip


_LARGE = float(1 << 16)  # numbers, beyond which the reference takes long


def _row(choice: Mapping[str, str], seed: int) -> Row:
    """The row of a choice; a length near a tile is one less, the tile, or one more.  A large one has few heads."""
    tokens, dim = length(choice["length"], np.random.default_rng(seed)), int(choice["dim"])
    rotated = {"all": "all", "half": f"rotary={dim // 4 * 2}", "few": "rotary=4"}[choice["rotated"]]
    chosen = (choice["layout of pairs"], rotated, choice["base"], choice["scaling"], choice["positions"])
    options = tuple(" ".join(option for option in chosen if option not in ("halves", "all", "usual", "none")).split())
    row = Row("standard", choice["numbers"], f"{choice['heads']}:{tokens}:{dim}", options, choice["layout"])
    if _cost(row) <= _LARGE:
        return row
    b, h, h_k, _, _ = sizes(row)
    return resized(row, {"batch": min(b, 2), "heads": 1 + (h > h_k), "key_heads": 1})


def _cost(row: Row) -> float:
    """Numbers that the reference takes in hand."""
    b, h, h_k, n, d = sizes(row)
    return float(b * (h + h_k) * n * d)


COVERING = Covering(_FACTORS, _row, _cost)


def _beyond(position: int) -> Callable[[Instance], bool]:
    return lambda instance: bool(np.abs(instance.positions).max() >= position)


#: Words that follow "fails when" → whether it holds of an instance.
FEATURES: Mapping[str, Callable[[Instance], bool]] = {
    "a position is negative": lambda i: bool(i.positions.min() < 0),
    "a first position is not 0": lambda i: bool((i.positions[..., 0] != 0).any()),
    "positions are not consecutive": lambda i: bool((np.diff(i.positions, axis=-1) != 1).any()),
    "the last position is not the largest": lambda i: bool(i.positions.flat[-1] < i.positions.max()),
    "positions differ between batches": lambda i: i.positions.ndim == 2 and bool((i.positions != i.positions[0]).any()),
    "the base is above 10000": lambda i: i.base > 10000,
    "the base is below 10000": lambda i: i.base < 10000,
    "the number of pairs is odd": lambda i: i.rotated % 4 == 2,
    "the positions reach the original length": lambda i: _beyond(i.original_length or 1 << 62)(i),
    **{f"a position is at least {n}": _beyond(n) for n in (256, 2048, 4096, 8192, 32768, 131072, 1 << 20, 1 << 24)},
}
