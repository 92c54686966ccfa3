"""The factors of which every pair of values is tried: positions, W, biases of offsets and the options of attention."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.attention.options import parse_shape
from assay.conformance.attention.sizes import AXES
from assay.conformance.attention.sizes import resized as resized_attention
from assay.conformance.interface.covering import Covering, Factor, Together, length
from assay.conformance.interface.suite import Row

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AXES", "COVERING", "resized"]

_NONE = {"none": ("none",)}
_SIZES = ("batch", "heads", "key_heads", "queries", "keys", "dim", "value_dim")


def resized(row: Row, lengths: Mapping[str, int]) -> Row:
    """The row with other lengths of some axes; what is given for an offset, or for a place of W, follows from these.

    >>> resized(Row("smoke", "normal", "1x2:5x7:8/4", ("relative",)), {"keys": 9, "offsets": 11}).size
    '1x2/2:5x9:8/4'
    """
    return resized_attention(row, {name: length for name, length in lengths.items() if name in _SIZES})


_FACTORS = (
    Factor("numbers", {
        "plain": ("normal", "integers"),
        "large": ("large", "row-levels"),
        "unlike": ("unlike-heads",),
    }, role="manner"),
    Factor("form", {
        "rotary": ("none",),
        "general": ("w=diagonal", "w=scattered", "w=blocks", "w=decaying", "w=near"),
    }, {"rotary": "rotary", "general": "general"}),
    Factor("layout of pairs", {"halves": ("none",), "pairs": ("pairs",)}, {"halves": "halves", "pairs": "pairs"}),
    Factor("rotated", {"all": ("none",), "some": ("half", "rotary=4")}, {"some": "partial"}),
    Factor("base", {"usual": ("none",), "other": ("base=100", "base=500000")}, {"other": "rotary"}),
    Factor("scaling", {
        **_NONE,
        "linear": ("linear=4",),
        "ntk": ("ntk=4",),
        "dynamic": ("dynamic=4,8",),
        "llama3": ("llama3=8,8192", "llama3=2,100"),
        "yarn": ("yarn=4,2048", "yarn=16,2048 magnitude=0.8", "yarn=8,300 untruncated"),
    }, {kind: kind for kind in ("linear", "ntk", "dynamic", "llama3", "yarn")}),
    Factor("positions", {
        "first": ("none",),
        "cached": ("cached", "from=3000"),
        "any": ("shuffled=700", "packed=3", "stretched=7", "backwards=40", "ends"),
        "apart": ("apart=100",),
        "rows": ("rows=60", "offsets=300", "ragged"),
        "negative": ("signed=9",),
    }, {
        "cached": "positions",
        "any": "any_positions",
        "apart": "positions",
        "rows": "batched_positions",
        "negative": "negative_positions",
    }),
    Factor("bias of offsets", {
        **_NONE,
        "random": ("relative", "relative-one"),
        "usual": ("alibi", "buckets", "banded"),
    }, dict.fromkeys(("random", "usual"), "relative_bias")),
    Factor(
        "causal",
        {**_NONE, "top-left": ("causal",), "bottom-right": ("bottom-right",)},
        {"top-left": "causal_top_left", "bottom-right": "causal_bottom_right"},
    ),
    Factor("window", {**_NONE, "window": ("window=5,0", "window=3,2", "window=*,1")}, {"window": "window"}),
    Factor("mask", {
        **_NONE,
        "random": ("mask", "mask-heads"),
        "padding": ("mask-padding", "mask-left"),
        "empty": ("mask-empty",),
    }, dict.fromkeys(("random", "padding", "empty"), "mask")),
    Factor("bias", {**_NONE, "random": ("bias", "bias-full", "bias-keys")}, {"random": "bias"}),
    Factor(
        "lengths",
        {**_NONE, "some": ("lengths",), "zero": ("lengths-zero",)},
        dict.fromkeys(("some", "zero"), "key_lengths"),
    ),
    Factor("softcap", {**_NONE, "softcap": ("softcap=1.7", "softcap=20.3")}, {"softcap": "softcap"}),
    Factor("sink", {**_NONE, "sink": ("sink",)}, {"sink": "sink"}),
    Factor("log-sum-exp", {**_NONE, "asked": ("lse",)}, {"asked": "return_lse"}),
    Factor("scale", {"usual": ("none",), "other": ("scale=-0.4217", "scale=0")}),
    Factor("queries", {"one": ("1",), "short": ("2", "8"), "tile": ("~16", "~32", "~64")}, role="size"),
    Factor(
        "keys",
        {"same": ("same",), "short": ("2", "8"), "tile": ("~16", "~32", "~64"), "beyond": ("130",)},
        dict.fromkeys(("short", "tile", "beyond"), "cross_lengths"),
        role="size",
    ),
    Factor("dim", {"small": ("8", "16"), "odd pairs": ("6", "10", "18"), "64": ("64",)}, role="size"),
    Factor(
        "value dim",
        {"same": ("same",), "other": ("4", "five more")},
        {"other": "value_dim"},
        role="manner",
    ),
    Factor("heads", {
        "one": ("1x1", "2x1"),
        "several": ("1x3", "2x4"),
        "groups": ("1x4/2", "2x6/2", "1x8/1"),
    }, {"groups": "grouped_heads"}, role="size"),
    Factor("layout", {
        "contiguous": ("contiguous",),
        "permuted": ("permuted", "mixed"),
        "cut out": ("gap", "offset", "spaced"),
        "turned": ("transposed", "reversed"),
    }, role="manner"),
)  # fmt: skip

_ARE = {factor.name: frozenset(factor.kinds) for factor in _FACTORS}


def _but(factor: str, *kinds: str) -> frozenset[str]:
    return _ARE[factor] - frozenset(kinds)


_CAUSAL, _GENERAL = _but("causal", "none"), frozenset({"general"})
_TOGETHER = (
    # the general form has no rotation
    Together({"form": _GENERAL, "layout of pairs": frozenset({"pairs"})}),
    Together({"form": _GENERAL, "rotated": frozenset({"some"})}),
    Together({"form": _GENERAL, "base": frozenset({"other"})}),
    Together({"form": _GENERAL, "scaling": _but("scaling", "none")}),
    Together({"form": _GENERAL, "positions": _but("positions", "first")}),
    Together({"positions": frozenset({"apart"})}, "unlike_positions"),
    # one bias
    Together({"bias of offsets": _but("bias of offsets", "none"), "bias": frozenset({"random"})}),
    Together({"causal": _CAUSAL, "mask": _but("mask", "none")}, "causal_with_mask"),
    Together({"causal": _CAUSAL, "bias": _but("bias", "none")}, "causal_with_mask"),
    Together({"causal": _CAUSAL, "bias of offsets": _but("bias of offsets", "none")}, "causal_with_mask"),
    Together({"mask": _but("mask", "none"), "bias": _but("bias", "none")}, "bias_with_mask"),
    Together({"mask": _but("mask", "none"), "bias of offsets": _but("bias of offsets", "none")}, "bias_with_mask"),
    Together({"causal": _CAUSAL, "keys": _but("keys", "same")}, "causal_cross_lengths"),
    Together({"causal": _CAUSAL, "scale": frozenset({"other"})}, "nonpositive_causal_scale"),
    Together({"log-sum-exp": frozenset({"asked"}), "mask": frozenset({"empty"})}, "empty_row_lse"),
    Together({"log-sum-exp": frozenset({"asked"}), "lengths": frozenset({"zero"})}, "empty_row_lse"),
)
_OPTIONS = (
    "form", "layout of pairs", "rotated", "base", "scaling", "positions", "bias of offsets", "causal", "window", "mask",
    "bias", "lengths", "softcap", "sink", "log-sum-exp", "scale",
)  # fmt: skip
_LARGE = float(1 << 18)  # numbers, beyond which the reference takes long


def _row(choice: Mapping[str, str], seed: int) -> Row:
    """The row of a choice; a length near a tile is one less, the tile, or one more.  A large one has few heads."""
    rng = np.random.default_rng(seed)
    queries, dim = length(choice["queries"], rng), int(choice["dim"])
    keys = queries if choice["keys"] == "same" else length(choice["keys"], rng)
    value_dim = {"same": dim, "five more": dim + 5}.get(choice["value dim"]) or int(choice["value dim"])
    words = {
        **choice,
        "rotated": f"rotary={max(4, dim // 4 * 2)}" if choice["rotated"] == "half" else choice["rotated"],
    }
    options = tuple(" ".join(words[name] for name in _OPTIONS if words[name] != "none").split())
    row = Row("standard", choice["numbers"], f"{choice['heads']}:{queries}x{keys}:{dim}/{value_dim}", options)
    if _cost(row) > _LARGE:
        heads = "1x2/1" if "/" in choice["heads"] else min(choice["heads"], "1x2")
        row = replace(row, size=f"{heads}:{queries}x{keys}:{dim}/{value_dim}")
    return replace(row, layout=choice["layout"])


def _cost(row: Row) -> float:
    """Numbers that the reference takes in hand."""
    s = parse_shape(row.size)
    return float(s.batch * s.heads * s.queries * s.keys * (s.dim + 2 * s.value_dim))


COVERING = Covering(_FACTORS, _row, _cost, _TOGETHER)
