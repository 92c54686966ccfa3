"""The families of stacks: which networks, numbers and sizes hunt which bug.

Sizes are "layers×heads[/key heads]:tokens:dim[:head dim[/value dim]][:hidden dim]".
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from assay.conformance.interface import families as shared
from assay.conformance.interface.suite import Family, Row, by_levels, worded
from assay.conformance.layer_collapse.options import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TABLE", "TYPICAL"]


def _rows(level: str, text: str, **others: str) -> Iterator[Row]:
    """The rows that a text says: names of numbers, sizes, and options."""
    return worded(level, text, NUMBERS, **others)


#: A family with its rows, which each level adds as a text.
_hunting = functools.partial(by_levels, said=_rows)


_PRE = "encoder-first gpt2 lean t5 llama"
_NORMED = f"encoder bert {_PRE}"
_EVERY = f"plain {_NORMED}"
_FEW = "plain encoder gpt2 llama"


def _every(words: str, networks: str = _EVERY) -> str:
    """One input in every network of practice, so that a kernel that has only one of them is asked too."""
    return "; ".join(f"{network} {words}" for network in networks.split())


#: Every family with its rows.
TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    _hunting(Family("any-network", "a sub-layer left out, doubled or in another place; weights transposed", "assay's bank"),
        smoke=f"{_every('1x1:3:4', _FEW)}; {_every('2x2:5:8')}; 1x1:1:1; 1x1:2:1",
        standard=f"{_every('1x2:9:12')}; {_every('2x4:7:16')}; 2x2:5:6:5/4:7 output mlp; 2x2:5:6:5 mlp mlp-biases"),
    _hunting(Family("skip-after-norm", "a skip connection that is taken after the norm: norm(x) + f(norm(x))", "pytorch/pytorch#61165; SHI-Labs/Compact-Transformers#25; Howuhh/faster-trajectory-transformer#3; tracel-ai/burn#1056, #1054; dmlc/gluon-nlp#1488"),
        smoke=f"{_every('mean-5 1x2:3:8', _PRE)}; mean-5 1x1:3:6 norm=layer epsilon=1e-5; levels 1x1:3:6 norm=rms epsilon=1e-5",
        standard=f"{_every('mean-5 2x2:6:16', _PRE)}; ramp 2x2:5:8 norm=layer epsilon=1e-5 mlp; ramp 2x2:5:8 norm=rms epsilon=1e-3 mlp"),
    _hunting(Family("post-norm", "a norm of the branch alone, or before it, where norm(x + f(x)) was asked for", "tracel-ai/burn#1056, #1054"),
        smoke="mean-5 1x2:3:8 2x1:4:6 encoder; mean-5 1x2:3:8 bert; levels 1x1:3:6 norm=layer epsilon=1e-5 post; 1x1:3:6 norm=rms epsilon=1e-5 post",
        standard="mean-5 2x2:6:16 encoder; ramp 3x2:6:12 bert; levels 2x2:5:8 norm=rms epsilon=1e-3 post mlp final gains"),
    _hunting(Family("skips", "a skip connection left out around one sub-layer, or made where none was asked for", "assay's bank"),
        smoke="1x1:3:4 no-skip; 2x2:5:8 no-skip; 2x2:4:8 no-skip mlp; 1x2:4:8 no-skip norm=layer epsilon=1e-5 gains",
        standard="3x2:6:8 no-skip output biases; 2x2:5:8 no-skip post norm=layer epsilon=1e-5 mlp; 2x1:5:6 no-skip norm=rms epsilon=1e-4 mlp final"),
    _hunting(Family("heads", "heads cut or joined by a reshape without a transpose, which one head does not show", "jsbaan/transformer-from-scratch#6; reczoo/FuxiCTR#30; ajhalthor/Transformer-Neural-Network#4, #8; hackiey/QAnet-pytorch#2; 649453932/Chinese-Text-Classification-Pytorch#10"),
        smoke=f"{_every('1x2:2:4', _FEW)}; 1x2:2:4 output; 1x2:3:8 output biases; 1x3:2:6; 1x2:2:2; 1x12:3:24 output; 1x2:3:8:4/6 llama",
        standard=f"{_every('1x4:4:8')}; 1x2:2:8:4 1x4:8:16:4 output; 1x8:3:16:2 output; 2x3:6:12 output; 1x2:4:6 1x3:3:6; 1x16/4:3:16:2 output biases"),
    _hunting(Family("groups", "keys of the wrong group, repeated as tiles, permuted as if they had all heads", "bigcode-project/Megatron-LM#71; tenstorrent/tt-metal#32407; Lightning-AI/litgpt#1013"),
        smoke="1x4/2:4:8 1x4/1:3:8; 1x4/2:4:8 output biases; 1x4/2:4:8 1x2/1:3:8 llama; 1x4/2:4:8 lean",
        standard="2x6/2:5:12 2x6/3:5:12 output; 2x8/2:5:16 1x8/4:6:32 llama; 1x4/2:5:8:3/5 output"),
    _hunting(Family("fused", "a fused projection of queries, keys and values that is cut in another order", "Lightning-AI/litgpt#1013"),
        smoke=f"{_every('1x2:3:8', _FEW)}; 1x1:3:4:4 output; 1x2:3:4:2/2 output",
        standard="2x2:5:6:3 output biases; 1x4:6:16 output; 1x1:5:8:8"),
    _hunting(Family("output-weights", "the output projection left out, transposed, or of one head", "ethen8181/machine-learning#13"),
        smoke="1x1:3:4:4 output; 1x1:2:6:6 output biases; 1x2:3:4:4 output",
        standard="2x1:5:8:8 output norm=layer epsilon=1e-5; 1x2:5:6:6/6 output causal; 2x2:4:8:8 output mlp"),
    _hunting(Family("scale", "a scale that is missing on one path, the usual one whatever is asked for, another one a layer", "mlc-ai/mlc-llm#3426; ethen8181/machine-learning#13; gmboquet/mixle#258; microsoft/mup#8; stanford-crfm/mistral#77"),
        smoke="1x2:4:8 scale=0.25; 2x2:4:16 scale=0.3 causal; 3x2:5:8 queries=2; 2x2:4:12:3 scale=1 output; large 1x1:3:4 scale=-0.2",
        standard=f"2x2:5:16 output biases scale=0.0625; {_every('4x2:6:16 queries=2')}; 1x2:6:8 scale=0; 2x1:6:16:2 queries=2; 1x2:6:8:5 scale=0.2"),
    _hunting(Family("epsilon", "an epsilon that is hard-coded, right in all norms but two, or added outside the root", "apache/tvm#15856; NVIDIA/cutlass#1112; huggingface/candle#271; NVIDIA-NeMo/Megatron-Bridge#5712; paiml/aprender#1606; mindspore-lab/mindone#219; huggingface/transformers#585"),
        smoke=f"""faint 1x1:4:8 norm=layer epsilon=1e-3; faint 1x1:4:8 norm=rms epsilon=1e-6; faint 1x1:3:8 norm=rms epsilon=1e-3 final; faint 1x1:4:8 norm=layer epsilon=1e-4 final strength=0.01; faint 2x1:3:8 norm=rms epsilon=1e-4 final strength=0.01; faint 1x1:3:8 norm=layer epsilon=1e-3 mlp strength=0.05; faint 1x1:3:8 norm=rms epsilon=1e-3 mlp strength=0.05;
                 {_every('faint 1x2:3:8 strength=0.01', _NORMED)}""",
        standard="""faint 1x2:5:16 norm=layer epsilon=1e-5; faint 1x2:5:16 norm=rms epsilon=1e-5; faint 2x1:4:8 norm=layer epsilon=1e-4 final strength=0.01; faint 2x1:4:8 norm=rms epsilon=1e-4 final strength=0.01;
                    faint 1x1:4:8 norm=layer epsilon=1e-3 mlp strength=0.01; faint 1x1:4:8 norm=rms epsilon=1e-3 mlp strength=0.01; faint 1x1:4:8 norm=layer epsilon=1e-3 mlp post; equal 1x1:3:8 norm=layer epsilon=1e-5;
                    faint 1x1:4:16 norm=rms epsilon=1e-5 post strength=0.01"""),
    _hunting(Family("norms", "another norm: without its mean, over the tokens, with d − 1, with the sum of squares; gains and biases left out, or multiplied after a rounding", "InternLM/lmdeploy#2842; tensorflow/tfjs#8224"),
        smoke=f"""{_every('1x2:3:4', 'encoder bert lean llama')}; mean-5 1x1:4:6 norm=rms epsilon=1e-5 gains; mean-5 1x1:4:6 norm=layer epsilon=1e-5 gains; 1x2:4:4 norm=layer epsilon=1e-5;
                 1x1:9:16 norm=rms epsilon=1e-5 gains final strength=0.001; 1x2:9:16 llama strength=0.001; 1x1:4:6 norm=layer epsilon=1e-5 shifts mlp final""",
        standard=f"{_every('2x2:7:8', _NORMED)}; mean-5 2x2:5:8 norm=layer epsilon=1e-5 gains mlp final; mean-5 2x2:5:8 norm=rms epsilon=1e-5 gains mlp final post; 2x2:5:8 output biases norm=layer epsilon=1e-5 shifts mlp mlp-biases post"),
    _hunting(Family("far-tokens", "squares that overflow a short type, the square of a mean among them", "assay's bank"),
        smoke="""far 1x1:3:16 norm=layer epsilon=1e-5 final strength=0.001; far 1x1:3:16 norm=rms epsilon=1e-5; large 1x1:3:16 norm=rms epsilon=1e-5; far 1x2:3:16 gpt2 strength=0.001;
                 far 1x2:3:16 lean strength=0.001; far 1x2:3:16 bert strength=0.001; far 1x2:3:16 llama; far 1x1:3:16 t5""",
        standard="far 1x2:5:32 norm=layer epsilon=1e-5 final strength=0.001; far 1x2:4:16 encoder strength=0.001; far 1x2:4:32 norm=rms epsilon=1e-5; far 1x2:3:16 encoder-first attention=0.1"),
    _hunting(Family("final-norm", "the norm after the last layer left out, made after every layer, or with another's parameters", "pegainfer-project/pegainfer#544; huggingface/transformers#45079, #46456"),
        smoke="2x2:4:8 gpt2; 3x1:3:6 t5; 2x2:4:8 llama; 2x1:3:6 norm=layer epsilon=1e-5 final; 1x1:3:6 norm=rms epsilon=1e-5 final gains",
        standard="3x2:5:8 norm=layer epsilon=1e-5 final gains; 3x2:5:8 norm=rms epsilon=1e-4 final gains mlp; 2x2:5:8 post norm=layer epsilon=1e-5 final gains"),
    _hunting(Family("layers", "one layer's weights in every layer, layers in another order, the tokens of other layers returned", "pegainfer-project/pegainfer#544; Lightning-AI/litgpt#1727; huggingface/transformers#45079"),
        smoke=f"{_every('3x1:3:4', _FEW)}; 12x1:2:4; 12x1:2:4 output biases norm=layer epsilon=1e-5 gains mlp post; 4x2:4:8 output shared",
        standard=f"{_every('11x2:3:8')}; {_every('5x2:5:8')}; 24x1:3:4",
        thorough="32x2:5:8 llama; 32x2:5:8 bert"),
    _hunting(Family("activation", "gelu with tanh for the exact one, or the reverse, and others that look alike near 0", "apple/coremltools#2863; NVIDIA-NeMo/Megatron-Bridge#4661; kyutai-labs/pocket-tts#278; tensorflow/tfjs#8224"),
        smoke="""1x1:3:4 mlp attention=0.1; 1x1:3:4 mlp act=gelu attention=0.1 up=2; 1x1:3:4 mlp act=gelu_tanh attention=0.1 up=2; 1x1:3:4 mlp act=silu attention=0.1;
                 1x2:3:8 bert attention=0.1 up=3; 1x2:3:8 encoder act=gelu_tanh attention=0.1 up=3; 1x2:3:8 gpt2 attention=0.1 up=3; 1x2:3:8 lean attention=0.1 up=3;
                 1x2:3:8 encoder-first act=gelu attention=0.1 up=3; 1x2:3:8 encoder-first act=gelu_tanh attention=0.1 up=3; 1x2:3:8 gpt2 act=silu attention=0.1; 1x2:3:8 t5 act=gelu_tanh attention=0.1 up=3""",
        standard="""1x4:5:8 encoder act=gelu attention=0.1 up=4; 2x2:5:8 encoder act=silu attention=0.1; 1x1:5:8 mlp mlp-biases act=silu; 1x1:5:8 mlp act=gelu up=3; 1x1:5:8 mlp act=gelu_tanh up=3;
                    1x2:5:8 bert act=gelu_tanh attention=0.1 up=3; 1x2:5:8 t5 act=silu; 1x2:5:8 t5 act=gelu attention=0.1 up=3; 2x2:5:8 mlp act=gelu strength=0.2 up=8; 2x2:5:8 mlp act=gelu_tanh strength=0.2 up=8;
                    large 1x1:3:4 mlp act=silu attention=0.1 up=30; large 1x1:3:4 mlp act=gelu attention=0.1 up=30; large 1x1:3:4 mlp act=gelu_tanh attention=0.1 up=30; 1x2:3:8 llama attention=0.1 up=300; 1x2:3:8 gpt2 attention=0.1 up=40"""),
    _hunting(Family("gates", "the gate and what it multiplies exchanged, or one of them left out", "assay's bank"),
        smoke="1x1:3:4 mlp gated act=silu; 1x2:3:8 llama; 1x1:3:4 mlp gated act=gelu; 1x2:3:8 t5 gated act=gelu_tanh; 1x1:3:4 mlp gated",
        standard="2x2:5:8 llama; 2x2:5:8 encoder-first gated act=gelu; 1x2:5:8:4:7 mlp gated mlp-biases act=silu; 2x2:5:8 t5 gated act=relu; 1x2:3:8 t5 gated act=gelu_tanh attention=0.1 up=3; 1x2:3:8 t5 gated act=gelu attention=0.1 up=3"),
    _hunting(Family("biases", "biases of projections or of the MLP that are dropped", "assay's bank"),
        smoke="1x2:3:4 biases; 1x2:3:8 output biases; 1x1:3:4 mlp mlp-biases; 1x2:3:8 encoder-first; 1x1:4:6 biases causal",
        standard="2x4/2:5:8 output biases; 2x2:5:8 mlp mlp-biases biases; 2x2:5:8 encoder; 1x2:5:8 output biases causal"),
    _hunting(Family("causal", "a causal mask that is ignored, off by one, turned round, or there in the first layer alone", "assay's bank"),
        smoke="1x1:2:4 1x1:3:4 2x2:4:8 causal; 2x2:5:8 gpt2; 2x2:5:8 llama; 2x2:5:8 encoder-first causal; 2x1:4:6 output biases causal",
        standard="1x2:17:8 2x2:33:8 causal; 2x2:16:8 encoder causal; 3x2:9:8 llama; 3x2:9:8 gpt2; 2x2:7:8 output causal no-skip; large 2x2:7:8 causal"),
    _hunting(Family("padding", "padding that is attended to, or alone; masked weights set to 0 after the softmax", "assay's bank"),
        smoke="1x1:3:4 mask=right; 2x2:6:8 mask=left; 2x2:6:8 mask=holes causal; 2x2:6:8 encoder mask=right; 1x2:6:8 encoder-first mask=holes; 2x2:5:8 bert mask=right; 1x1:4:6 mask=first",
        standard="2x2:17:8 mask=right causal; 2x2:9:8 encoder mask=left; 2x2:7:8 bert mask=first; 2x2:9:8 llama mask=right; 2x2:9:8 llama mask=holes; 2x2:9:8 gpt2 mask=holes; 1x2:9:8 t5 mask=left; 2x2:9:8 mask=holes no-skip; large 1x2:6:8 mask=right queries=300; large 1x2:6:8 mask=left queries=300; large 1x2:6:8 output mask=holes queries=300"),
    _hunting(Family("large-scores", "a softmax without its maximum, scores in a short type", "assay's bank"),
        smoke=f"large 1x1:3:4 queries=3; large 1x2:4:8 output queries=3; {_every('1x2:4:8 queries=30', _FEW)}; 1x1:4:8 queries=60; large 1x2:6:8 output causal queries=300; large 1x2:6:8 causal queries=300",
        standard="large 1x2:9:16 queries=2; 2x2:9:16 encoder-first queries=20; 2x2:9:16 encoder queries=20; large 1x1:5:8 causal queries=2"),
    _hunting(Family("collapsing", "updates so small that a stack that leaves them out, or is uniform, looks right", "assay's bank"),
        smoke="4x2:4:8 strength=0.1; 4x2:4:8 no-skip; 2x1:5:6 output strength=0.2; 2x2:4:8 encoder-first strength=0.2; 2x2:4:8 gpt2 strength=0.2; 2x2:4:8 llama strength=0.2",
        standard="8x2:5:8 strength=0.1; 6x2:6:8 no-skip strength=0.7; 6x2:6:8 causal strength=0.2; 4x2:6:8 mlp strength=0.2; 4x2:6:8 encoder strength=0.2"),
    _hunting(Family("equal-tokens", "tokens that are all alike, which nothing tells apart but the mask; norms of equal numbers", "assay's bank"),
        smoke="equal 1x1:3:4; equal 2x2:4:8 causal; equal 2x2:4:8 encoder; equal 1x2:4:8 llama; equal 2x1:4:6 output biases",
        standard="equal 2x2:9:8 no-skip; equal 3x2:6:8 bert; equal 2x2:6:8 gpt2"),
    _hunting(Family("tails", "lengths that are no multiple of a tile: tokens or keys left out", "assay's bank", keeps=("lengths",)),
        smoke=f"1x1:1:4 1x2:17:8 1x1:13:4 1x1:33:4 1x1:65:4 1x1:100:4; {_every('1x2:9:8', 'encoder bert llama')}",
        standard=f"1x2:31:8 1x1:63:4 1x1:127:4 1x1:130:4; {_every('1x2:17:8', _NORMED)}; 1x1:65:4 causal; {_every('1x1:65:4', 'encoder gpt2')}",
        thorough="1x1:257:4 1x2:300:8"),
    _hunting(Family("dims", "a dim, a head dim or a hidden dim that is no multiple of a vector", "assay's bank", keeps=("dims",)),
        smoke=f"1x1:3:1 1x1:3:5 1x2:3:7:3; 1x1:3:9 output mlp; 1x1:3:5 norm=layer epsilon=1e-5 mlp; 1x1:3:1 norm=layer epsilon=1e-5; 1x1:3:7 norm=rms epsilon=1e-5 mlp; {_every('1x1:3:16', 'encoder gpt2 t5')}",
        standard=f"1x2:4:17:9/5:11 output mlp; 1x1:3:33 1x1:3:64; {_every('1x1:3:32', _NORMED)}; 1x3:4:15:5 output biases mlp mlp-biases; 1x4:4:64 output; {_every('1x1:3:7', 'encoder bert gpt2 lean t5')}; 1x1:2:72 norm=layer epsilon=1e-5; 1x1:2:72 norm=rms epsilon=1e-5; 1x1:2:8:8:132 output mlp",
        thorough="1x4:5:128 output; 1x8:5:128 encoder"),
    _hunting(Family("unlike-tokens", "tokens of very different size", "assay's bank"),
        smoke=f"{_every('levels 1x2:4:8', _FEW)}; levels 1x1:3:4 causal; integers 1x2:3:4 output",
        standard="levels 2x2:7:8 encoder-first; levels 2x2:7:8 no-skip; ramp 2x2:7:8 llama; ramp 2x2:7:8 output biases; integers 2x2:5:8 causal"),
    (shared.LAYOUTS, (
        *shared.laid_out("normal", "2x3:5:12", "output")[1],
        *_rows("smoke", "2x2:5:8; 2x2:5:8 encoder; 2x2:5:8 llama", layout="transposed"),
        *_rows("standard", "2x2:4:4; 2x2:8:8:8 output biases; 2x2:5:8 encoder-first", layout="transposed"),
        *_rows("standard", "2x2:5:8 bert; 2x2:5:8 gpt2; 2x2:5:8 t5; 2x2:5:8", layout="permuted"),
        *_rows("standard", "2x2:5:8 encoder; 2x2:5:8 llama; 2x2:5:8", layout="gap"),
    )),
    (shared.STATE, (
        *shared.called_before("normal", "2x2:5:8", "tokens", "weights", "values", "shorter")[1],
        *_rows("smoke", "1x2:4:8; 1x2:4:8 output; 2x2:5:8 encoder; 2x2:5:8 llama", after="weights"),
        *_rows("standard", "2x2:5:8 encoder-first; 2x2:5:8 gpt2; 2x2:5:8 bert; 2x2:5:8 t5", after="values"),
        *_rows("standard", "2x2:5:8 encoder; 2x2:5:8 mlp", after="mlp"),
        *_rows("standard", "2x2:5:8 causal; 2x2:6:8 gpt2; 2x2:5:8", after="causal"),
        *_rows("standard", "2x2:5:8; 2x2:5:8 output biases", after="scale"),
        *_rows("standard", "2x2:5:8 encoder; 2x2:5:8 norm=rms epsilon=1e-3", after="epsilon"),
        *_rows("standard", "2x2:6:8 encoder; 2x2:6:8 llama; 2x2:6:8 causal", after="shorter"),
        *_rows("standard", "2x2:6:8 encoder; 2x2:6:8 llama", after="same tokens"),
    )),
    (shared.CONCURRENT, (
        *shared.called_together("normal", "2x2:9:8")[1],
        *_rows("standard", "2x2:9:8 encoder; 2x2:9:8 llama", beside="tokens weights"),
    )),
)  # fmt: skip

#: Rows without malice, on which quality is measured.
TYPICAL: tuple[Row, ...] = tuple(_rows("smoke", "2x2:8:16; 2x2:8:16 encoder; 2x2:8:16 llama"))
