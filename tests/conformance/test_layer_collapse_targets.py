"""Stacks of libraries: what docs/findings.md tells of them is so.

That they pass in the classes that they document is what ``pytest conformance`` shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from assay.conformance.interface.suite import Case, Family, Row, suite
from assay.conformance.interface.targets import kernel_of, missing
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.judge import Judge
from assay.conformance.layer_collapse.options import built
from assay.spec.layer_collapse import PRECISIONS
from assay.spec.problem import Provenance

TARGETS = suite("layer_collapse").targets


def needed(name: str) -> None:
    if absent := missing(TARGETS[name]):
        pytest.skip(f"{', '.join(absent)} not installed")


def judged(name: str, size: str, options: str, numbers: str = "normal", precision: str = "float32") -> Any:
    needed(name)
    judge = Judge(kernel_of(name, "layer_collapse"), PRECISIONS[precision])
    row = Row("smoke", numbers, size, tuple(options.split()))
    return judge.outcome(Case("mine", Family("mine", "", ""), built(row, Provenance("test", 0), judge.precision)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("assay:cpu", "llama"),
        ("numpy:stack", "output causal"),
        ("torch:multihead_attention", "output biases no-skip"),
        ("torch:encoder_layer", "encoder"),
        ("torch:encoder_layer", "encoder-first mask=right"),
        ("torch:encoder_layer-python", "gpt2"),
        ("transformers:bert", "bert mask=left"),
        ("transformers:bert-eager", "bert"),
        ("transformers:gpt2", "gpt2 mask=right"),
        ("transformers:llama", "llama"),
        ("transformers:t5", "t5 gated act=gelu_tanh"),
        ("x-transformers:layers", "lean causal"),
        pytest.param("keras:layers", "bert", marks=pytest.mark.thorough),
        pytest.param("keras:layers", "llama", marks=pytest.mark.thorough),
    ],
)
def test_a_target_is_the_network_that_it_is_called(name: str, options: str) -> None:
    assert judged(name, "2x2:5:8", options).status == "passed"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["transformers:llama", pytest.param("keras:layers", marks=pytest.mark.thorough)])
def test_grouped_heads_are_blocks(name: str) -> None:
    assert judged(name, "2x4/2:5:8", "llama").status == "passed"


@pytest.mark.filterwarnings("ignore")
def test_x_transformers_repeats_key_heads_as_tiles() -> None:
    assert judged("x-transformers:layers", "1x4:5:8", "lean").status == "passed"
    assert judged("x-transformers:layers", "1x4/2:5:8", "lean").failed


@pytest.mark.filterwarnings("ignore")
def test_the_fused_route_of_torch_takes_exact_gelu_for_that_with_tanh() -> None:
    precise = "attention=0.1 up=3"
    assert judged("torch:encoder_layer-python", "1x2:3:8", f"encoder act=gelu_tanh {precise}").status == "passed"
    assert judged("torch:encoder_layer", "1x2:3:8", f"encoder act=gelu_tanh {precise}").failed
    assert judged("torch:encoder_layer", "1x2:3:8", f"encoder act=gelu {precise}").status == "passed"
    odd = judged("torch:encoder_layer", "1x3:3:9", f"encoder act=gelu_tanh {precise}")
    assert odd.status == "passed"  # there is no fused route for an odd number of heads


@pytest.mark.filterwarnings("ignore")
def test_the_fused_route_of_torch_without_assay() -> None:
    """The eleven lines of docs/findings.md."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, activation=torch.nn.GELU("tanh"), batch_first=True).eval()
    x = 3 * torch.randn(1, 5, 8)
    with torch.inference_mode():
        fused = layer(x)
    assert 1e-5 < float((fused - layer(x)).abs().max()) < 1e-3


@pytest.mark.filterwarnings("ignore")
def test_what_a_library_cannot_be_asked_is_declined_with_the_reason() -> None:
    assert (
        judged("transformers:t5", "1x2:3:6", "t5").sentence == "lacks head dim 3"
    )  # whose usual scale is no power of 2
    assert "epsilon" in judged("x-transformers:layers", "1x2:3:8", "lean epsilon=1e-3").sentence
    assert judged("transformers:llama", "1x2:3:6:3", "llama").status == "declined"


def test_a_missing_extra_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.conformance.interface.targets.importable", lambda module: module != "x_transformers")
    words = r"^x-transformers:layers: x_transformers is not installed: pip install -e '\.\[stacks\]'"
    with pytest.raises(UsageError, match=words):
        kernel_of("x-transformers:layers", "layer_collapse")


def test_the_textbook_is_right_for_one_layer_by_hand() -> None:
    kernel = kernel_of("numpy:stack", "layer_collapse")
    one = np.ones((1, 1, 1, 1))
    out = kernel.function(np.array([[0.0], [1.0]]), one, one, one, scale=1.0)
    assert np.allclose(out.ravel(), [0.5, 1 + 1 / (1 + np.exp(-1.0))])
