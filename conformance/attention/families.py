"""The families of attention: which patterns, in which shapes, with which options, hunt which bug.

Sizes are "batch×heads/key heads: queries×keys: dim/value dim"; parts may be left out ("17" is 1×1/1: 17×17: 8/8).
"""

from __future__ import annotations

from assay.conformance.interface import families as shared
from assay.conformance.interface.suite import Family, Row, rows

__all__ = ["TABLE", "TYPICAL"]

#: Every family with its rows.
TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    (
        Family("one-key", "wrong n = 1, an epsilon in the denominator, a value rounded on its way", "triton-lang/kernels#6"),
        rows("standard", "zero-scores", "1 1x1:2x1:1/1")
        + rows("smoke", "zero-scores", "1x2:3x1:17/5")
        + rows("smoke", "normal", "1 1x1:2x1:1/1 1x2:3x1:17/5")
        + rows("standard", "large shifted-down shifted-up", "1x1:2x1:8/3")
        + rows("thorough", "small-numbers negative-scale", "1x3:5x1:40/64"),
    ),
    (
        Family("two-keys", "a crude exp, products in a shorter type, rounded probabilities", "assay's bank"),
        rows("smoke", "biased-exp", "1x1:3x2:1/2")
        + rows("standard", "biased-exp", "1x2:2x2:4/3")
        + rows("smoke", "two-levels", "1x1:3x2:1/2 1x2:2x2:4/3")
        + rows("standard", "biased-exp biased-exp biased-exp two-levels normal large", "1x2:4x2:3/5")
        + rows("thorough", "biased-exp two-levels", "1x4:9x2:5/2 1x4:9x3:5/2"),
    ),
    (
        Family("exp-bias", "an exp of low degree, a table or bit trick for it, a short ln 2", "assay's bank"),
        rows("smoke", "biased-exp", "1x2:2x17:2/3 1x1:2x33:2/1")
        + rows("standard", "biased-exp two-levels", "1x3:3x65:2/2 1x1:4x31:3/2")
        + rows("thorough", "biased-exp two-levels", "1x6:3x129:2/2 1x6:3x200:2/2")
        + rows("standard", "deep-weights deepest-weights", "1x2:3x2:2/3 1x2:2x17:3/2"),
    ),
    (
        Family("tails", "lengths that are no multiple of a tile: a dropped, doubled or zero-filled tail", "triton-lang/kernels#6; ELS-RD/kernl#73; triton-lang/triton#2626; FlagGems#898", keeps=("lengths",)),
        rows("smoke", "normal", "2 3 15 16 17 33 65")
        + rows("smoke", "planted-tail", "1x1:3x17:8/8 1x1:2x65:8/8 1x1:2x129:8/8")
        + rows("standard", "normal", "31 32 63 64 127 128 129 130")
        + rows("standard", "planted-tail zero-scores", "1x1:3x31:8/8 1x1:3x63:8/8 1x1:3x127:8/8 1x1:3x257:8/8")
        + rows("thorough", "normal alternating", "5 7 9 11 13 19 23 47 97 191 255 257")
        + rows("standard", "normal", "1x3:32x32:8/8 2x2:64x64:8/4")  # whole tiles of more than one head
        + rows("standard", "normal", "1x1:600x9:8/4"),  # more queries than a tile has
    ),
    (
        Family("causal", "a causal mask off by one or misaligned, a skipped tile", "huggingface/transformers#39408"),
        rows("smoke", "normal", "1 2 3 7 17 33", "causal")
        + rows("smoke", "planted large", "1x2:19x19:8/8", "causal")
        + rows("standard", "normal", "1x2:65x65:16/16 1x1:15 1x1:16 1x1:64 1x1:129", "causal")
        + rows("standard", "ramp-up ramp-down", "1x1:33x33:8/33", "causal")
        + rows("thorough", "identity", "1x1:33x33:8/33", "causal")
        + rows("thorough", "normal alternating row-levels", "1x1:5 1x1:31 1x1:63 1x1:97 1x1:130", "causal"),
    ),
    (
        Family("causal-cross", "the causal mask aligned top-left instead of bottom-right or the reverse", "microsoft/onnxruntime#28904, #28958; onnx/onnx#8068; Dao-AILab/flash-attention#436, #1778; thu-ml/SageAttention#26", keeps=("cross_lengths",)),
        rows("smoke", "normal", "1x1:3x5:8/8 1x1:5x3:8/8 1x2:7x20:8/8", "causal")
        + rows("smoke", "normal", "1x1:3x5:8/8 1x1:1x9:8/8", "bottom-right")
        + rows("standard", "normal", "1x1:17x33:8/8 1x1:33x17:8/8 1x1:1x40:8/8 1x1:64x65:8/8", "causal")
        + rows("standard", "normal", "1x1:5x3:8/8 1x1:17x33:8/8 1x1:33x17:8/8 1x1:65x129:8/8", "bottom-right")
        + rows("smoke", "normal", "3x2:5x9:8/8", "bottom-right", "lengths")
        + rows("standard", "normal", "3x2:5x9:8/8", "causal", "lengths")
        + rows("thorough", "normal planted", "1x1:16x64:8/8 1x1:64x16:8/8 1x1:2x130:8/8", "bottom-right"),
    ),
    (
        Family("window", "a sliding window off by one on either side, or aligned to the wrong corner", "huggingface/transformers#39408; zml/zml#763; openvinotoolkit/openvino#30714; sgl-project/sglang#34273; ModelTC/LightLLM#1311, #1312; ROCm/flash-attention#158", keeps=("causal_cross_lengths",)),
        rows("smoke", "normal", "9 20", "window=2,0")
        + rows("smoke", "normal", "9 20", "window=3,2")
        + rows("smoke", "normal", "12", "window=4,*", "causal")
        + rows("standard", "normal", "33", "window=1,1")
        + rows("smoke", "normal", "1x1:1x20:8/8", "window=1,1")
        + rows("standard", "normal", "40", "window=0,0")
        + rows("standard", "normal", "40", "window=*,3")
        + rows("smoke", "normal", "1x2:5x21:8/8", "window=6,*", "bottom-right")
        + rows("standard", "normal", "1x1:1x21:8/8", "window=5,0", "bottom-right")
        + rows("standard", "normal", "65", "window=16,0", "causal")
        + rows("thorough", "normal", "130", "window=16,0", "causal")
        + rows("standard", "normal", "8 9 10", "window=8,0")
        + rows("standard", "normal", "12", "window=3,3", "causal")
        + rows("standard", "normal", "1x1:1x12:8/8", "window=4,0", "bottom-right")
        + rows("thorough", "normal", "257", "window=31,0", "causal")
        + rows("thorough", "planted", "97", "window=17,16")
        + rows("smoke", "normal", "1x2:21x9:8/8", "window=3,2", "bottom-right")
        + rows("standard", "normal", "1x8/1:15x15:4/4", "window=2,0")  # heads that may be taken for rows of one tile
        + rows("standard", "normal", "1x4/2:5x9:8/4", "window=0,2"),  # and whose window reaches back nowhere
    ),
    (
        Family("empty-rows", "a fully masked row gives the mean of V, NaN or stale data", "microsoft/onnxruntime#28904; pytorch/pytorch#103963, #103749; tracel-ai/cubecl#1070; flashinfer-ai/flashinfer#4452", keeps=("causal_cross_lengths",)),
        rows("smoke", "normal", "1x2:5x7:8/4", "mask-empty")
        + rows("smoke", "normal", "2x1:4x6:8/4", "lengths-zero")
        + rows("smoke", "normal", "1x1:7x3:8/4", "bottom-right")
        + rows("standard", "normal", "1x1:6x9:8/4", "bias-inf")
        + rows("smoke", "large", "2x2:17x40:8/8", "mask-empty", "lse")
        + rows("standard", "normal", "2x2:9x17:8/8", "lengths-zero", "causal")
        + rows("thorough", "normal", "2x3:65x65:8/8", "mask-empty", "causal"),
    ),
    (
        Family("masked-tiles", "NaN when a whole early tile is masked, masked keys that leak", "pytorch/pytorch#127055, #109517, #101967; Dao-AILab/flash-attention#443; microsoft/onnxruntime#28904", keeps=("causal_cross_lengths",)),
        rows("smoke", "normal", "1x1:3x33:8/8 1x1:3x97:8/8", "mask-first")
        + rows("smoke", "normal", "2x2:9x17:8/8", "mask", "garbage")
        + rows("smoke", "normal", "3x1:4x33:8/8", "lengths", "garbage")
        + rows("standard", "normal", "3x2:17x70:8/8", "mask-left", "garbage")
        + rows("standard", "normal", "1x1:70x200:8/8", "window=3,3", "bottom-right")
        + rows("standard", "shifted-down", "1x1:3x40:4/4", "mask")
        + rows("standard", "shifted-down", "2x1:3x40:4/4", "lengths")
        + rows("standard", "shifted-far", "1x1:3x40:4/4", "mask")
        + rows("standard", "normal", "1x1:4x20:8/8", "bias-low")
        + rows("smoke", "normal", "1x1:5x23:8/8", "bias-low", "mask")
        + rows("thorough", "large", "2x2:33x130:8/8", "mask", "garbage"),
    ),
    (
        Family("shifted", "a running maximum that starts at a finite sentinel, a static maximum, clipped scores", "flashinfer-ai/flashinfer#4267; ROCm/aiter#5086"),
        rows("smoke", "shifted-down shifted-up shifted-constant", "1x1:2x9:3/3 1x1:2x40:3/3")
        + rows("standard", "shifted-down shifted-down shifted-up shifted-constant", "1x2:3x17:3/3 1x1:3x70:3/3")
        + rows("standard", "shifted-down", "1x1:9x9:3/3", "causal")
        + rows("standard", "shifted-far", "1x1:2x9:3/3 1x2:3x40:3/3")
        + rows("thorough", "shifted-down shifted-up shifted-constant", "1x4:3x130:3/3"),
    ),
    (
        Family("ramps", "the maximum not updated, a rescaling missed for numerator or denominator", "assay's bank"),
        rows("smoke", "ramp-up ramp-down steep-ramp staircase", "1x1:2x40:3/4")
        + rows("smoke", "ramp-up", "1x1:2x129:3/4")
        + rows("standard", "ramp-up ramp-down steep-ramp staircase", "1x1:3x130:3/4 1x2:3x65:3/4")
        + rows("standard", "slow-staircase", "1x1:2x1100:2/2")
        + rows("thorough", "ramp-up steep-ramp staircase", "1x2:2x300:3/4 1x2:2x513:3/4")
        + rows("thorough", "slow-staircase", "1x1:2x4100:2/2"),
    ),
    (
        Family("row-levels", "one maximum for a tile of rows, or none", "assay's bank"),
        rows("smoke", "row-levels", "1x1:17x19:8/4")
        + rows("standard", "row-levels", "1x2:33x40:16/4 1x1:65x70:8/4")
        + rows("thorough", "row-levels", "1x2:130x130:8/4"),
    ),
    (
        Family("large-logits", "scores in a shorter type, a scale constant rounded", "assay's bank"),
        rows("standard", "large", "1x2:5x19:16/8")
        + rows("smoke", "large", "1x1:4x33:64/8")
        + rows("smoke", "odd-scale", "1x2:5x19:16/8 1x1:4x33:64/8")
        + rows("standard", "large odd-scale", "1x2:9x33:40/8 1x2:17x65:64/16 1x1:5x17:128/8")
        + rows("thorough", "large odd-scale", "1x4:33x65:64/64 1x2:9x40:256/8"),
    ),
    (
        Family("scale", "the scale ignored, doubled, taken for unset when 0, of the padded dim", "SKaiNET#860; Megatron-LM#3698; intel/ipex-llm#12619; sglang#485; BobMcDear/attorch#14"),
        rows("smoke", "zero-scale negative-scale", "1x1:4x9:5/3")
        + rows("smoke", "normal", "1x2:5x9:3/3 1x1:5x9:40/8")
        + rows("standard", "zero-scale negative-scale odd-scale", "1x2:17x33:24/8")
        + rows("standard", "normal", "1x2:5x9:96/8")
        + rows("smoke", "normal", "1x2:5x9:17/33")
        + rows("standard", "normal", "1x1:5x9:1/1")
        + rows("smoke", "zero-scale negative-scale", "1x2:5x5:8/8", "causal")
        + rows("smoke", "zero-scale negative-scale", "1x2:3x5:8/8", "bottom-right")
        + rows("standard", "zero-scale negative-scale", "1x2:9x9:8/8", "window=3,1")
        + rows("standard", "zero-scale negative-scale", "2x2:5x9:8/4", "mask")
        + rows("standard", "zero-scale negative-scale", "2x2:5x9:8/4", "mask-empty")
        + rows("standard", "zero-scale negative-scale", "2x2:5x9:8/4", "bias")
        + rows("standard", "zero-scale negative-scale", "2x2:5x9:8/4", "bias-inf")
        + rows("standard", "zero-scale negative-scale", "3x2:5x9:8/4", "lengths")
        + rows("standard", "zero-scale negative-scale", "1x2:5x9:8/4", "softcap=1.9")
        + rows("standard", "zero-scale negative-scale", "1x2:5x9:8/4", "sink")
        + rows("standard", "zero-scale negative-scale", "1x2:5x9:8/4", "lse")
        + rows("standard", "zero-scale negative-scale", "2x4/2:17x33:16/16", "causal")
        + rows("standard", "normal", "1x2:5x5:8/8", "causal", "scale=1e-9")
        + rows("standard", "normal", "1x2:5x9:8/4", "bias-inf", "scale=1e-9")
        + rows("standard", "normal", "1x2:5x9:8/4", "lengths", "scale=-1e-9")
        + rows("standard", "large shifted-up steep-ramp row-levels", "1x2:5x17:8/4 1x2:3x140:16/4", "scale=-0.4217"),
    ),
    (
        Family("dims", "columns of a head dropped, value dim taken for head dim, transposed products", "triton-lang/triton#621; XunhaoLai/native-sparse-attention-triton#27", keeps=("dims",)),
        rows("smoke", "normal", "1x1:5x7:128/128 1x1:5x7:96/8 1x1:6x6:6/6 1x1:4x9:8/20")
        + rows("standard", "normal identity", "1x1:9x9:17/9 1x1:8x8:8/8 1x1:5x11:64/65 1x1:3x5:129/3 1x1:3x5:80/72")
        + rows("thorough", "normal", "1x1:5x9:256/256 1x1:5x9:192/128 1x1:5x9:7/1")
        + rows("smoke", "normal", "1x1:4x6:15/7"),  # one less than what is unrolled
    ),
    (
        Family("heads", "query heads mapped to the wrong key head, head 0 for all, a stride taken from another axis", "LMCache#3092; XunhaoLai/native-sparse-attention-triton#27; marin-community/levanter#449; fla-org/flash-linear-attention#384; BobMcDear/attorch#14", keeps=("heads", "batch")),
        rows("smoke", "normal", "1x6/2:5x7:8/4 2x4/1:3x9:8/4 2x3:5x6:8/4")
        + rows("standard", "planted large", "2x6/3:9x17:8/8 1x8/2:17x19:8/8")
        + rows("standard", "normal", "2x6/2:7x9:8/4", "causal")
        + rows("thorough", "normal", "3x12/4:9x17:16/8 1x7/7:5x9:8/8"),
    ),
    (
        Family("batches", "content of one batch used for another, positions or lengths shared", "assay's bank", keeps=("heads", "batch")),
        rows("smoke", "large", "3x2:4x7:8/4")
        + rows("smoke", "normal", "3x2:4x9:8/4", "lengths")
        + rows("standard", "large", "4x2:9x17:8/8")
        + rows("standard", "normal", "4x2:9x17:8/8", "lengths", "garbage"),
    ),
    (
        Family("values", "small weights skipped, values or sums in a shorter type", "assay's bank"),
        rows("smoke", "tiny-weights alternating identity constant", "1x1:3x17:4/17")
        + rows("smoke", "huge-values tiny-values", "1x1:5x17:8/8")
        + rows("standard", "tiny-weights alternating identity constant huge-values tiny-values", "1x2:5x65:8/16")
        + rows("thorough", "tiny-weights alternating identity", "1x2:9x129:8/129"),
    ),
    (
        Family("long-rows", "sums in half precision, accumulators that stagnate, an offset of too few bits", "assay's bank"),
        rows("smoke", "positive-sum", "1x1:1x1000:4/2")
        + rows("standard", "positive-sum alternating planted-tail", "1x1:2x2049:4/2")
        + rows("standard", "positive-sum zero-scores", "1x1:1x4100:2/2")
        + rows("thorough", "positive-sum normal ramp-up", "1x1:2x4100:4/4 1x1:2x6000:4/2"),
    ),
    (
        Family("exact-scores", "products in a shorter type", "assay's bank"),
        rows("smoke", "integers", "1x1:5x9:8/4")
        + rows("standard", "integers", "1x2:17x33:32/8 1x1:5x9:64/4"),
    ),
    (
        Family("raw-products", "unscaled products held in half precision", "assay's bank"),
        rows("smoke", "raw-large", "1x1:3x9:64/4")
        + rows("standard", "raw-large", "1x2:5x17:128/8"),
    ),
    (
        Family("small-numbers", "signs of zero, subnormals, exact zeros", "assay's bank"),
        rows("smoke", "small-numbers", "1x1:5x9:8/4")
        + rows("thorough", "small-numbers", "1x2:17x33:16/8", "causal"),
    ),
    (
        Family("bias", "a bias scaled or added twice, on the wrong axis, ALiBi slopes of 6 or 12 heads", "assay's bank", keeps=("heads", "batch")),
        rows("smoke", "normal", "2x2:5x9:8/4", "bias")
        + rows("smoke", "normal", "1x6:7x7:8/4", "bias-heads")
        + rows("standard", "negative-scale odd-scale", "2x2:5x17:8/4", "bias")
        + rows("standard", "normal", "1x12/4:9x9:8/4", "bias-heads", "causal")
        + rows("standard", "normal", "1x7:5x9:8/4", "bias-heads")
        + rows("standard", "normal", "2x2:9x40:8/4", "bias", "mask"),
    ),
    (
        Family("mask", "a mask inverted, added as 0 and 1, broadcast along the wrong axis", "assay's bank"),
        rows("smoke", "normal", "2x2:6x6:8/4 1x1:5x9:8/4", "mask")
        + rows("standard", "large", "2x2:17x33:8/8 3x1:7x7:8/4", "mask")
        + rows("smoke", "normal", "2x4/2:9x17:8/4", "mask", "causal")
        + rows("standard", "normal", "1x2:70x70:16/16", "mask")  # more queries than a tile has
        + rows("standard", "normal", "2x2:130x33:16/16", "mask-full")
        + rows("standard", "normal", "1x2:3x530:16/16 1x1:2x1030:16/16", "mask")
        + rows("standard", "normal", "2x2:3x600:16/16", "mask-padding"),
    ),
    (
        Family("softcap", "the cap before the scale, after the bias, or left out", "assay's bank"),
        rows("smoke", "large", "1x2:5x9:8/4", "softcap=2.3")
        + rows("standard", "large odd-scale", "1x2:9x33:16/8", "softcap=7.7")
        + rows("smoke", "large", "2x2:5x9:8/4", "softcap=1.9", "bias")
        + rows("standard", "large", "1x1:9x9:8/4", "softcap=50.3", "causal")
        + rows("standard", "saturating", "1x2:5x17:8/4", "softcap=3.1")
        + rows("standard", "saturating", "1x2:9x9:8/4", "softcap=3.1", "causal", "lse"),
    ),
    (
        Family("sink", "a sink left out, with a value of its own, or outside the maximum", "assay's bank"),
        rows("smoke", "normal", "1x2:5x9:8/4", "sink")
        + rows("standard", "large", "2x2:5x17:8/4", "sink")
        + rows("smoke", "shifted-down", "2x2:5x17:8/4", "sink")
        + rows("standard", "normal", "1x4/2:9x9:8/4", "sink", "causal")
        + rows("standard", "normal", "2x2:5x9:8/4", "sink", "mask-empty"),
    ),
    (
        Family("log-sum-exp", "a log-sum-exp in base two, without the maximum, finite for an empty row", "flashinfer-ai/flashinfer#4452"),
        rows("smoke", "normal large", "1x2:5x9:8/4", "lse")
        + rows("standard", "shifted-up shifted-down ramp-up", "1x1:3x40:3/4", "lse")
        + rows("standard", "normal", "1x2:9x9:8/4", "lse", "causal")
        + rows("standard", "normal", "2x2:5x9:8/4", "lse", "sink")
        + rows("standard", "normal", "2x2:5x9:8/4", "lse", "sink", "mask-empty"),  # the sink alone
    ),
    (
        shared.LAYOUTS,
        rows("smoke", "normal", "2x3:5x7:8/6", layout="permuted")
        + rows("smoke", "normal", "2x3:5x7:8/6", layout="gap")
        + rows("smoke", "normal", "2x3:5x7:8/6", layout="offset")
        + rows("smoke", "normal", "2x3:5x7:8/6", "same-heads", layout="expanded")
        + rows("smoke", "normal", "2x3:7x7:8/6", layout="packed")
        + rows("standard", "normal", "2x3:5x7:8/6", layout="transposed")
        + rows("standard", "normal", "2x3:5x7:8/6", layout="reversed")
        + rows("standard", "normal", "2x4/2:17x33:16/8", "causal", layout="permuted")
        + rows("standard", "normal", "2x3:5x7:8/6", "same-batch", layout="expanded")
        + rows("standard", "normal", "2x4/2:9x9:16/16", "causal", layout="packed")
        + rows("standard", "normal", "2x3:5x7:8/6", "mask-empty", layout="permuted")
        + rows("standard", "normal", "1x3:7x7:8/6", "bias-heads", layout="transposed")
        + rows("standard", "normal", "2x3:5x7:8/6", layout="spaced")  # the last axis too is no unit stride
        + rows("standard", "normal", "2x2:34x70:16/16", layout="permuted")
        + rows("standard", "normal", "2x2:34x70:16/16", layout="gap")
        + rows("standard", "normal", "2x2:34x70:16/16", layout="offset")
        + rows("standard", "normal", "2x2:34x70:16/16", layout="transposed")
        + rows("standard", "normal", "2x2:34x70:16/16", layout="reversed")
        + rows("standard", "normal", "2x2:34x70:16/16", layout="spaced")
        + rows("standard", "normal", "2x2:70x70:16/16", layout="packed")
        + rows("standard", "normal", "2x2:34x70:16/16", "same-heads", layout="expanded")
        + tuple(
            row
            for option in ("mask-padding", "mask-one", "bias-keys", "bias-one")
            for row in rows("standard", "normal", "2x3:5x7:8/6", option, "whole", layout="expanded")
        )
        + rows("standard", "normal", "2x3:5x7:8/8 2x4/2:17x17:16/16", layout="mixed")
        + rows("standard", "normal", "2x3:5x7:8/6 1x4:1x40:16/16", "same-keys", layout="expanded")
        + rows("standard", "normal", "2x3:5x7:8/6 1x4:1x40:16/16", "same-values", layout="expanded"),
    ),
    (
        shared.FAR_STRIDES,
        rows("smoke", "normal", "2x2:7x7:8/6", layout="far-batches")
        + rows("standard", "normal", "1x2:7x7:8/8", layout="far-heads")
        + rows("thorough", "normal", "3x4/2:17x17:16/8", "causal", layout="far-heads")
        + rows("thorough", "normal", "3x2:17x33:16/8 2x2:34x70:16/16", layout="far-batches")
        + rows("thorough", "normal", "2x2:34x70:16/16", layout="far-heads"),
    ),
    (
        shared.STATE,
        rows("smoke", "normal", "1x2:9x9:8/8", after="numbers")
        + rows("smoke", "large", "1x2:9x9:8/8", after="scale")
        + rows("smoke", "normal", "2x2:7x7:8/4", "mask", after="mask")
        + rows("standard", "normal", "1x2:33x33:8/8", after="later-numbers")
        + rows("standard", "normal", "1x2:9x9:8/8", "causal", after="causal")
        + rows("standard", "large", "1x2:9x9:8/8", after="same scale")
        + rows("standard", "normal", "2x2:5x9:8/4", "causal", after="alignment")
        + rows("standard", "normal", "1x2:9x9:8/4", "window=3,1", after="window")
        + rows("standard", "normal", "1x2:9x9:8/4", "window=3,1", after="same no-window")
        + rows("standard", "normal", "2x2:5x9:8/4", "mask", after="same no-mask")
        + rows("standard", "normal", "2x2:5x9:8/4", "bias", after="bias")
        + rows("standard", "normal", "2x2:5x9:8/4", "bias", after="no-bias")
        + rows("standard", "normal", "3x2:5x17:8/4", "lengths", after="lengths")
        + rows("standard", "large", "1x2:5x9:8/4", "softcap=1.9", after="softcap")
        + rows("standard", "large", "1x2:5x9:8/4", "softcap=1.9", after="no-softcap")
        + rows("standard", "normal", "1x2:5x9:8/4", "sink", after="sink")
        + rows("standard", "normal", "1x2:5x9:8/4", "lse", after="numbers")
        + rows("standard", "normal", "1x2:9x23:8/4", after="longer shorter")
        + rows("thorough", "normal large", "2x4/2:17x33:16/8", "mask", after="numbers scale same mask")
        + rows("thorough", "normal large", "3x2:17x33:8/8", "lengths", after="longer lengths shorter"),
    ),
    (
        shared.CONCURRENT,
        rows("standard", "normal", "1x2:17x17:8/8", beside="numbers scale")
        + rows("standard", "normal", "1x2:9x9:8/8", "causal", beside="causal longer")
        + rows("thorough", "normal", "2x4/2:33x65:16/8", beside="numbers scale same shorter"),
    ),
    (
        shared.LARGE_GRID,
        rows("standard", "normal", "4x12:3x5:4/3 2x24/6:9x9:4/4")
        + rows("thorough", "normal", "8x16:17x17:8/8")
        + rows("standard", "normal", "3x11:3x5:4/3"),  # a number of heads that no two or four threads share evenly
    ),
    (
        Family("broadcast", "masks and biases with axes of 1 or with fewer than four, and a bias in float32", "assay's bank", keeps=("heads", "batch")),
        rows("smoke", "normal", "2x2:5x9:8/4", "mask-padding")
        + rows("smoke", "normal", "2x2:5x9:8/4", "bias-keys")
        + rows("smoke", "normal", "2x2:5x9:8/4", "mask-two")
        + rows("standard", "normal", "1x3:5x9:8/4 2x3:5x9:8/4", "mask-heads")
        + rows("standard", "normal", "2x3:5x9:8/4", "mask-full")
        + rows("standard", "normal", "2x3:5x9:8/4", "mask-three")
        + rows("standard", "normal", "2x3:5x9:8/4", "mask-one")
        + rows("standard", "normal", "2x3:5x9:8/4", "mask-queries")
        + rows("standard", "normal", "2x3:5x9:8/4", "bias-full")
        + rows("standard", "normal", "2x3:5x9:8/4", "bias-three")
        + rows("standard", "normal", "2x3:5x9:8/4", "bias-two")
        + rows("standard", "normal", "2x3:5x9:8/4", "bias-one")
        + rows("standard", "normal", "2x3:5x9:8/4", "bias-queries")
        + rows("standard", "normal", "2x3:5x9:8/4", "bias-padding")
        + rows("standard", "normal", "2x3:5x9:8/4 1x2:17x65:64/64", "bias-wide")
        + rows("standard", "normal", "1x4/2:1x40:64/64 2x8/1:1x130:64/64", "mask-padding")  # a decode step
        + rows("standard", "normal", "1x4/2:1x40:64/64 2x8/1:1x130:64/64", "bias-keys")
        + rows("standard", "normal", "2x2:70x70:32/32", "mask-padding", "causal"),
    ),
    (
        Family("equal-lengths", "axes told apart by their lengths: a mask of batches read by heads, a matrix that fits transposed", "assay's bank", keeps=("heads", "batch")),
        tuple(
            row
            for option in (*("mask-one", "mask-two", "mask-three", "mask-padding"), *("bias-one", "bias-two", "bias-three", "bias-keys"), "lengths", "sink")
            for row in rows("standard", "normal", "3x2:3x7:8/4 3x3:5x7:8/4 2x5:5x7:8/4 2x7:5x7:8/4 5x2:3x5:8/4 4x4:4x4:4/4", option)
        )
        + tuple(
            row
            for layout in ("permuted", "transposed", "gap", "spaced", "reversed", "packed")
            for row in rows("standard", "normal", "1x2:8x8:8/8 2x8:8x8:8/8 1x1:64x64:64/64", layout=layout)
        ),
    ),
    (
        Family("alike", "a shortcut for rows, batches or values that look alike, which forgets what tells them apart", "assay's bank", keeps=("heads", "batch")),
        tuple(
            row
            for option in (*("causal", "window=2,1", "mask-full", "mask-heads", "bias-full", "lengths"), *("sink", "softcap=1.9", "lse", "scale=0"))
            for row in rows("standard", "constant alike-queries", "2x2:9x17:8/4", option)
            + rows("standard", "normal", "3x2:5x9:8/4", option, "same-batch")
            + rows("standard", "normal", "1x3:5x9:8/4", option, "same-heads")
        ),
    ),
    (
        Family("unlike-heads", "a maximum or a sum that heads, batches or rows of a group share", "assay's bank", keeps=("heads", "batch")),
        rows("smoke", "unlike-heads", "2x3:5x9:8/4")
        + rows("standard", "unlike-heads", "2x8/1:4x33:64/64 1x4/2:17x17:16/16")
        + rows("standard", "unlike-heads", "2x3:9x9:8/4", "causal", "lse")
        + rows("standard", "unlike-heads", "3x2:5x17:8/4", "lengths")
        + rows("standard", "unlike-heads", "2x3:1x70:16/16", "sink"),
    ),
    (
        Family("normalised", "probabilities that are rounded to half precision as shares of a long row", "assay's bank"),
        rows("standard", "faint-weights", "1x1:2x1100:4/4")
        + rows("thorough", "faint-weights", "1x2:2x4100:4/4 1x1:2x8200:4/4"),
    ),
    (
        Family("accumulation", "a sum, an accumulator or a merge in a short type", "assay's bank"),
        rows("standard", "huge-values positive-sum", "1x2:2x1300:4/4")
        +
        rows("standard", "cancelling-tiles cancelling-tiles late-values", "1x1:2x4096:2/4")
        + rows("standard", "cancelling-tiles late-values positive-sum", "1x2:3x1100:8/4")
        + rows("thorough", "cancelling-tiles late-values positive-sum", "1x1:2x16400:2/2"),
    ),
    (
        Family("long", "a fast path for long rows, an index in 16 bits, a grid that ends", "assay's bank"),
        rows("standard", "normal", "2x8/1:2x1100:64/64")
        + rows("standard", "normal", "2x8/1:1x1100:64/64", "lengths")
        + rows("standard", "normal", "1x8/1:3x1100:64/64", "bottom-right")
        + rows("standard", "normal", "1x2:5x4103:4/4", "bottom-right")
        + rows("standard", "normal", "1x2:5x4103:4/4", "window=9,2", "bottom-right")
        + rows("standard", "normal", "2x1:3x4103:4/4", "lengths")
        + rows("standard", "normal", "1x1:1x65537:2/1 1x1:65537x2:2/1")
        + rows("thorough", "normal", "2x8/1:2x8200:64/64")
        + rows("thorough", "normal", "1x8/1:2x8200:64/64", "mask-padding")
        + rows("thorough", "normal", "1x1:2x65537:4/2 1x2:65537x3:4/2")
        + rows("thorough", "normal", "1x2:1100x1100:64/64", "causal"),
    ),
    (
        Family("normal", "nothing in particular: what every other test does", "assay's bank"),
        rows("smoke", "normal", "2x4:17x17:16/16")
        + rows("thorough", "normal", "2x4:33x33:32/32 1x2:65x65:64/64")
        + rows("standard", "normal", "1x1:128x128:64/64")  # full tiles of a usual size: where fast paths run
        + rows("thorough", "normal", "1x2:130x257:64/64 2x2:64x64:64/64", "causal"),
    ),
)  # fmt: skip

#: Normal numbers in the shapes of daily work, on which quality is measured.
TYPICAL = rows("smoke", "normal", "1x2:16x16:16/16 1x2:64x64:32/32 1x1:32x256:64/64 1x1:8x1024:64/16")
