"""The factors of attention: options, lengths, dims, heads and layouts, of which every pair of values is tried."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.attention.options import parse_shape
from assay.conformance.interface.covering import Covering, Factor, Together, length
from assay.conformance.interface.suite import Row

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["COVERING"]

_NONE = {"none": ("none",)}
#: Lengths: one, a few, about a tile of 16, 32, 64 or 128, beyond a tile, and many tiles.
_SHORT, _TILES, _BEYOND, _LONG = ("2", "8"), ("~16", "~32", "~64", "~128"), ("130", "200"), ("300", "600", "1100")

_FACTORS = (
    Factor("numbers", {
        "plain": ("normal", "integers"),
        "large": ("large", "row-levels"),
        "unlike": ("unlike-heads",),
        "shifted": ("shifted-down", "shifted-up"),
        "ramp": ("ramp-up", "ramp-down"),
        "alike": ("alike-queries", "constant"),
    }, role="manner"),
    Factor(
        "causal",
        {**_NONE, "top-left": ("causal",), "bottom-right": ("bottom-right",)},
        {"top-left": "causal_top_left", "bottom-right": "causal_bottom_right"},
    ),
    Factor(
        "window",
        {
            **_NONE,
            "window": tuple(f"window={sides}" for sides in ("5,0", "3,2", "*,1", "17,*", "0,*", "0,3", "70,5")),
        },
        {"window": "window"},
    ),
    Factor(
        "mask",
        {
            **_NONE,
            "random": ("mask", "mask-full", "mask-heads"),
            "padding": ("mask-padding", "mask-left"),
            "fewer axes": ("mask-three", "mask-two", "mask-one"),
            "empty": ("mask-empty", "mask-queries"),
        },
        dict.fromkeys(("random", "padding", "fewer axes", "empty"), "mask"),
    ),
    Factor(
        "bias",
        {
            **_NONE,
            "random": ("bias", "bias-full", "bias-heads"),
            "axes of one": ("bias-keys", "bias-queries"),
            "fewer axes": ("bias-three", "bias-two", "bias-one"),
            "wide": ("bias-wide",),
            "hiding": ("bias-padding", "bias-inf"),
        },
        {**dict.fromkeys(("random", "axes of one", "fewer axes", "hiding"), "bias"), "wide": "wide_bias"},
    ),
    Factor(
        "lengths",
        {**_NONE, "some": ("lengths",), "zero": ("lengths-zero",)},
        dict.fromkeys(("some", "zero"), "key_lengths"),
    ),
    Factor("softcap", {**_NONE, "softcap": ("softcap=1.7", "softcap=20.3")}, {"softcap": "softcap"}),
    Factor("sink", {**_NONE, "sink": ("sink",)}, {"sink": "sink"}),
    Factor("log-sum-exp", {**_NONE, "asked": ("lse",)}, {"asked": "return_lse"}),
    Factor("scale", {
        "usual": ("usual",),
        "zero": ("scale=0",),
        "negative": ("scale=-0.4217",),
        "tiny": ("scale=1e-9",),
    }),
    Factor("queries", {"one": ("1",), "short": _SHORT, "tile": _TILES, "beyond": _BEYOND}, role="size"),
    Factor(
        "keys",
        {"same": ("same",), "one": ("1",), "short": _SHORT, "tile": _TILES, "beyond": _BEYOND, "long": _LONG},
        dict.fromkeys(("one", "short", "tile", "beyond", "long"), "cross_lengths"),
        role="size",
    ),
    Factor("dim", {
        "small": ("8", "16"),
        "odd": ("1", "17", "33"),
        **{dim: (dim,) for dim in ("64", "96", "128", "256")},
    }, role="size"),
    Factor(
        "value dim",
        {"same": ("same",), "shorter": ("4", "32"), "longer": ("five more",)},
        dict.fromkeys(("shorter", "longer"), "value_dim"),
        role="manner",
    ),
    Factor(
        "heads",
        {
            "one": ("1x1", "2x1"),
            "several": ("1x3", "2x4", "1x12"),
            "groups": ("1x4/2", "2x6/2", "1x8/1", "3x2/1", "1x12/4"),
        },
        {"groups": "grouped_heads"},
        role="size",
    ),
    Factor("layout", {
        "contiguous": ("contiguous",),
        "permuted": ("permuted", "mixed"),
        "cut out": ("gap", "offset", "spaced"),
        "turned": ("transposed", "reversed"),
        "packed": ("packed",),
    }, role="manner"),
)  # fmt: skip

_ARE = {factor.name: frozenset(factor.kinds) for factor in _FACTORS}


def _but(factor: str, *kinds: str) -> frozenset[str]:
    return _ARE[factor] - frozenset(kinds)


_CAUSAL = _but("causal", "none")
_TOGETHER = (
    Together({"causal": _CAUSAL, "mask": _but("mask", "none")}, "causal_with_mask"),
    Together({"causal": _CAUSAL, "bias": _but("bias", "none")}, "causal_with_mask"),
    Together({"mask": _but("mask", "none"), "bias": _but("bias", "none")}, "bias_with_mask"),
    Together({"causal": _CAUSAL, "keys": _but("keys", "same")}, "causal_cross_lengths"),
    Together({"causal": _CAUSAL, "scale": frozenset({"zero", "negative"})}, "nonpositive_causal_scale"),
    Together({"log-sum-exp": frozenset({"asked"}), "mask": frozenset({"empty"})}, "empty_row_lse"),
    Together({"log-sum-exp": frozenset({"asked"}), "lengths": frozenset({"zero"})}, "empty_row_lse"),
    Together({"log-sum-exp": frozenset({"asked"}), "bias": frozenset({"hiding"})}, "empty_row_lse"),
    # slices of one array have one shape
    Together({"layout": frozenset({"packed"}), "keys": _but("keys", "same")}),
    Together({"layout": frozenset({"packed"}), "heads": frozenset({"groups"})}),
    Together({"layout": frozenset({"packed"}), "value dim": _but("value dim", "same")}),
)
_FEW = 5  # queries beside many keys
_LARGE = float(1 << 20)  # numbers, beyond which the reference takes long
_OPTIONS = ("causal", "window", "mask", "bias", "lengths", "softcap", "sink", "log-sum-exp", "scale")


def _row(choice: Mapping[str, str], seed: int) -> Row:
    """The row of a choice; a length near a tile is one less, the tile, or one more.  A large one has few heads."""
    rng = np.random.default_rng(seed)
    queries, dim = length(choice["queries"], rng), int(choice["dim"])
    keys = queries if choice["keys"] == "same" else length(choice["keys"], rng)
    if choice["keys"] in _LONG:
        queries = min(queries, _FEW)
    wider = {"same": dim, "five more": dim + 5}
    value_dim = wider.get(choice["value dim"]) or int(choice["value dim"])
    options = tuple(choice[name] for name in _OPTIONS if choice[name] not in ("none", "usual"))
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
