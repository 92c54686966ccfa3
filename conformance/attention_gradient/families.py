"""The families of the backward pass: those of attention on which a backward pass goes wrong too, and its own.

Sizes are "batch×heads/key heads: queries×keys: dim/value dim"; parts may be left out ("17" is 1×1/1: 17×17: 8/8).
"""

from __future__ import annotations

from dataclasses import replace

from assay.conformance.attention.combinations import COVERING
from assay.conformance.attention.families import TABLE as ATTENTION
from assay.conformance.attention.families import TYPICAL
from assay.conformance.interface import families as shared
from assay.conformance.interface.suite import Family, Row, rows

__all__ = ["TABLE", "TYPICAL"]

_OWN: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    (
        Family("any-input", "gradients exchanged, a factor left out, a term of dS forgotten", "ooples/AiDotNet.Tensors#49"),
        rows("smoke", "normal", "1x1:3x5:4/2 1x1:4x4:4/4 1x2:5x7:3/6 2x2:6x6:8/8")
        + rows("standard", "normal", "1x1:2x2:1/1 1x1:16x16:16/16 1x3:9x4:5/3"),
    ),
    (
        Family("mask-backward", "a mask, a window, a score function or a list of blocks that the forward pass alone gets", "Dao-AILab/flash-attention#2424, #2101, #443"),
        rows("smoke", "normal", "1x1:1x2:2/2 1x1:2x2:4/4 1x2:5x9:8/4", "mask")
        + rows("smoke", "normal", "1x1:4x4:4/4 1x2:9x9:8/8", "causal")
        + rows("smoke", "normal", "1x1:4x4:4/4", "window=1,1")
        + rows("standard", "normal", "1x2:33x33:16/16", "causal")
        + rows("standard", "normal", "2x2:5x9:8/4", "lengths")
        + rows("standard", "normal", "1x1:4x4:4/4 1x2:12x12:8/8", "window=1,0")
        + rows("standard", "normal", "2x2:5x9:8/4", "bias-padding")
        + rows("standard", "large", "2x2:9x17:8/4", "mask", "causal")
        + rows("standard", "normal", "1x2:70x70:16/16", "mask", "causal"),
    ),
    (
        Family("window-backward", "a window one key too short or too long in one pass, which wide windows do not show", "NVIDIA/TransformerEngine#1197, #1212"),
        rows("smoke", "normal", "1x1:4x4:4/4", "window=1,0")
        + rows("standard", "normal", "1x1:4x4:4/4 1x2:33x33:8/8", "window=0,1")
        + rows("standard", "normal", "1x1:7x7:4/4 1x2:40x40:8/8", "window=2,1", "causal"),
    ),
    (
        Family("head-dims", "a backward pass that is right at the head dimension at which it was tried", "Dao-AILab/flash-attention#2623"),
        rows("smoke", "normal", "1x1:17x17:64/64", "causal")
        + rows("standard", "normal", "1x1:9x9:40/40 1x1:9x9:72/72 1x1:9x9:80/80 1x1:9x9:96/96 1x1:9x9:128/128", "causal")
        + rows("standard", "normal", "1x1:9x9:192/128 1x1:9x9:256/256 1x1:5x9:1/1 1x1:5x9:33/33"),
    ),
    (
        Family("value-dims", "columns of the values beyond those of the keys left out of dP = dO Vᵀ", "XunhaoLai/native-sparse-attention-triton#27", keeps=("value_dim",)),
        rows("smoke", "normal", "1x1:5x7:4/6 1x1:5x7:8/3")
        + rows("standard", "normal", "1x2:9x17:16/32 1x2:9x17:64/80 1x2:9x17:64/128"),
    ),
    (
        Family("groups", "gradients of grouped keys not added up, at the query head's place, or of the wrong group", "XunhaoLai/native-sparse-attention-triton#27; fla-org/flash-linear-attention#384; marin-community/levanter#449"),
        rows("smoke", "normal", "1x6/2:5x7:8/4 1x2/1:5x7:8/4")
        + rows("standard", "normal", "2x6/2:9x17:8/8 2x8/1:5x9:8/4 1x4/2:33x17:16/16 1x6/3:4x4:4/4")
        + rows("standard", "normal", "2x4/2:9x9:8/8", "causal")
        + rows("standard", "unlike-heads", "1x4/2:9x17:16/16"),
    ),
    (
        Family("tails-backward", "the tail of a head added to the next head's gradients, a last tile left out", "flagos-ai/FlagGems#898, #2848"),
        rows("smoke", "normal", "1x2:65x65:8/8 1x2:17x33:8/4")
        + rows("standard", "normal", "2x2:63x66:8/8 1x3:129x65:8/8 1x2:65x129:16/16 1x3:31x15:8/8")
        + rows("standard", "normal", "1x2:65x65:8/8", "causal", "gradient=last-row"),
    ),
    (
        Family("layout-of-gradient", "grad_output, or the output beside it, taken for contiguous or for one order of axes", "Dao-AILab/flash-attention#355, #1149; flagos-ai/FlagAttention#1; pytorch/pytorch#133671"),
        rows("smoke", "normal", "2x3:5x7:8/6", layout="permuted")
        + rows("smoke", "normal", "2x3:5x7:8/6", layout="mixed")
        + rows("smoke", "normal", "2x3:5x7:8/6", layout="transposed")
        + rows("standard", "normal", "2x3:5x7:8/8", "gradient=ones", layout="expanded")
        + rows("standard", "normal", "2x2:34x70:16/16 2x4/2:17x17:16/16", layout="mixed"),
    ),
    (
        Family("log-sum-exp-gradient", "a gradient of the log-sum-exp that is accepted and dropped", "Dao-AILab/flash-attention#1817, #141, #404; ByteDance-Seed/VeOmni#1021"),
        rows("smoke", "normal", "1x2:5x9:8/4", "lse", "gradient=zero")
        + rows("smoke", "normal", "1x2:5x9:8/4", "lse")
        + rows("standard", "large", "2x2:9x17:8/8", "lse", "gradient=zero")
        + rows("standard", "normal", "1x2:9x9:8/8", "lse", "causal")
        + rows("standard", "normal", "1x4/2:9x17:8/8", "lse")
        + rows("standard", "normal", "2x2:5x9:8/4", "lse", "sink")
        + rows("standard", "large", "1x2:5x9:8/4", "lse", "softcap=2.3"),
    ),
    (
        Family("softcap-gradient", "the factor 1 − tanh² of a softcap left out or taken of another number", "Dao-AILab/flash-attention#2402, #1033"),
        rows("smoke", "large", "1x1:5x9:8/4", "softcap=1")
        + rows("smoke", "large", "1x2:5x9:8/4", "softcap=3.1", "bias")
        + rows("standard", "saturating", "1x2:9x17:8/4", "softcap=1")
        + rows("standard", "large", "1x2:9x17:8/4", "softcap=2.9", "causal")
        + rows("standard", "large", "1x2:9x17:8/4", "softcap=0.31", "mask"),
    ),
    (
        Family("sink-gradient", "a sink that the backward pass ignores, or whose gradient is computed and dropped", "Dao-AILab/flash-attention#1973, #2102; ISEEKYAN/Megatron-LM#205"),
        rows("smoke", "normal", "1x2:5x9:8/4", "sink")
        + rows("smoke", "shifted-down", "2x2:5x9:8/4", "sink")
        + rows("standard", "normal", "3x4/2:9x9:8/4", "sink", "causal")
        + rows("standard", "normal", "2x2:5x9:8/4", "sink", "gradient=positive"),
    ),
    (
        Family("bias-gradient", "the gradient of a bias scaled, not added up where the bias is broadcast, or left at 0", "NVIDIA/cuEquivariance#204; aqlaboratory/openfold-3#271"),
        rows("smoke", "odd-scale", "2x3:5x9:8/4", "bias-full")
        + rows("smoke", "odd-scale", "2x3:5x9:8/4", "bias")
        + rows("smoke", "normal", "2x3:5x9:8/4", "bias-one")
        + rows("standard", "odd-scale", "2x3:5x9:8/4", "bias-three")
        + rows("standard", "odd-scale", "2x3:5x9:8/4", "bias-two")
        + rows("standard", "odd-scale", "2x3:5x9:8/4", "bias-keys")
        + rows("standard", "odd-scale", "2x3:5x9:8/4", "bias-queries")
        + rows("standard", "large", "2x3:5x9:8/4", "bias-full", "gradient=tiny"),
    ),
    (
        Family("common-keys", "a δ in a short type: what all keys have in common multiplies it", "assay's bank"),
        rows("smoke", "normal", "1x2:5x17:8/8", "common=8")
        + rows("standard", "normal", "1x2:5x65:8/8 1x1:9x129:16/16", "common=8", "gradient=positive")
        + rows("standard", "zero-scores", "1x1:3x33:8/8", "common=4", "gradient=positive"),
    ),
    (
        Family("no-difference", "differences g − δ that are 0: one key, constant values, one key that takes all", "assay's bank"),
        rows("smoke", "normal", "1x2:3x1:8/4")
        + rows("smoke", "constant", "1x1:5x9:8/4")
        + rows("standard", "constant", "1x2:9x33:16/16", "gradient=positive")
        + rows("standard", "planted", "1x1:9x33:16/16", "scale=3.7"),
    ),
    (
        Family("not-finite", "NaN for finite inputs: huge logits, large batches, lengths off the tile under masks", "pytorch/pytorch#119320, #125674, #153799, #158212; Dao-AILab/flash-attention#443"),
        rows("smoke", "large", "1x1:9x17:8/8", "scale=9.3")
        + rows("smoke", "normal", "2x2:5x9:8/4", "mask-empty")
        + rows("smoke", "shifted-down", "1x1:5x40:8/4")
        + rows("standard", "normal", "3000x1:2x3:4/4")
        + rows("standard", "normal", "1x2:129x129:8/8", "mask-first", "softcap=2.1")
        + rows("standard", "normal", "2x2:33x65:8/8", "mask-empty", "causal")
        + rows("standard", "normal", "2x1:9x17:8/8", "lengths-zero")
        + rows("standard", "normal", "2x2:5x9:8/4", "mask-empty", "sink")
        + rows("standard", "normal", "1x2:9x17:8/4", "lengths", "garbage"),
    ),
    (
        Family("sizes-of-gradient", "gradients that vanish or overflow in a short type, rows of very different size", "NVIDIA/apex#1739"),
        rows("smoke", "normal", "1x1:5x9:8/4", "gradient=tiny")
        + rows("smoke", "normal", "1x1:5x9:8/4", "gradient=huge")
        + rows("standard", "normal", "1x2:9x17:8/8", "gradient=levels")
        + rows("standard", "normal", "1x2:9x65:8/8", "gradient=positive")
        + rows("standard", "normal", "1x2:9x17:8/8", "gradient=one-hot")
        + rows("standard", "tiny-values", "1x1:5x17:8/8")
        + rows("standard", "huge-values", "1x1:5x17:8/8"),
    ),
    (
        Family("long-columns", "sums over many queries in a short type, atomic additions that are lost", "Dao-AILab/flash-attention#359, #2035, #2033; NVIDIA/cudnn-frontend#396"),
        rows("smoke", "positive-sum", "1x1:700x2:4/2", "gradient=positive")
        + rows("standard", "positive-sum", "1x1:2049x2:2/2", "gradient=ones")
        + rows("standard", "normal", "1x2:1100x5:8/8", "gradient=positive")
        + rows("standard", "normal", "1x8/1:200x9:8/4", "gradient=positive"),
    ),
)  # fmt: skip

# A family of attention that is about its second output has no place here, and what is left of two others is told apart
# by names of their own above.
_LEFT_OUT = ("log-sum-exp", "normal")
_STATE = rows("smoke", "normal", "1x2:9x9:8/8", after="gradient") + rows(
    "standard", "normal", "1x2:9x9:8/8", "causal", after="same gradient"
)


_LARGE = 40_000  # numbers, beyond which the rows of attention are left to ``thorough``: a gradient is dear


def _of_attention(family: Family, table: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows of a family of attention, with those of other gradients between calls."""
    kept = tuple(replace(row, level="thorough") if COVERING.cost(row) > _LARGE else row for row in table)
    return (*kept, *_STATE) if family is shared.STATE else kept


#: Every family with its rows.
TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    *_OWN,
    *((family, _of_attention(family, table)) for family, table in ATTENTION if family.id not in _LEFT_OUT),
)
