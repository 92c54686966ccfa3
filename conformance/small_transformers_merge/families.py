"""The families of merges: which parts hunt which bug."""

from __future__ import annotations

import functools

from assay.conformance.interface import families as shared
from assay.conformance.interface.suite import Family, Row, hunting, rows, worded
from assay.conformance.small_transformers_merge.options import LOGS

__all__ = ["TABLE", "TYPICAL"]

_said = functools.partial(worded, patterns=LOGS)
#: A family with its rows, which each level adds as a text.
_family = functools.partial(hunting, _said)

#: Every family with its rows; a size is parts:batch×heads×queries×value dim.
TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    _family("apart", "log-sum-exps of base 2 taken for natural ones, or the reverse; weights of unequal parts", "sgl-project/sglang#35045, #40903; flashinfer-ai/flashinfer#4547; lightseekorg/tokenspeed#571",
        smoke="normal apart 2:1x1x3x4 lse; apart 3:1x2x3x4 outputs=unlike", standard="apart 3:2x2x5x8; apart 2:2x3x4x8 lse outputs=unlike; spread 4:1x2x5x8 lse"),
    _family("one-part", "a part that is alone: weighted by its own maximum, divided by nothing, or not copied", "flashinfer-ai/flashinfer#50",
        smoke="normal 1:1x2x3x4; apart 1:1x2x3x4 lse", standard="far 1:2x2x4x8 lse outputs=large"),
    _family("two-parts", "the roles of the two parts exchanged, a factor of one of them left out", "zhuzilin/ring-flash-attention#34",
        smoke="rising falling 2:1x2x3x4 lse outputs=unlike", standard="dominated 2:2x2x5x8 lse; zero 2:1x2x4x8 lse"),
    _family("many-parts", "one part too few or too many, a last part alone, sums that are not rescaled, an order that matters", "tile-ai/tilelang#2010; flashinfer-ai/flashinfer#58",
        smoke="normal 5:1x2x3x4 lse; rising falling 4:1x2x3x4 outputs=unlike", standard="normal apart 8:1x2x4x16; rising 9:1x2x3x4 lse outputs=unlike; normal 33:1x1x2x4 lse; apart 17:1x2x3x4 outputs=unlike", thorough="normal 129:1x1x2x4 lse; rising 64:1x2x2x4", keeps=("many_parts", "parts")),
    _family("empty-part", "a part without keys weighs something, overwrites the others, or makes everything NaN", "vllm-project/FlashMLA#25; Dao-AILab/flash-attention#2901, #978",
        smoke="normal 2:1x2x4x4 empty=one lse; apart 4:1x2x4x4 empty=one outputs=unlike; normal 3:1x2x3x4 empty=last; normal 3:1x2x3x4 empty=first lse", standard="apart 9:1x2x7x8 empty=one lse; normal 4:2x2x5x8 empty=first outputs=unlike lse", keeps=("empty_parts",)),
    _family("two-empty-parts", "−∞ minus −∞: two parts without keys in succession, or before any that has some", "vllm-project/vllm#42494; Dao-AILab/flash-attention#2901",
        smoke="normal 4:1x2x4x4 empty=first-two lse; apart 4:1x2x4x4 empty=two; normal 5:1x2x4x4 empty=most lse", standard="apart 9:2x2x5x8 empty=most; apart 6:1x2x5x8 empty=first-two outputs=unlike", keeps=("empty_parts", "parts")),
    _family("all-parts-empty", "a query that sees no key in any part: 0/0, the last output, or a finite log-sum-exp", "vllm-project/FlashMLA#25",
        smoke="normal 2:1x2x4x4 empty=row lse; normal 4:1x2x3x4 empty=head", standard="apart 5:2x2x5x8 empty=row lse; normal 3:1x2x4x8 empty=all lse; normal 1:1x2x4x4 empty=row lse", keeps=("all_parts_empty",)),
    _family("filler", "the output of an empty part, which nothing was written to, leaks into the result", "Dao-AILab/flash-attention#2901",
        smoke="normal 3:1x2x4x4 empty=one filler; normal 2:1x2x4x4 empty=row filler lse", standard="apart 4:1x2x5x8 empty=two filler lse; normal 3:1x2x4x8 empty=first filler", keeps=("empty_parts",)),
    _family("equal-maxima", "two parts share the maximum: one of them counted twice, or neither", "assay's bank",
        smoke="equal-maxima 3:1x2x3x4 lse; equal 4:1x2x3x4", standard="equal-maxima 8:1x2x4x8; zero 6:1x2x4x8 lse outputs=unlike"),
    _family("far-apart", "weights that underflow, one part that has all of the weight", "zhuzilin/ring-flash-attention#30",
        smoke="dominated 4:1x2x3x4 lse; spread 3:1x2x3x4 lse", standard="spread 8:1x2x4x8; dominated 5:2x2x4x8 outputs=unlike"),
    _family("huge", "exponentials without their maximum: overflow, or a quotient of zeros", "zhuzilin/ring-flash-attention#30",
        smoke="huge tiny 2:1x2x3x4 lse; far 4:1x1x4x4 lse", standard="far huge tiny 8:1x2x4x8; huge 3:1x2x4x4 empty=one lse; tiny 3:1x2x4x4 empty=row lse"),
    _family("large-outputs", "parts rounded before the merge; differences of large numbers", "zhuzilin/ring-flash-attention#42; vllm-project/vllm-xpu-kernels#204, #556",
        smoke="normal 2:1x1x4x4 outputs=large; far 4:1x1x4x4 outputs=large lse", standard="apart 8:1x2x4x8 outputs=large; equal 8:1x2x4x8 outputs=constant; normal 8:1x2x4x8 outputs=small"),
    _family("sink", "a sink that is counted once a part, or not at all, or is of another head", "vllm-project/vllm-metal#550; kekzl/imp#1346; pytorch/torchtitan#2211",
        smoke="normal 2:1x3x4x4 sink; normal 5:1x3x4x4 sink lse; apart 3:1x3x3x4 sink=large", standard="far 4:1x3x4x8 sink lse; normal 4:2x3x4x8 empty=one sink lse; apart 3:2x3x4x8 sink=small lse outputs=unlike; normal 1:1x3x4x4 sink lse; normal 3:1x3x4x4 empty=row sink lse", keeps=("sink",)),
    _family("batches", "strides of batches, heads and queries exchanged: right where there is one", "vllm-project/flash-attention#176",
        smoke="normal 2:2x3x4x5 lse; apart 2:2x4x4x4", standard="normal 3:3x2x5x7 lse; apart 4:2x5x3x6 outputs=unlike; apart 2:5x1x9x4"),
    _family("long-rows", "a value dim that is no multiple of a vector or a tile, many queries", "vllm-project/vllm#42494",
        smoke="normal 2:1x1x3x17", standard="normal 3:1x2x3x65 lse; apart 2:1x2x67x8; normal 3:1x1x130x3", thorough="normal 4:1x2x5x257; apart 2:2x3x129x64", keeps=("value_dim",)),
    shared.laid_out("normal", "3:2x2x3x4"),
    shared.called_before("normal", "3:1x2x4x4", "logs"),
    shared.called_together("normal", "3:1x2x4x4"),
)  # fmt: skip

TYPICAL = rows("standard", "normal", "4:2x4x16x32", "lse")
