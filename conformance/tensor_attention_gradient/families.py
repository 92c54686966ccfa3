"""The families of the backward pass of attention of order k; sizes and orders are those of the forward pass."""

from __future__ import annotations

from dataclasses import replace

from assay.conformance.interface import families as shared
from assay.conformance.interface.suite import Family, Row
from assay.conformance.tensor_attention.combinations import COVERING as FORWARD
from assay.conformance.tensor_attention.families import TABLE as ATTENTION
from assay.conformance.tensor_attention.families import TYPICAL, of_orders, table_rows

__all__ = ["TABLE", "TYPICAL"]


def _family(
    identifier: str, hunts: str, source: str, smoke: str = "", standard: str = "", keeps: tuple[str, ...] = ()
) -> tuple[Family, tuple[Row, ...]]:
    rows = (*table_rows("smoke", smoke), *table_rows("standard", standard))
    return Family(identifier, hunts, source, keeps=keeps), of_orders(rows)


_OWN: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    _family("order-of-gradients", "gradients, or operands of the backward pass, in another order than declared: the modes exchanged", "pytorch/FBGEMM#4930",
        "1x1:3x4x4:4/4; 1x1:4x4x4:4/4; 1x2:3x4x5:4/3; unlike-modes 1x1:3x4x4:4/4", "large 1x2:6x6x6:8/8; 2x2:5x7x6:8/4"),
    _family("mode-gradients", "a factor of another mode left out of a gradient, or the scale", "assay's bank",
        "large 1x1:3x4x4:4/3; 1x1:4x3x5:4/2 scale=0.31", "large 2x2:5x6x6:8/4; 1x1:5x9x7:8/4; signs 1x2:4x5x5:8/4"),
    _family("mask-backward", "a causal mask or a window that the backward pass does not know, or takes for another mode", "Dao-AILab/flash-attention#2424, #2101; NVIDIA/TransformerEngine#1197, #1212",
        "1x1:5x5x5:4/3 causal; 1x1:7x7x7:4/3 window=3,2 causal; 1x1:6x6x6:4/3 window=2,3; 1x1:2x2x2:4/2 causal", "1x2:9x9x9:8/4 causal; 1x2:17x17x17:4/4 window=4,2 causal; 2x2:9x9x9:8/4 window=*,2 causal; 1x2:8x8x8:8/4 window=1,1 causal; 1x1:5x3x7:4/4 causal"),
    _family("peaked-rows", "gradients that are tiny where scores are huge, rows that attend to nothing", "aqlaboratory/openfold-3#271; NVIDIA/cuEquivariance#204",
        "steep 1x1:3x4x4:4/3; 1x1:7x4x4:4/3 window=2,2; planted 1x1:4x5x5:16/4", "steep 1x2:4x8x8:4/4; 1x2:9x4x5:8/4 window=2,3; planted 1x2:6x6x6:16/4 gradient=tiny; far-below 1x1:4x5x5:4/4 causal"),
    _family("groups", "gradients of grouped keys not added up, of the wrong group, or at another head's place", "XunhaoLai/native-sparse-attention-triton#27; fla-org/flash-linear-attention#384",
        "1x4/2:3x4x4:4/4; 1x6/2:4x3x4:4/3", "2x4/1:5x4x5:8/4; 1x6/3:4x5x4:8/4 causal; 2x8/2:4x4x4:4/4"),
    _family("tails-backward", "tails of queries or of the keys of a mode left out of sums over them", "flagos-ai/FlagGems#898, #2848",
        "1x2:17x3x4:4/3; 1x1:3x17x4:4/3; 1x1:3x4x17:4/3", "1x1:33x4x5:4/4; 1x1:4x33x5:4/4; 1x2:5x5x33:8/4; 1x1:65x3x3:4/4; 1x1:9x10x9:4/4 gradient=last-row"),
    _family("log-sum-exp-gradient", "a gradient of the log-sum-exp that is accepted and dropped", "Dao-AILab/flash-attention#1817, #141, #404; ByteDance-Seed/VeOmni#1021",
        "1x2:3x4x5:4/3 lse gradient=zero; 1x1:4x4x4:4/3 lse", "large 2x2:5x6x5:8/4 lse; 1x2:6x6x6:8/4 lse causal; 1x4/2:5x5x5:8/4 lse"),
    _family("value-dims", "columns of the values beyond those of the keys left out of dP", "XunhaoLai/native-sparse-attention-triton#27",
        "1x1:3x4x4:3/5", "1x2:4x5x5:8/17; 1x1:4x4x5:16/33; 1x1:3x4x4:65/66", keeps=("value_dim",)),
    _family("sizes-of-gradient", "gradients that vanish or overflow in a short type, rows of very different size", "NVIDIA/apex#1739",
        "1x1:3x4x4:4/4 gradient=tiny; 1x1:3x4x4:4/4 gradient=huge; 1x1:4x4x4:4/4 gradient=ones", "1x2:7x5x5:8/4 gradient=levels; 1x2:6x5x5:8/4 gradient=one-hot; huge-values 1x1:4x5x5:4/4; tiny-values 1x1:4x5x5:4/4; constant 1x2:5x6x5:4/4 gradient=positive"),
    _family("long-columns", "sums over many queries and combinations in a short type", "Dao-AILab/flash-attention#359, #2035, #2033",
        "positive-sum 1x1:200x2x3:2/2 gradient=positive", "positive-sum 1x1:700x2x2:2/2 gradient=ones; positive-sum 1x1:20x33x9:2/2 gradient=positive; 1x4/1:60x6x6:4/4 gradient=positive"),
)  # fmt: skip

_LEFT_OUT = ("log-sum-exp", "one-key", "values", "exp")
_LARGE = float(1 << 14)  # products, beyond which a row of the forward pass is left to ``thorough``: a gradient is dear


def _of_forward(family: Family, table: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows of a family of the forward pass: fewer at the lower levels, and calls with other gradients between."""
    kept = []
    for number, row in enumerate(table):
        usual = row.layout == "contiguous" and not row.after and not row.beside
        level = row.level
        if FORWARD.cost(row) > _LARGE:
            level = "thorough"
        elif level == "smoke" and usual and number % 2:
            level = "standard"
        elif level == "standard" and usual and number % 3:
            level = "thorough"
        kept.append(replace(row, level=level))
    if family is shared.STATE:
        kept += table_rows("smoke", "1x2:4x5x5:8/4", after="gradient")
        kept += table_rows("standard", "1x2:5x5x5:8/4 causal", after="same gradient")
    return tuple(kept)


#: Every family with its rows.
TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    *_OWN,
    *((family, _of_forward(family, table)) for family, table in ATTENTION if family.id not in _LEFT_OUT),
)
