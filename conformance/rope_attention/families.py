"""The families of attention with relative positions: which positions, W, biases and sizes hunt which bug."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

from assay.conformance.attention.families import TABLE as ATTENTION
from assay.conformance.attention.options import parse_shape
from assay.conformance.interface import families as shared
from assay.conformance.interface.suite import Family, Row, by_levels, worded
from assay.conformance.rope_attention.combinations import COVERING, resized
from assay.conformance.softmax.patterns import PATTERNS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TABLE", "TYPICAL"]


def _rows(level: str, text: str, **others: str) -> Iterator[Row]:
    """The rows that a text says: patterns of numbers, sizes, and options."""
    return worded(level, text, PATTERNS, **others)


def _both(level: str, text: str, **others: str) -> Iterator[Row]:
    """Every input in either layout of pairs: a kernel that has only one of them sees as much as one that has both."""
    for words in text.split(";"):
        yield from _rows(level, f"{words}; pairs {words}", **others)


#: A family of the rotary form, in either layout, with the rows that each level adds as a text.
_rotary = functools.partial(by_levels, said=_both)


#: A family whose rows say their form and their layout themselves.
_any_form = functools.partial(by_levels, said=_rows)


_TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    _rotary(Family("pairs", "halves rotated where pairs were asked for, or the reverse; tables of one layout, rotation of the other", "huggingface/transformers#47328; raiyanyahya/how-to-train-your-gpt#6, #7; NeuraLegion/shainet#111; tenstorrent/tt-metal#26844"),
        smoke="1x1:3x3:4/4; 2x4/2:5x7:8/4 cached",
        standard="large 1x2:9x9:64/16; 1x2/1:5x9:64/8 from=100; 1x1:5x5:12/3 from=100"),
    _rotary(Family("decode", "one new query: rows 0 … of the table, its batch forgotten, another window, no bias", "pytorch/executorch#2010; OpenNMT/CTranslate2#1572; skyzh/tiny-llm#46; scouzi1966/maclocal-api#92"),
        smoke="1x2:1x9:8/4 cached; 3x2/1:1x9:8/4 offsets=40; 2x2:1x9:8/4 cached window=3,0 bottom-right",
        standard="2x4/1:1x33:64/64 from=37; 3x2:1x17:16/8 ragged; 3x2:1x17:16/8 rows=500; 1x2:2x17:16/8 cached bottom-right; 2x2:1x17:16/8 cached relative",
        thorough="2x8/1:1x300:64/64 from=4000"),
    _rotary(Family("positions", "positions ignored, off by one, sorted, taken for consecutive ones, those of one batch for all", "lucidrains/rotary-embedding-torch#11; pytorch/executorch#2010; OpenNMT/CTranslate2#1572; skyzh/tiny-llm#46; Comfy-Org/ComfyUI#15698"),
        smoke="2x2/1:5x5:8/4 shuffled=40; 3x2/1:4x6:8/4 rows=60; 1x2:5x5:8/4 apart=9; 1x1:3x7:4/4 cached",
        standard="2x2:9x9:16/8 stretched=3; 3x2/1:7x9:16/8 offsets=300; 2x2/1:8x8:16/8 backwards=20; 3x2/1:7x7:16/8 rows=900; 2x2/1:8x8:16/8 ends; 1x2:5x9:16/8 apart=60; 1x2:6x3:8/4 cached; 1x2:9x5:8/4",
        thorough="5x2/1:17x33:64/16 rows=4000"),
    _rotary(Family("ragged", "rows of unlike length: queries at the padded cursor, keys counted with their padding", "scouzi1966/maclocal-api#92; Comfy-Org/ComfyUI#15698"),
        smoke="3x2:1x8:8/4 ragged; 3x2/1:4x8:8/4 ragged mask-left",
        standard="3x2:5x9:8/4 ragged lengths; 4x2/1:5x17:16/8 offsets=30 lengths; 3x1:9x9:16/8 rows=40 lengths causal"),
    _rotary(Family("landing", "cached keys joined or evicted without being turned to where they land; queries counted from what a cache retains", "MemTensor/MemOS#2315, #2304; rajveer43/VeloxQuant-MLX#389"),
        smoke="1x2:2x8:8/4 apart=12; 1x2/1:3x8:8/4 shuffled=30",
        standard="2x2:4x16:16/8 shuffled=200; 1x2:4x12:16/8 apart=31; 2x2:3x12:8/4 stretched=5"),
    _rotary(Family("packed", "texts side by side whose positions begin again; ranks that take parts of them; an odd length", "NVIDIA/Megatron-LM#5243; NVIDIA/TransformerEngine#1930"),
        smoke="2x2/1:7x7:16/4 packed=4; 1x2:8x8:8/4; 1x1:5x5:4/4",
        standard="1x2/1:9x9:8/4 packed=3; 1x2:17x17:8/8 from=4; 1x2:3x7:8/4 cached"),
    _rotary(Family("negative", "positions below 0 that are read from the end of a table, or without their sign", "assay's bank"),
        smoke="1x2/1:5x5:8/4 signed=3",
        standard="2x2:7x7:32/8 signed=900; 1x2:4x9:16/4 signed=5"),
    _rotary(Family("one-side", "queries or keys that are not rotated, rotated twice or backwards; values that are rotated too", "kvcache-ai/sglang#66"),
        smoke="1x1:4x4:4/4; 1x2:3x5:8/8 from=2",
        standard="2x2:6x6:16/16 from=5; 1x4/2:5x9:8/8 rows=20"),
    _rotary(Family("half-angles", "frequencies, positions or angles in half precision: bfloat16 from position 257 on, float16 from 2049 on", "EleutherAI/gpt-neox#1003; huggingface/transformers#25681, #29285, #29496; KellerJordan/modded-nanogpt#39; Modalities/modalities#462; okoge-kaz/llm-recipes#6"),
        smoke="large 1x1:2x4:32/4 apart=257; large 1x1:2x4:32/4 from=2049; large 1x1:2x4:64/4 apart=509",
        standard="large 1x2:2x5:32/4 apart=1021; large 1x1:2x5:64/4 apart=2051; large 1x1:3x5:128/4 from=4091; large 1x1:2x4:64/4 apart=4099"),
    _rotary(Family("table-ends", "positions beyond a table: unrotated, its last row, or begun again", "microsoft/onnxruntime#28205"),
        smoke="1x1:4x4:16/4 from=2046; 1x1:2x4:16/4 from=4094",
        standard="; ".join(f"1x1:4x4:32/4 from={2**power - 2}" for power in (6, 7, 8, 9, 10, 13, 14, 15, 16, 17)),
        thorough="1x1:4x4:32/4 from=262142"),
    _rotary(Family("far", "a product of position and frequency that is too short, sines of large arguments", "EleutherAI/gpt-neox#1003"),
        smoke="1x1:3x4:64/4 from=100000",
        standard="1x1:3x4:128/4 from=500000; 2x1:3x4:64/4 rows=1000000; 1x1:3x4:64/4 from=16777210 base=1000000"),
    _rotary(Family("partial", "the columns beyond the rotary ones rotated too, frequencies or a scale of the whole dim", "ml-explore/mlx-lm#1698; vllm-project/vllm#16912; jagmarques/nexusquant#12; huggingface/transformers#48652, #48682; NVIDIA/FasterTransformer#182"),
        smoke="1x2/1:5x5:8/4 rotary=4 from=7; 1x2:4x6:16/4 rotary=4; large 1x1:3x5:20/4 rotary=10",
        standard="1x1:5x5:16/4 rotary=2 from=3; 2x1:5x5:16/8 rotary=14; 1x1:5x5:7/4 rotary=6; large 1x2/1:5x9:64/16 rotary=32 from=300; 1x2:5x5:40/8 rotary=20 yarn=4,2048 from=3000; 1x2:3x5:80/8 rotary=20 from=50; 1x2:5x5:32/8 rotary=12 ntk=8 from=9"),
    _rotary(Family("frequencies", "a frequency inverted, the exponent divided in integers, shifted by one, or of another sign; the base not passed", "xlite-dev/LeetCUDA#289, #290; stanford-cs336/assignment1-basics#22; labmlai/annotated_deep_learning_paper_implementations#313; google/gemma.cpp#986; young-geng/EasyLM#117"),
        smoke="1x1:4x4:8/4; 1x1:3x5:16/4 base=500000; 1x2:4x4:8/4 base=100",
        standard="large 1x2:9x9:16/8 base=500000; 1x2:3x5:64/8 base=1000000 from=999; 1x2:5x5:18/4; 1x1:3x5:32/4 base=2"),
    _rotary(Family("linear", "the factor ignored, inverted, applied twice", "antonellof/ferrox#39; lablup/mlxcel#1340; vllm-project/vllm#29111"),
        smoke="1x2/1:5x5:16/4 linear=4 from=7",
        standard="large 1x2:4x9:32/8 linear=8 apart=400; 2x2/1:5x5:16/8 linear=2.5 rows=50 base=500000; 1x2:3x9:16/8 linear=4 apart=50"),
    _rotary(Family("ntk", "frequencies divided where the base is raised, an exponent without d − 2", "vllm-project/vllm#29111"),
        smoke="1x2/1:5x5:16/4 ntk=4 from=7",
        standard="large 1x2:4x9:32/8 ntk=8 apart=400; 1x2/1:5x5:4/4 ntk=2 from=31"),
    _rotary(Family("dynamic", "a base that is constant, scaled below the original length, or by the positions of queries or keys alone", "vllm-project/vllm#5093, #41301"),
        smoke="1x2/1:4x6:16/4 dynamic=4,8 cached; 1x2:4x6:16/4 dynamic=4,100; 1x2:4x6:16/4 dynamic=4,8 apart=30",
        standard="large 2x2:5x9:16/8 dynamic=8,16 apart=60; 1x2/1:5x5:32/4 dynamic=2,100 from=3; 1x2:3x5:16/4 dynamic=4,6 from=40"),
    _rotary(Family("llama3", "bands parsed and not scaled, exchanged, or not blended", "lablup/mlxcel#1355; jmaczan/tiny-vllm#1; sbryngelson/ANEForge#58; unslothai/unsloth#6197; ggml-org/llama.cpp#8676"),
        smoke="1x2/1:4x5:32/4 llama3=8,256 apart=60; 1x1:2x4:64/4 llama3=8,8192 base=500000 apart=4000",
        standard="large 1x2:4x9:64/8 llama3=8,64 apart=400; 2x1:4x5:32/4 llama3=4,100,1,8 rows=90"),
    _rotary(Family("yarn", "the ramp inverted, or with other ends", "assay's bank"),
        smoke="1x2/1:4x5:32/4 yarn=8,256 apart=60",
        standard="large 1x2:4x9:64/8 yarn=16,2048 apart=1000; 2x1:4x5:32/4 yarn=4,300,1,16 untruncated rows=90"),
    _rotary(Family("magnitude", "the magnitude of yarn left out, applied twice or to one side, computed where it was given", "vllm-project/vllm#46280, #48351; ml-explore/mlx-lm#1507; sgl-project/sglang#33558; NVIDIA/TensorRT-LLM#16379"),
        smoke="1x2/1:4x5:16/4 yarn=64,2048 magnitude=1; 1x2:4x5:16/4 yarn=128,2048",
        standard="large 1x2/1:4x9:16/8 yarn=16,2048 magnitude=0.8 from=9; 1x2:4x5:16/8 yarn=40,4096 rotary=8 from=5; 1x2:1x9:16/8 yarn=40,4096 cached"),
    _rotary(Family("heads", "heads of keys counted as those of queries, or positions taken along the axis of heads", "LMCache#3092; mlfoundations/open_lm#4"),
        smoke="1x6/2:5x7:8/4; 2x4/1:3x9:8/4 cached",
        standard="2x6/3:9x9:8/8; 1x8/2:5x9:16/8 rows=70; 1x5:4x4:8/4; 1x4/4:6x4:8/4"),
    _rotary(Family("tails", "lengths that are no multiple of a tile, dims with an odd number of pairs or with pairs that no thread takes", "ggml-org/llama.cpp#2760, #3024; NVIDIA/TransformerEngine#1930", keeps=("lengths", "dims")),
        smoke="1x1:17x17:8/8; 1x1:3x65:8/4 cached; 1x1:4x5:6/3; 1x2:3x5:40/8 cached",
        standard="1x1:33x33:8/8; 1x2:5x129:16/8 cached; 1x1:4x5:10/5; 1x2:3x5:20/4; 1x2:3x5:36/4; 1x1:3x5:72/4; 1x1:3x5:96/8; 1x1:3x5:112/8; 1x1:2x300:8/4 cached; 1x1:65x9:8/4; 1x1:1x2100:8/4 from=7",
        thorough="1x2:130x257:64/64; 1x1:3x5:256/16"),
    _rotary(Family("masks", "a causal mask or a window that follows positions where it should count queries and keys, or the reverse", "huggingface/transformers#39408; microsoft/onnxruntime#28904", keeps=("causal_cross_lengths",)),
        smoke="1x2:6x6:8/4 shuffled=20 causal; 1x2:3x7:8/4 cached bottom-right; 1x2:7x7:8/4 causal; 1x2:3x7:8/4 causal; 1x2:9x9:8/4 window=2,0 causal; 2x2:5x9:8/4 lengths causal",
        standard="2x2:9x9:8/4 packed=4 causal; 1x2:9x9:16/8 from=50 window=3,2; 2x2/1:5x9:8/4 offsets=50 bottom-right lengths; 2x2:5x9:8/4 mask; 1x2:17x17:16/8 window=4,* causal; 2x2:5x9:8/4 mask-empty; 2x2:4x6:8/4 lengths-zero; 1x1:7x3:8/4 bottom-right; 2x2:33x65:8/4 mask-left garbage; 1x2:1x21:8/4 cached window=5,0 bottom-right; 1x2:9x9:8/4 shuffled=12 window=3,2; 2x2:5x9:8/4 rows=12 lengths; 1x2:3x9:8/4 apart=4 causal"),
    _rotary(Family("with-options", "a softcap, a sink, a bias or a log-sum-exp that the rotary path leaves out", "assay's bank"),
        smoke="large 1x2:5x5:8/4 softcap=2.3; 1x2:5x5:8/4 sink; 2x2:5x7:8/4 bias cached; 1x2:5x7:8/4 lse",
        standard="large 2x2:5x9:16/8 softcap=7.7 bias from=9; 2x4/2:9x9:8/4 sink causal lse; 1x2:5x9:8/4 lse yarn=16,2048; 2x3:5x9:8/4 bias-full; 2x2:5x9:8/4 bias-padding rows=30"),
    _any_form(Family("relative-bias", "a bias of offsets that is dropped, reversed, off by one, misaligned, of one head or scaled", "NVIDIA/TensorRT-LLM#13870; keras-team/keras-hub#2862; huggingface/transformers#8518; lucidrains/x-transformers#153; ml-explore/mlx#3071"),
        smoke="1x2:5x5:8/4 relative; 2x2:5x7:8/4 rows=5 relative-steep; 1x2:1x7:8/4 cached relative; 2x2:1x9:8/4 offsets=30 relative-steep; 1x6:4x4:8/4 alibi; 1x2:3x6:8/4 relative; 2x2:6x3:8/4 relative; pairs 1x2:5x5:8/4 relative; w=diagonal 1x2:4x5:4/4 relative; w=diagonal 1x2:1x6:4/4 relative",
        standard="2x2:9x17:8/4 buckets; 1x4/2:9x9:8/4 relative causal; 1x2:12x12:8/4 banded; 1x3:5x9:8/4 relative-one; 2x2:5x9:8/4 relative-steep lengths; 1x2:1x33:16/8 cached buckets bottom-right; 1x12/4:5x9:8/4 alibi causal; 1x2:9x9:8/4 relative scale=0.1; pairs 2x2:5x9:8/4 alibi; w=scattered 1x2:5x9:8/4 buckets; w=decaying 2x4/2:5x9:8/4 relative causal; 1x2:5x9:8/4 relative softcap=2.3; 1x2:5x9:8/4 relative sink lse; 1x6/2:5x9:8/4 relative-steep; 1x2:3x150:8/4 relative-steep; 1x2:150x3:8/4 relative-steep; w=diagonal 1x2:5x9:8/4 relative-steep softcap=2.3"),
    _any_form(Family("general", "W of the opposite offset, off by one, transposed, or in part", "ggml-org/llama.cpp#10361"),
        smoke="w=diagonal 1x1:3x3:2/2 1x2:4x6:4/4 2x2:6x4:4/2; w=scattered 1x2:5x5:6/4; w=every 1x1:3x4:3/3; w=one 1x1:3x3:3/2 1x2:4x5:4/4; w=diagonal 2x2:1x9:8/4; w=blocks 1x2:4x5:8/4; w=decaying 1x4/2:5x7:4/4; w=scattered 1x2:1x6:4/4",
        standard="w=diagonal 1x2:9x17:8/8 1x1:17x9:8/4; w=scattered 2x6/2:7x9:8/4; w=every 1x2:5x7:5/4; large w=blocks 1x2:9x9:16/8; w=near 1x2:9x9:8/4; w=scattered 1x1:33x33:4/4 1x1:2x65:4/4 1x1:65x2:4/4; w=diagonal 1x1:3x5:1/1 1x1:1x1:4/4; large w=diagonal 1x2:5x9:16/4 scale=0.3; w=decaying 3x2:5x17:16/8; w=identity 1x2:5x9:8/4; w=diagonal 1x2:3x150:4/4",
        thorough="w=scattered 1x2:130x130:8/8; w=diagonal 1x1:3x300:8/4"),
    _any_form(Family("general-masks", "masks, windows and other options of the general form", "assay's bank"),
        smoke="w=diagonal 1x2:6x6:4/4 causal; w=scattered 2x2:5x7:4/4 lengths; w=diagonal 1x2:3x7:4/4 bottom-right; w=diagonal 1x2:7x7:4/4 window=2,1",
        standard="w=scattered 2x2:9x9:8/4 mask; w=diagonal 1x2:9x9:8/4 causal lse; large w=diagonal 1x2:5x9:8/4 softcap=2.3; w=scattered 1x2:5x9:8/4 sink; w=diagonal 2x2:5x9:8/4 bias; w=diagonal 2x2:5x7:8/4 mask-empty; w=scattered 2x1:4x6:8/4 lengths-zero; w=decaying 1x2:17x17:8/4 window=4,* causal; w=diagonal 2x2:9x17:8/4 mask garbage; w=diagonal 1x1:3x5:4/4 scale=0; w=diagonal 1x2:9x9:8/4 banded"),
)  # fmt: skip


# --- families of attention --------------------------------------------------------------------------------------------

#: Families of attention whose numbers or masks matter as much after a rotation.
_OF_ATTENTION = (
    "exp-bias", "causal-cross", "window", "empty-rows", "masked-tiles", "shifted", "ramps", "row-levels",
    "large-logits", "scale", "dims", "values", "long-rows", "mask", "bias", "softcap", "sink", "log-sum-exp",
    "broadcast", "unlike-heads",
)  # fmt: skip
_SMALL = float(1 << 15)  # numbers that the reference takes in hand, beyond which a row is left to ``thorough``


def _with_positions(family: Family, table: tuple[Row, ...]) -> tuple[Row, ...]:
    """Rows of a family of attention that ``smoke`` runs, with tokens at one position or W the identity.

    Neither changes a score, so that the numbers of the row are hunting what they hunt there.
    """
    chosen = list[Row]()
    for number, row in enumerate(row for row in table if row.level == "smoke" and row.layout == "contiguous"):
        dim = parse_shape(row.size).dim
        even = resized(row, {"dim": dim + dim % 2})
        level = "standard" if COVERING.cost(even) <= _SMALL else "thorough"
        rotary = replace(even, level=level, options=("still=7", *row.options))
        chosen.append(replace(rotary, options=("pairs", *rotary.options)) if number % 3 == 1 else rotary)
        if number % 4 == 0:
            chosen.append(replace(row, level=level, options=("w=identity", *row.options)))
    return tuple(chosen)


_KEPT = {family.id: _with_positions(family, table) for family, table in ATTENTION if family.id in _OF_ATTENTION}
_KNOWN = {family.id: family for family, _ in ATTENTION}


# --- calls and memory -------------------------------------------------------------------------------------------------

_SHARED: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    (shared.LAYOUTS, (
        *shared.laid_out("normal", "2x3:5x7:16/6", "rows=50")[1],
        *_both("standard", "8x8:8x8:8/8 rows=50", layout="permuted"),
        *_rows("standard", "2x3:5x7:8/6; w=scattered 2x3:5x7:8/6", layout="mixed"),
        *_rows("smoke", "w=scattered 2x3:5x7:4/4", layout="permuted"),
        *_rows("standard", "w=scattered 2x3:5x7:4/4 relative", layout="gap"),
        *_rows("standard", "w=diagonal 2x3:5x7:4/4", layout="transposed"),
        *_rows("standard", "2x3:5x7:8/6 relative", layout="transposed"),
        *_rows("standard", "2x3:5x7:8/6 same-heads from=3", layout="expanded"),
    )),
    (shared.STATE, (
        *_rows("smoke", "1x2:5x9:8/4 cached", after="offset"),
        *_rows("smoke", "1x2:5x5:12/4 base=500000", after="base"),
        *_rows("smoke", "1x2:4x7:8/4 cached", after="keys-elsewhere"),
        *_rows("smoke", "w=scattered 1x2:5x7:4/4", after="weights"),
        *_rows("smoke", "1x2:5x7:8/4 relative", after="relative-bias"),
        # another size for each: what is kept from other rows is found under no key
        *(
            row
            for number, change in enumerate(("numbers", "later-numbers", "offset", "longer-text", "base", "layout", "rotary", "scaling", "scale", "keys-elsewhere"))
            for again in ("", "same ")
            for row in _both("standard", f"1x2:{6 + number}x{6 + number}:{16 + 4 * number}/4", after=again + change)
        ),
        *_rows("standard", "2x2:4x6:8/4 rows=50; 2x2:4x6:8/4 rows=50 pairs", after="rows"),
        *_rows("standard", "1x2:6x6:8/4 causal", after="causal"),
        *_rows("standard", "1x2/1:4x6:16/4 dynamic=4,8", after="longer-text"),
        *_rows("standard", "1x2/1:4x6:16/4 dynamic=4,8", after="same longer-text"),
        *_rows("standard", "w=scattered 1x2:5x8:4/4; w=diagonal 1x2:6x8:4/4", after="same weights"),
        *_rows("standard", "w=scattered 1x2:5x9:4/4", after="numbers"),
        *_rows("standard", "1x2:5x8:8/4 relative", after="same relative-bias"),
        *_rows("standard", "3x2:5x9:8/4 lengths", after="lengths"),
        *_rows("standard", "2x2:7x7:8/4 mask", after="mask"),
    )),
    (shared.CONCURRENT, (
        *_rows("standard", "2x3/1:5x9:16/8 from=4", beside="numbers offset same"),
        *_rows("standard", "2x3/1:5x9:16/8 pairs", beside="numbers same"),
        *_rows("standard", "w=scattered 1x2:5x9:4/4", beside="numbers weights same"),
    )),
    (shared.LARGE_GRID, (
        *_rows("standard", "4x12:3x5:4/4; pairs 2x24/6:4x5:4/4 cached; w=diagonal 3x11:3x5:4/4"),
    )),
)  # fmt: skip

#: Every family with its rows.
TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    *_TABLE,
    *((_KNOWN[name], table) for name, table in _KEPT.items()),
    *_SHARED,
)

#: Rows without malice, on which quality is measured.
TYPICAL: tuple[Row, ...] = tuple(_both("smoke", "1x2:16x16:32/32; 1x2/1:16x64:64/16 cached"))
