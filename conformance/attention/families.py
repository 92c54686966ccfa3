"""The families: which patterns, in which shapes, with which options, hunt which bug.

A row of a table is one case: (level, pattern, sizes, options, layout, changes before it or beside it).  Sizes are
"batch×heads/key heads: queries×keys: dim/value dim"; parts may be left out ("17" is 1×1/1: 17×17: 8/8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.conformance.attention.options import build
from assay.conformance.attention.other_calls import CHANGES
from assay.conformance.attention.patterns import Shape
from assay.conformance.interface.suite import LAYOUTS, LEVELS, Case, Family

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assay.spec.precision import Precision

__all__ = ["FAMILIES", "cases", "parse_shape"]


@dataclass(frozen=True)
class _Row:
    level: str
    pattern: str
    size: str
    options: tuple[str, ...] = ()
    layout: str = "contiguous"
    after: tuple[str, ...] = ()  # changes that were asked for before,
    beside: tuple[str, ...] = ()  # or are at the same time


def parse_shape(text: str) -> Shape:
    """Sizes of an instance from one word.

    >>> parse_shape("2x4/2:5x7:16/8")
    Shape(batch=2, heads=4, key_heads=2, queries=5, keys=7, dim=16, value_dim=8)
    """
    parts = text.split(":")
    heads, lengths, dims = ("1x1/1", parts[0], "8/8") if len(parts) == 1 else ([*parts, "8/8"])[:3]
    match = re.fullmatch(r"(\d+)x(\d+)(?:/(\d+))?", heads)
    assert match is not None, text
    batch, h, h_k = int(match[1]), int(match[2]), int(match[3] or match[2])
    n = [int(x) for x in lengths.split("x")]
    d = [int(x) for x in dims.split("/")]
    return Shape(batch, h, h_k, n[0], n[-1], d[0], d[-1])


def _rows(
    level: str,
    patterns: str,
    sizes: str,
    *options: str,
    layout: str = "contiguous",
    after: str = "",
    beside: str = "",
) -> tuple[_Row, ...]:
    """Every pattern with every size, under one set of options.  ``after`` and ``beside``: words of CHANGES."""
    return tuple(
        _Row(level, p, s, options, layout, tuple(after.split()), tuple(beside.split()))
        for p in patterns.split()
        for s in sizes.split()
    )


_TABLE: tuple[tuple[Family, tuple[_Row, ...]], ...] = (
    (
        Family("one-key", "wrong n = 1, an epsilon in the denominator, a value rounded on its way", "triton-lang/kernels#6"),
        _rows("standard", "zero-scores", "1 1x1:2x1:1/1")
        + _rows("smoke", "zero-scores", "1x2:3x1:17/5")
        + _rows("smoke", "normal", "1 1x1:2x1:1/1 1x2:3x1:17/5")
        + _rows("standard", "large shifted-down shifted-up", "1x1:2x1:8/3")
        + _rows("thorough", "small-numbers negative-scale", "1x3:5x1:40/64"),
    ),
    (
        Family("two-keys", "a crude exp, products in a shorter type, rounded probabilities", "assay's bank"),
        _rows("smoke", "biased-exp", "1x1:3x2:1/2")
        + _rows("standard", "biased-exp", "1x2:2x2:4/3")
        + _rows("smoke", "two-levels", "1x1:3x2:1/2 1x2:2x2:4/3")
        + _rows("standard", "biased-exp biased-exp biased-exp two-levels normal large", "1x2:4x2:3/5")
        + _rows("thorough", "biased-exp two-levels", "1x4:9x2:5/2 1x4:9x3:5/2"),
    ),
    (
        Family("exp-bias", "an exp of low degree, a table or bit trick for it, a short ln 2", "assay's bank"),
        _rows("smoke", "biased-exp", "1x2:2x17:2/3 1x1:2x33:2/1")
        + _rows("standard", "biased-exp two-levels", "1x3:3x65:2/2 1x1:4x31:3/2")
        + _rows("thorough", "biased-exp two-levels", "1x6:3x129:2/2 1x6:3x200:2/2")
        + _rows("standard", "deep-weights deepest-weights", "1x2:3x2:2/3 1x2:2x17:3/2"),
    ),
    (
        Family("tails", "lengths that are no multiple of a tile: a dropped, doubled or zero-filled tail", "triton-lang/kernels#6; ELS-RD/kernl#73; triton-lang/triton#2626; FlagGems#898"),
        _rows("smoke", "normal", "2 3 15 16 17 33 65")
        + _rows("smoke", "planted-tail", "1x1:3x17:8/8 1x1:2x65:8/8 1x1:2x129:8/8")
        + _rows("standard", "normal", "31 32 63 64 127 128 129 130")
        + _rows("standard", "planted-tail zero-scores", "1x1:3x31:8/8 1x1:3x63:8/8 1x1:3x127:8/8 1x1:3x257:8/8")
        + _rows("thorough", "normal alternating", "5 7 9 11 13 19 23 47 97 191 255 257")
        + _rows("standard", "normal", "1x3:32x32:8/8 2x2:64x64:8/4")  # whole tiles of more than one head
        + _rows("standard", "normal", "1x1:600x9:8/4"),  # more queries than a tile has
    ),
    (
        Family("causal", "a causal mask off by one or misaligned, a skipped tile", "huggingface/transformers#39408"),
        _rows("smoke", "normal", "1 2 3 7 17 33", "causal")
        + _rows("smoke", "planted large", "1x2:19x19:8/8", "causal")
        + _rows("standard", "normal", "1x2:65x65:16/16 1x1:15 1x1:16 1x1:64 1x1:129", "causal")
        + _rows("standard", "ramp-up ramp-down", "1x1:33x33:8/33", "causal")
        + _rows("thorough", "identity", "1x1:33x33:8/33", "causal")
        + _rows("thorough", "normal alternating row-levels", "1x1:5 1x1:31 1x1:63 1x1:97 1x1:130", "causal"),
    ),
    (
        Family("causal-cross", "the causal mask aligned top-left instead of bottom-right or the reverse", "microsoft/onnxruntime#28904, #28958; onnx/onnx#8068; Dao-AILab/flash-attention#436, #1778; thu-ml/SageAttention#26"),
        _rows("smoke", "normal", "1x1:3x5:8/8 1x1:5x3:8/8 1x2:7x20:8/8", "causal")
        + _rows("smoke", "normal", "1x1:3x5:8/8 1x1:1x9:8/8", "bottom-right")
        + _rows("standard", "normal", "1x1:17x33:8/8 1x1:33x17:8/8 1x1:1x40:8/8 1x1:64x65:8/8", "causal")
        + _rows("standard", "normal", "1x1:5x3:8/8 1x1:17x33:8/8 1x1:33x17:8/8 1x1:65x129:8/8", "bottom-right")
        + _rows("smoke", "normal", "3x2:5x9:8/8", "bottom-right", "lengths")
        + _rows("standard", "normal", "3x2:5x9:8/8", "causal", "lengths")
        + _rows("thorough", "normal planted", "1x1:16x64:8/8 1x1:64x16:8/8 1x1:2x130:8/8", "bottom-right"),
    ),
    (
        Family("window", "a sliding window off by one on either side, or aligned to the wrong corner", "huggingface/transformers#39408; zml/zml#763; openvinotoolkit/openvino#30714; sgl-project/sglang#34273; ModelTC/LightLLM#1311, #1312; ROCm/flash-attention#158"),
        _rows("smoke", "normal", "9 20", "window=2,0")
        + _rows("smoke", "normal", "9 20", "window=3,2")
        + _rows("smoke", "normal", "12", "window=4,*", "causal")
        + _rows("standard", "normal", "33", "window=1,1")
        + _rows("smoke", "normal", "1x1:1x20:8/8", "window=1,1")
        + _rows("standard", "normal", "40", "window=0,0")
        + _rows("standard", "normal", "40", "window=*,3")
        + _rows("smoke", "normal", "1x2:5x21:8/8", "window=6,*", "bottom-right")
        + _rows("standard", "normal", "1x1:1x21:8/8", "window=5,0", "bottom-right")
        + _rows("standard", "normal", "65", "window=16,0", "causal")
        + _rows("thorough", "normal", "130", "window=16,0", "causal")
        + _rows("standard", "normal", "8 9 10", "window=8,0")
        + _rows("standard", "normal", "12", "window=3,3", "causal")
        + _rows("standard", "normal", "1x1:1x12:8/8", "window=4,0", "bottom-right")
        + _rows("thorough", "normal", "257", "window=31,0", "causal")
        + _rows("thorough", "planted", "97", "window=17,16")
        + _rows("smoke", "normal", "1x2:21x9:8/8", "window=3,2", "bottom-right")
        + _rows("standard", "normal", "1x8/1:15x15:4/4", "window=2,0")  # heads that may be taken for rows of one tile
        + _rows("standard", "normal", "1x4/2:5x9:8/4", "window=0,2"),  # and whose window reaches back nowhere
    ),
    (
        Family("empty-rows", "a fully masked row gives the mean of V, NaN or stale data", "microsoft/onnxruntime#28904; pytorch/pytorch#103963, #103749; tracel-ai/cubecl#1070; flashinfer-ai/flashinfer#4452"),
        _rows("smoke", "normal", "1x2:5x7:8/4", "mask-empty")
        + _rows("smoke", "normal", "2x1:4x6:8/4", "lengths-zero")
        + _rows("smoke", "normal", "1x1:7x3:8/4", "bottom-right")
        + _rows("standard", "normal", "1x1:6x9:8/4", "bias-inf")
        + _rows("smoke", "large", "2x2:17x40:8/8", "mask-empty", "lse")
        + _rows("standard", "normal", "2x2:9x17:8/8", "lengths-zero", "causal")
        + _rows("thorough", "normal", "2x3:65x65:8/8", "mask-empty", "causal"),
    ),
    (
        Family("masked-tiles", "NaN when a whole early tile is masked, masked keys that leak", "pytorch/pytorch#127055, #109517, #101967; Dao-AILab/flash-attention#443; microsoft/onnxruntime#28904"),
        _rows("smoke", "normal", "1x1:3x33:8/8 1x1:3x97:8/8", "mask-first")
        + _rows("smoke", "normal", "2x2:9x17:8/8", "mask", "garbage")
        + _rows("smoke", "normal", "3x1:4x33:8/8", "lengths", "garbage")
        + _rows("standard", "normal", "3x2:17x70:8/8", "mask-left", "garbage")
        + _rows("standard", "normal", "1x1:70x200:8/8", "window=3,3", "bottom-right")
        + _rows("standard", "shifted-down", "1x1:3x40:4/4", "mask")
        + _rows("standard", "shifted-down", "2x1:3x40:4/4", "lengths")
        + _rows("standard", "shifted-far", "1x1:3x40:4/4", "mask")
        + _rows("standard", "normal", "1x1:4x20:8/8", "bias-low")
        + _rows("smoke", "normal", "1x1:5x23:8/8", "bias-low", "mask")
        + _rows("thorough", "large", "2x2:33x130:8/8", "mask", "garbage"),
    ),
    (
        Family("shifted", "a running maximum that starts at a finite sentinel, a static maximum, clipped scores", "flashinfer-ai/flashinfer#4267; ROCm/aiter#5086"),
        _rows("smoke", "shifted-down shifted-up shifted-constant", "1x1:2x9:3/3 1x1:2x40:3/3")
        + _rows("standard", "shifted-down shifted-down shifted-up shifted-constant", "1x2:3x17:3/3 1x1:3x70:3/3")
        + _rows("standard", "shifted-down", "1x1:9x9:3/3", "causal")
        + _rows("standard", "shifted-far", "1x1:2x9:3/3 1x2:3x40:3/3")
        + _rows("thorough", "shifted-down shifted-up shifted-constant", "1x4:3x130:3/3"),
    ),
    (
        Family("ramps", "the maximum not updated, a rescaling missed for numerator or denominator", "assay's bank"),
        _rows("smoke", "ramp-up ramp-down steep-ramp staircase", "1x1:2x40:3/4")
        + _rows("smoke", "ramp-up", "1x1:2x129:3/4")
        + _rows("standard", "ramp-up ramp-down steep-ramp staircase", "1x1:3x130:3/4 1x2:3x65:3/4")
        + _rows("standard", "slow-staircase", "1x1:2x1100:2/2")
        + _rows("thorough", "ramp-up steep-ramp staircase", "1x2:2x300:3/4 1x2:2x513:3/4")
        + _rows("thorough", "slow-staircase", "1x1:2x4100:2/2"),
    ),
    (
        Family("row-levels", "one maximum for a tile of rows, or none", "assay's bank"),
        _rows("smoke", "row-levels", "1x1:17x19:8/4")
        + _rows("standard", "row-levels", "1x2:33x40:16/4 1x1:65x70:8/4")
        + _rows("thorough", "row-levels", "1x2:130x130:8/4"),
    ),
    (
        Family("large-logits", "scores in a shorter type, a scale constant rounded", "assay's bank"),
        _rows("standard", "large", "1x2:5x19:16/8")
        + _rows("smoke", "large", "1x1:4x33:64/8")
        + _rows("smoke", "odd-scale", "1x2:5x19:16/8 1x1:4x33:64/8")
        + _rows("standard", "large odd-scale", "1x2:9x33:40/8 1x2:17x65:64/16 1x1:5x17:128/8")
        + _rows("thorough", "large odd-scale", "1x4:33x65:64/64 1x2:9x40:256/8"),
    ),
    (
        Family("scale", "the scale ignored, doubled, taken for unset when 0, of the padded dim", "SKaiNET#860; Megatron-LM#3698; intel/ipex-llm#12619; sglang#485; BobMcDear/attorch#14"),
        _rows("smoke", "zero-scale negative-scale", "1x1:4x9:5/3")
        + _rows("smoke", "normal", "1x2:5x9:3/3 1x1:5x9:40/8")
        + _rows("standard", "zero-scale negative-scale odd-scale", "1x2:17x33:24/8")
        + _rows("standard", "normal", "1x2:5x9:96/8")
        + _rows("smoke", "normal", "1x2:5x9:17/33")
        + _rows("standard", "normal", "1x1:5x9:1/1"),
    ),
    (
        Family("dims", "columns of a head dropped, value dim taken for head dim, transposed products", "triton-lang/triton#621; XunhaoLai/native-sparse-attention-triton#27"),
        _rows("smoke", "normal", "1x1:5x7:128/128 1x1:5x7:96/8 1x1:6x6:6/6 1x1:4x9:8/20")
        + _rows("standard", "normal identity", "1x1:9x9:17/9 1x1:8x8:8/8 1x1:5x11:64/65 1x1:3x5:129/3 1x1:3x5:80/72")
        + _rows("thorough", "normal", "1x1:5x9:256/256 1x1:5x9:192/128 1x1:5x9:7/1")
        + _rows("smoke", "normal", "1x1:4x6:15/7"),  # one less than what is unrolled
    ),
    (
        Family("heads", "query heads mapped to the wrong key head, head 0 for all, a stride taken from another axis", "LMCache#3092; XunhaoLai/native-sparse-attention-triton#27; marin-community/levanter#449; fla-org/flash-linear-attention#384; BobMcDear/attorch#14"),
        _rows("smoke", "normal", "1x6/2:5x7:8/4 2x4/1:3x9:8/4 2x3:5x6:8/4")
        + _rows("standard", "planted large", "2x6/3:9x17:8/8 1x8/2:17x19:8/8")
        + _rows("standard", "normal", "2x6/2:7x9:8/4", "causal")
        + _rows("thorough", "normal", "3x12/4:9x17:16/8 1x7/7:5x9:8/8"),
    ),
    (
        Family("batches", "content of one batch used for another, positions or lengths shared", "assay's bank"),
        _rows("smoke", "large", "3x2:4x7:8/4")
        + _rows("smoke", "normal", "3x2:4x9:8/4", "lengths")
        + _rows("standard", "large", "4x2:9x17:8/8")
        + _rows("standard", "normal", "4x2:9x17:8/8", "lengths", "garbage"),
    ),
    (
        Family("values", "small weights skipped, values or sums in a shorter type", "assay's bank"),
        _rows("smoke", "tiny-weights alternating identity constant", "1x1:3x17:4/17")
        + _rows("smoke", "huge-values tiny-values", "1x1:5x17:8/8")
        + _rows("standard", "tiny-weights alternating identity constant huge-values tiny-values", "1x2:5x65:8/16")
        + _rows("thorough", "tiny-weights alternating identity", "1x2:9x129:8/129"),
    ),
    (
        Family("long-rows", "sums in half precision, accumulators that stagnate, an offset of too few bits", "assay's bank"),
        _rows("smoke", "positive-sum", "1x1:1x1000:4/2")
        + _rows("standard", "positive-sum alternating planted-tail", "1x1:2x2049:4/2")
        + _rows("standard", "positive-sum zero-scores", "1x1:1x4100:2/2")
        + _rows("thorough", "positive-sum normal ramp-up", "1x1:2x4100:4/4 1x1:2x6000:4/2"),
    ),
    (
        Family("exact-scores", "products in a shorter type", "assay's bank"),
        _rows("smoke", "integers", "1x1:5x9:8/4")
        + _rows("standard", "integers", "1x2:17x33:32/8 1x1:5x9:64/4"),
    ),
    (
        Family("raw-products", "unscaled products held in half precision", "assay's bank"),
        _rows("smoke", "raw-large", "1x1:3x9:64/4")
        + _rows("standard", "raw-large", "1x2:5x17:128/8"),
    ),
    (
        Family("small-numbers", "signs of zero, subnormals, exact zeros", "assay's bank"),
        _rows("smoke", "small-numbers", "1x1:5x9:8/4")
        + _rows("thorough", "small-numbers", "1x2:17x33:16/8", "causal"),
    ),
    (
        Family("bias", "a bias scaled or added twice, on the wrong axis, ALiBi slopes of 6 or 12 heads", "assay's bank"),
        _rows("smoke", "normal", "2x2:5x9:8/4", "bias")
        + _rows("smoke", "normal", "1x6:7x7:8/4", "bias-heads")
        + _rows("standard", "negative-scale odd-scale", "2x2:5x17:8/4", "bias")
        + _rows("standard", "normal", "1x12/4:9x9:8/4", "bias-heads", "causal")
        + _rows("standard", "normal", "1x7:5x9:8/4", "bias-heads")
        + _rows("standard", "normal", "2x2:9x40:8/4", "bias", "mask"),
    ),
    (
        Family("mask", "a mask inverted, added as 0 and 1, broadcast along the wrong axis", "assay's bank"),
        _rows("smoke", "normal", "2x2:6x6:8/4 1x1:5x9:8/4", "mask")
        + _rows("standard", "large", "2x2:17x33:8/8 3x1:7x7:8/4", "mask")
        + _rows("smoke", "normal", "2x4/2:9x17:8/4", "mask", "causal"),
    ),
    (
        Family("softcap", "the cap before the scale, after the bias, or left out", "assay's bank"),
        _rows("smoke", "large", "1x2:5x9:8/4", "softcap=2.3")
        + _rows("standard", "large odd-scale", "1x2:9x33:16/8", "softcap=7.7")
        + _rows("smoke", "large", "2x2:5x9:8/4", "softcap=1.9", "bias")
        + _rows("standard", "large", "1x1:9x9:8/4", "softcap=50.3", "causal"),
    ),
    (
        Family("sink", "a sink left out, with a value of its own, or outside the maximum", "assay's bank"),
        _rows("smoke", "normal", "1x2:5x9:8/4", "sink")
        + _rows("standard", "large", "2x2:5x17:8/4", "sink")
        + _rows("smoke", "shifted-down", "2x2:5x17:8/4", "sink")
        + _rows("standard", "normal", "1x4/2:9x9:8/4", "sink", "causal")
        + _rows("standard", "normal", "2x2:5x9:8/4", "sink", "mask-empty"),
    ),
    (
        Family("log-sum-exp", "a log-sum-exp in base two, without the maximum, finite for an empty row", "flashinfer-ai/flashinfer#4452"),
        _rows("smoke", "normal large", "1x2:5x9:8/4", "lse")
        + _rows("standard", "shifted-up shifted-down ramp-up", "1x1:3x40:3/4", "lse")
        + _rows("standard", "normal", "1x2:9x9:8/4", "lse", "causal")
        + _rows("standard", "normal", "2x2:5x9:8/4", "lse", "sink")
        + _rows("standard", "normal", "2x2:5x9:8/4", "lse", "sink", "mask-empty"),  # the sink alone
    ),
    (
        Family("layouts", "strides assumed: permuted, offset, padded, spaced, reversed, expanded or packed memory", "pytorch/pytorch#181133, #163597, #112577, #187506; huggingface/candle#3703; torch-spyre#4331; BobMcDear/attorch#14"),
        _rows("smoke", "normal", "2x3:5x7:8/6", layout="permuted")
        + _rows("smoke", "normal", "2x3:5x7:8/6", layout="gap")
        + _rows("smoke", "normal", "2x3:5x7:8/6", layout="offset")
        + _rows("smoke", "normal", "2x3:5x7:8/6", "same-heads", layout="expanded")
        + _rows("smoke", "normal", "2x3:7x7:8/6", layout="packed")
        + _rows("standard", "normal", "2x3:5x7:8/6", layout="transposed")
        + _rows("standard", "normal", "2x3:5x7:8/6", layout="reversed")
        + _rows("standard", "normal", "2x4/2:17x33:16/8", "causal", layout="permuted")
        + _rows("standard", "normal", "2x3:5x7:8/6", "same-batch", layout="expanded")
        + _rows("standard", "normal", "2x4/2:9x9:16/16", "causal", layout="packed")
        + _rows("standard", "normal", "2x3:5x7:8/6", "mask-empty", layout="permuted")
        + _rows("standard", "normal", "1x3:7x7:8/6", "bias-heads", layout="transposed")
        + _rows("standard", "normal", "2x3:5x7:8/6", layout="spaced"),  # the last axis too is no unit stride
    ),
    (
        Family("far-strides", "offsets in 32 bits: strides of 2³² elements, as a cache or a slice of a large array has them", "Dao-AILab/flash-attention#2611, #2260, #1500; fla-org/flash-linear-attention#769; tilelang#330"),
        _rows("smoke", "normal", "2x2:7x7:8/6", layout="far-batches")
        + _rows("standard", "normal", "1x2:7x7:8/8", layout="far-heads")
        + _rows("thorough", "normal", "3x4/2:17x17:16/8", "causal", layout="far-heads")
        + _rows("thorough", "normal", "3x2:17x33:16/8", layout="far-batches"),
    ),
    (
        Family("state", "something kept from another call: a result by shape, address or a few elements, a scale, a mask, a workspace", "lucidrains/rotary-embedding-torch#11; MemOS#2315; maclocal-api#92"),
        _rows("smoke", "normal", "1x2:9x9:8/8", after="numbers")
        + _rows("smoke", "large", "1x2:9x9:8/8", after="scale")
        + _rows("smoke", "normal", "2x2:7x7:8/4", "mask", after="mask")
        + _rows("standard", "normal", "1x2:33x33:8/8", after="later-numbers")
        + _rows("standard", "normal", "1x2:9x9:8/8", "causal", after="causal")
        + _rows("standard", "large", "1x2:9x9:8/8", after="same scale")
        + _rows("standard", "normal", "2x2:5x9:8/4", "causal", after="alignment")
        + _rows("standard", "normal", "1x2:9x9:8/4", "window=3,1", after="window")
        + _rows("standard", "normal", "1x2:9x9:8/4", "window=3,1", after="same no-window")
        + _rows("standard", "normal", "2x2:5x9:8/4", "mask", after="same no-mask")
        + _rows("standard", "normal", "2x2:5x9:8/4", "bias", after="bias")
        + _rows("standard", "normal", "2x2:5x9:8/4", "bias", after="no-bias")
        + _rows("standard", "normal", "3x2:5x17:8/4", "lengths", after="lengths")
        + _rows("standard", "large", "1x2:5x9:8/4", "softcap=1.9", after="softcap")
        + _rows("standard", "large", "1x2:5x9:8/4", "softcap=1.9", after="no-softcap")
        + _rows("standard", "normal", "1x2:5x9:8/4", "sink", after="sink")
        + _rows("standard", "normal", "1x2:5x9:8/4", "lse", after="numbers")
        + _rows("standard", "normal", "1x2:9x23:8/4", after="longer shorter")
        + _rows("thorough", "normal large", "2x4/2:17x33:16/8", "mask", after="numbers scale same mask")
        + _rows("thorough", "normal large", "3x2:17x33:8/8", "lengths", after="longer lengths shorter"),
    ),
    (
        Family("concurrent", "a workspace, a cache or a flag that calls of several threads share", "assay's bank"),
        _rows("standard", "normal", "1x2:17x17:8/8", beside="numbers scale")
        + _rows("standard", "normal", "1x2:9x9:8/8", "causal", beside="causal longer")
        + _rows("thorough", "normal", "2x4/2:33x65:16/8", beside="numbers scale same shorter"),
    ),
    (
        Family("large-grid", "heads and batches in great number: a race of tiles, a head's tail written over the next head", "ninfer-3090#43; hipfire#575; FlagGems#898; BobMcDear/attorch#14"),
        _rows("standard", "normal", "4x12:3x5:4/3 2x24/6:9x9:4/4")
        + _rows("thorough", "normal", "8x16:17x17:8/8")
        + _rows("standard", "normal", "3x11:3x5:4/3"),  # a number of heads that no two or four threads share evenly
    ),
    (
        Family("normal", "nothing in particular: what every other test does", "assay's bank"),
        _rows("smoke", "normal", "2x4:17x17:16/16")
        + _rows("thorough", "normal", "2x4:33x33:32/32 1x2:65x65:64/64")
        + _rows("standard", "normal", "1x1:128x128:64/64")  # full tiles of a usual size: where fast paths run
        + _rows("thorough", "normal", "1x2:130x257:64/64 2x2:64x64:64/64", "causal"),
    ),
)  # fmt: skip

#: Every family, by id.
FAMILIES: tuple[Family, ...] = tuple(family for family, _ in _TABLE)


def cases(precision: Precision, level: str, seed: int) -> Iterator[Case]:
    """The cases of a level: those of the lower levels first, the same for the same seed.

    Within a level every family has its turn before any has its second: a run that is cut short has seen them all.
    """
    for now in LEVELS[: LEVELS.index(level) + 1]:
        turns: list[tuple[int, int]] = []
        for number, (_, rows) in enumerate(_TABLE):
            mine = [row for row, entry in enumerate(rows) if entry.level == now]
            turns += [(number, row) for row in mine]
        first = {number: min(row for n, row in turns if n == number) for number, _ in turns}
        for number, row in sorted(turns, key=lambda turn: (turn[1] - first[turn[0]], turn[0])):
            yield _case(precision, number, row, seed)


def _case(precision: Precision, number: int, row: int, seed: int) -> Case:
    family, rows = _TABLE[number]
    entry = rows[row]
    mixed = (seed * 1_000_003 + number * 1009 + row) % (1 << 63)
    name = " ".join((f"{family.id}: {entry.pattern} {entry.size}", *entry.options))
    name += "" if entry.layout == "contiguous" else f" {entry.layout}"
    name += "".join(f", {word} {' '.join(words)}" for word in ("after", "beside") if (words := getattr(entry, word)))
    instance = build(family.id, entry.pattern, parse_shape(entry.size), entry.options, mixed, precision, name)
    after, beside = (tuple(CHANGES[word](instance) for word in words) for words in (entry.after, entry.beside))
    needs = frozenset({"concurrent_calls"}) if beside else frozenset[str]()
    return Case(name, family, instance, LAYOUTS[entry.layout], after, beside, needs)
