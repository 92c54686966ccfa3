"""The families of the rotary embedding: which numbers, sizes, positions and scalings hunt which bug."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from assay.conformance.interface import families as shared
from assay.conformance.interface.suite import Family, Row, by_levels, worded
from assay.conformance.rope.options import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TABLE", "TYPICAL"]


def _rows(level: str, text: str, **others: str) -> Iterator[Row]:
    """The rows that a text says: names of numbers, sizes, and options."""
    return worded(level, text, NUMBERS, **others)


def _both(level: str, text: str, **others: str) -> Iterator[Row]:
    """Every input in either layout: a kernel that has only one of them sees as much as one that has both."""
    for words in text.split(";"):
        yield from _rows(level, f"{words}; pairs {words}", **others)


#: A family with its rows in either layout, which each level adds as a text.
_hunting = functools.partial(by_levels, said=_both)


#: Every family with its rows.
TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    _hunting(Family("pairs", "halves rotated where pairs were asked for, or the reverse; tables of one layout, rotation of the other", "huggingface/transformers#47328; raiyanyahya/how-to-train-your-gpt#6, #7; NeuraLegion/shainet#111; tenstorrent/tt-metal#26844"),
        smoke="normal units 1x1/1:3:4 2x4/2:7:8",
        standard="1x2/2:9:64 1x2/1:9:64 1x1/1:5:12 from=100"),
    _hunting(Family("dims", "an odd number of pairs, a vector tail, half of a thread block that stays idle", "ggml-org/llama.cpp#3024, #2760", keeps=("dims",)),
        smoke="1x1/1:3:2 1x2/2:3:6 1x1/1:3:96 1x2/1:2:128 from=3",
        standard="""1x1/1:4:10 1x2/2:3:20 1x1/1:3:18 1x1/1:3:36 1x2/1:3:40 1x1/1:3:48 1x2/2:3:72 1x2/1:3:80 1x1/1:3:112
                    1x1/1:2:160 1x1/1:2:192 1x1/1:2:256 from=3""",
        thorough="""1x1/1:3:14 1x1/1:3:22 1x1/1:3:34 1x1/1:3:66 1x1/1:3:126 1x1/1:3:130 1x1/1:2:320 1x1/1:2:512
                    from=700"""),
    _hunting(Family("positions", "positions ignored, off by one after a cache, sorted, taken for consecutive ones, those of one batch for all", "lucidrains/rotary-embedding-torch#11; pytorch/executorch#2010; OpenNMT/CTranslate2#1572; skyzh/tiny-llm#46; scouzi1966/maclocal-api#92; Comfy-Org/ComfyUI#15698"),
        smoke="2x2/1:5:8 from=5; 2x2/1:5:8 shuffled=40; 3x2/1:5:8 rows=60; 3x2/2:6:8 padded",
        standard="""2x2/2:1:16 1x4/1:1:64 from=37; 3x2/2:1:16 rows=500; 2x2/2:9:16 repeated=4; 3x2/1:7:16 offsets=300;
                    2x2/1:8:16 backwards=20; 2x2/1:8:16 stretched=3; 3x2/1:7:16 rows=900; 2x2/1:8:16 ends;
                    1x3/1:5:8 1x1/1:5:8 rows=60""",
        thorough="5x2/1:17:64 2x1/1:33:128 rows=4000"),
    _hunting(Family("packed", "texts packed side by side, whose positions begin again; ranks that take parts of them; an odd length", "NVIDIA/Megatron-LM#5243; NVIDIA/TransformerEngine#1930"),
        smoke="1x2/1:8:8 2x2/2:7:16 packed=4",
        standard="1x2/1:9:8 packed=3"),
    _hunting(Family("negative", "positions below 0 that are read from the end of a table, or without their sign", "assay's bank"),
        smoke="1x2/1:5:8 signed=3",
        standard="2x2/2:7:32 signed=900; 3x2/1:7:16 signed-rows=30"),
    _hunting(Family("half-angles", "frequencies, positions or angles in half precision: bfloat16 from position 257 on, float16 from 2049 on", "EleutherAI/gpt-neox#1003; huggingface/transformers#25681, #29285, #29496; KellerJordan/modded-nanogpt#39; Modalities/modalities#462; okoge-kaz/llm-recipes#6"),
        smoke="1x2/1:4:32 from=257; 1x1/1:4:32 from=2049; units 1x1/1:4:64 from=509",
        standard="""normal units 1x1/1:5:32 from=513; normal units 1x1/1:5:64 from=1021;
                    normal units 1x1/1:5:128 from=4091"""),
    _hunting(Family("table-ends", "positions beyond a table: unrotated, its last row, or begun again", "microsoft/onnxruntime#28205"),
        smoke="1x1/1:4:16 from=2046; 1x1/1:4:16 from=4094",
        standard="; ".join(f"1x2/1:4:32 from={2**power - 2}" for power in (6, 7, 8, 9, 10, 13, 14, 15, 16, 17)),
        thorough="1x1/1:4:32 from=262142; 1x1/1:4:32 from=1048574"),
    _hunting(Family("far", "a product of position and frequency that is too short, sines of large arguments", "EleutherAI/gpt-neox#1003"),
        smoke="1x1/1:4:64 from=100000; 1x1/1:4:64 from=10000000 base=500000",
        standard="""1x1/1:4:128 from=500000; 2x1/1:4:64 rows=10000000;
                    normal units 1x1/1:4:64 from=16777210 base=1000000; 1x1/1:4:64 from=33554433 base=10000000""",
        thorough="normal units 1x1/1:4:128 from=1073741825 base=100000000"),
    _hunting(Family("partial", "the columns beyond the rotary ones rotated too, or frequencies of the whole dim", "ml-explore/mlx-lm#1698; vllm-project/vllm#16912; jagmarques/nexusquant#12; huggingface/transformers#48652, #48682; NVIDIA/FasterTransformer#182"),
        smoke="1x2/1:5:8 rotary=4; 1x2/1:5:8 rotary=4 from=7; 1x2/2:5:80 rotary=20 from=50",
        standard="""1x1/1:5:16 rotary=2 from=3; 2x1/1:5:16 rotary=14 from=3; 1x1/1:5:7 1x1/1:5:15 rotary=6 from=3;
                    normal large 1x2/1:5:128 rotary=64 from=300; 1x2/1:5:64 rotary=32 yarn=4,2048 from=3000;
                    1x2/1:5:64 rotary=32 ntk=4 from=300; 1x2/1:5:64 rotary=32 llama3=8,8192 from=3000"""),
    _hunting(Family("frequencies", "a frequency inverted, the exponent divided in integers, shifted by one, or of another sign; the base not passed", "xlite-dev/LeetCUDA#289, #290; stanford-cs336/assignment1-basics#22; labmlai/annotated_deep_learning_paper_implementations#313; google/gemma.cpp#986; young-geng/EasyLM#117"),
        smoke="1x1/1:3:16 1x1/1:2:64 base=500000 from=1; units 1x1/1:3:8 base=100; 1x2/1:9:16 base=500000",
        standard="""2x2/1:33:64 base=1000000; 1x2/1:3:64 1x1/1:3:96 1x1/1:3:128 base=1000000 from=999;
                    1x2/1:3:64 base=2 from=11; 1x2/1:3:64 base=10000.5 from=4000""",
        thorough="1x2/1:3:128 base=1e12 from=9999"),
    _hunting(Family("linear", "the factor ignored, inverted, applied twice, or to positions that are rounded", "antonellof/ferrox#39; lablup/mlxcel#1340; keras-team/keras-hub#1605"),
        smoke="1x2/1:5:16 linear=4 from=7",
        standard="""1x2/1:5:64 linear=8 from=4001; 2x2/1:5:64 linear=2.5 rows=5000 base=500000;
                    1x1/1:5:96 linear=1 from=50"""),
    _hunting(Family("ntk", "frequencies divided where the base is raised, an exponent without d − 2", "keras-team/keras-hub#1605; vllm-project/vllm#29111"),
        smoke="1x2/1:5:16 ntk=4 from=7",
        standard="1x2/1:5:64 ntk=8 from=4001; 1x2/1:5:4 ntk=2 from=31; 1x1/1:5:128 ntk=1.5 from=999 base=500000"),
    _hunting(Family("dynamic", "a base that is constant, or scaled below the original length, or by the length of the array", "vllm-project/vllm#5093, #41236, #41301; huggingface/transformers#25308, #27226"),
        smoke="1x2/1:6:16 dynamic=4,32; 1x2/1:24:16 dynamic=4,8; 1x2/1:4:16 dynamic=4,32 from=100",
        standard="""1x2/1:4:16 dynamic=4,32 from=28; 1x2/1:5:16 dynamic=4,32 from=28; 2x2/1:5:64 dynamic=2,2049 rows=6000;
                    1x1/1:5:64 dynamic=8,4096 from=30000 base=500000; 1x1/1:5:64 dynamic=8,4096 from=1000"""),
    _hunting(Family("llama3", "bands parsed and never scaled, exchanged, or without the blend between them", "lablup/mlxcel#1355; jmaczan/tiny-vllm#1; sbryngelson/ANEForge#58; unslothai/unsloth#6197; ggml-org/llama.cpp#8676"),
        smoke="1x2/1:4:64 llama3=8,8192 from=4000 base=500000; units 1x1/1:4:64 llama3=8,8192 from=30000 base=500000",
        standard="""1x2/1:4:128 llama3=32,8192 from=60000 base=500000; 2x1/1:4:64 llama3=8,1024,2,32 rows=9000;
                    1x1/1:4:96 llama3=3.5,5003,1,2 from=20000"""),
    _hunting(Family("yarn", "a ramp that is inverted, over turns, or cut at other pairs; the ends rounded or not", "zml/zml#763; ml-explore/mlx-lm#1507; vllm-project/vllm#46280"),
        smoke="1x2/1:4:64 yarn=4,2048 from=4000; units 1x1/1:4:64 yarn=8,4096 whole from=20000",
        standard="""1x2/1:4:128 yarn=32,4096 from=60000 base=500000; 2x1/1:4:64 yarn=4,1024,2,16 rows=9000;
                    1x1/1:4:96 yarn=2,7001,1,8 whole from=20000"""),
    _hunting(Family("magnitude", "the magnitude of yarn left out, applied twice, or computed where it was given", "vllm-project/vllm#46280, #48351; ml-explore/mlx-lm#1507; sgl-project/sglang#33558; NVIDIA/TensorRT-LLM#16379"),
        smoke="1x2/1:4:64 yarn=64,2048 magnitude=1; 1x2/1:4:64 yarn=128,2048",
        standard="1x2/1:4:64 yarn=16,2048 magnitude=0.8 from=900; 1x2/1:4:64 yarn=40,4096 rotary=32 from=5"),
    _hunting(Family("heads", "heads of keys counted as those of queries, or positions taken along the axis of heads", "assay's bank"),
        smoke="1x6/2:5:8 2x8/1:3:16 from=2",
        standard="2x3/3:3:8 1x5/5:4:8 from=2; 2x2/6:4:8 3x12/4:9:16 from=2; 3x6/2:4:32 rows=700"),
    _hunting(Family("tails", "lengths that are no multiple of a tile: tokens left out", "NVIDIA/TransformerEngine#1930", keeps=("lengths",)),
        smoke="1x1/1:1:8 1x2/1:17:8 1x1/1:65:16 1x2/1:129:8",
        standard="1x1/1:31:8 1x1/1:33:64 1x2/1:63:8 1x1/1:127:16 1x1/1:257:8 1x1/1:600:4 2x2/2:130:4",
        thorough="1x1/1:513:8 1x1/1:1025:4 1x2/2:1000:16"),
    _hunting(Family("sizes", "numbers that overflow, are flushed or lose their sign on the way: squares, a shorter type", "assay's bank"),
        smoke="small large spread sparse 1x2/1:4:16 from=3",
        standard="small large spread sparse 2x2/1:5:64 from=77"),
    (shared.LAYOUTS, (
        *shared.laid_out("normal", "2x3/3:5:16", "rows=50")[1],
        *shared.laid_out("normal", "2x3/3:5:16", "rows=50", "pairs")[1],
        # axes that are as long as each other
        *(row for layout in ("permuted", "mixed", "transposed", "gap") for row in _both("standard", "8x8/8:8:8 rows=50", layout=layout)),
    )),
    (shared.STATE, (
        *shared.called_before("normal", "2x2/2:6:16")[1],
        # another size for each: what is kept from other rows is found under no key
        *(
            row
            for number, change in enumerate(("numbers", "offset", "longer", "base", "layout", "rotary", "scaling"))
            for again in ("", "same ")
            for row in _both("standard", f"2x2/2:{7 + number}:{24 + 8 * number}", after=again + change)
        ),
        *_rows("smoke", "1x2/2:5:12", after="offset"),
        *_rows("smoke", "1x2/2:5:14 base=500000", after="base"),
        *_rows("standard", "2x2/2:6:16 rows=50; 2x2/2:6:16 rows=50 pairs", after="rows"),
        *_rows("standard", "2x4/2:6:16 from=3", after="heads"),
        *_rows("standard", "1x2/1:6:16 dynamic=4,8", after="longer"),
        *_rows("standard", "1x2/1:6:16 dynamic=4,8", after="same longer"),
        *_rows("standard", "1x2/1:6:16 dynamic=4,6", after="longer"),  # the largest position is L − 1
        *_rows("standard", "1x2/1:6:16 dynamic=4,6 from=3; 1x2/1:6:16 dynamic=2,5 from=3", after="longer"),
        *_rows("standard", "1x2/1:6:16 dynamic=8,7 from=3", after="longer"),
    )),
    (shared.CONCURRENT, (
        *_rows("standard", "2x3/1:9:16 from=4", beside="numbers offset same"),
        *_rows("standard", "2x3/1:9:16 pairs", beside="numbers same"),
    )),
    _hunting(shared.LARGE_GRID, standard="6x16/4:5:8 1x64/8:3:16 from=9", thorough="48x2/2:3:8 rows=90"),
)  # fmt: skip

#: Rows without malice, on which quality is measured.
TYPICAL: tuple[Row, ...] = tuple(_both("smoke", "1x4/2:16:64; 1x2/2:16:128 from=1000"))
