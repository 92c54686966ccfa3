"""Rotary attention of libraries: what docs/findings.md tells of it is so.

That targets pass in the classes that they document is what ``pytest conformance`` shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from assay.conformance.interface.suite import Case, Family, Row, suite
from assay.conformance.interface.targets import kernel_of, missing
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.judge import Judge
from assay.conformance.rope_attention.options import built
from assay.spec.problem import Provenance
from assay.spec.rope_attention import PRECISIONS, Instance, evaluate

TARGETS = suite("rope_attention").targets


def needed(name: str) -> None:
    if absent := missing(TARGETS[name]):
        pytest.skip(f"{', '.join(absent)} not installed")


def judged(name: str, size: str, options: str = "", precision: str = "float32", **others: str) -> Any:
    needed(name)
    judge = Judge(kernel_of(name, "rope_attention", options=others), PRECISIONS[precision])
    row = Row("smoke", "normal", size, tuple(options.split()))
    return judge.outcome(Case("mine", Family("mine", "", ""), built(row, Provenance("test", 0), judge.precision)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("numpy:rope_attention", "2x4/2:3x5:8/4", "cached relative"),
        ("numpy:general_rope_attention", "2x4/2:3x5:4/4", "w=scattered relative"),
        ("transformers:rope+sdpa", "2x4/2:3x9:16/16", "pairs yarn=4,2048 cached"),
        ("transformers:llama_attention", "2x4/2:7x7:16/16", "llama3=8,64 from=90 causal"),
        ("transformers:llama_attention-eager", "2x4/2:7x7:16/16", "relative"),
        ("rotary-embedding-torch:rope+sdpa", "2x2:3x5:8/8", "pairs rows=50"),
        ("onnxruntime:rope+attention", "2x4/2:3x5:8/4", "pairs rows=50 mask"),
        ("onnxruntime:group_query_attention", "1x4/2:3x7:16/16", "cached bottom-right window=3,0"),
        ("onnxruntime:group_query_attention", "2x4/2:5x5:16/16", "pairs causal relative"),
        ("torch:flex_attention-general", "1x2:3x5:4/4", "w=scattered relative"),
        ("ggml:rope+soft_max", "2x4/2:3x7:16/8", "pairs cached relative"),
        ("ggml:rope+flash_attn", "2x4/2:7x7:16/16", "yarn=4,2048 from=90 causal"),
    ],
)
def test_a_target_is_the_attention_that_it_is_called(name: str, size: str, options: str) -> None:
    result = judged(name, size, options)
    assert result.status == "passed", result.sentence


@pytest.mark.filterwarnings("ignore")
def test_a_scale_of_0_under_is_causal_is_nan_after_a_rotation_too() -> None:
    """What docs/findings.md tells of PyTorch's attention."""
    assert judged("transformers:rope+sdpa", "1x2:3x3:8/8", "causal scale=0").failed
    assert judged("transformers:llama_attention", "1x2:3x3:8/8", "causal scale=0").status == "passed"


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_one_table_for_every_base_is_wrong_in_attention_too() -> None:
    needed("equinox:rope+jax")
    judge = Judge(kernel_of("equinox:rope+jax", "rope_attention"), PRECISIONS["float32"])
    row = Row("smoke", "normal", "1x2:5x5:12/12", ("base=500000",))
    instance = built(row, Provenance("test", 0), judge.precision)
    other = instance.replace(base=10000.0)
    assert judge.outcome(Case("mine", Family("mine", "", ""), instance, after=(other,))).failed


@pytest.mark.filterwarnings("ignore")
def test_frequencies_of_ggml_are_products_of_one_ratio() -> None:
    """Each is the one before times base^(−2/r): what is off grows from pair to pair, within what float32 may be off."""
    needed("ggml:rope+soft_max")
    rng = np.random.default_rng(0)
    q, k = (rng.standard_normal((1, 1, n, 256)).astype(np.float32) for n in (1, 64))
    v = rng.standard_normal((1, 1, 64, 4)).astype(np.float32)
    instance = Instance(q, k, v, query_positions=np.array([100_000]), key_positions=np.arange(64))
    judge = Judge(kernel_of("ggml:rope+soft_max", "rope_attention"), PRECISIONS["float32"])
    result = judge.outcome(Case("mine", Family("mine", "", ""), instance))
    assert result.status == "passed"
    assert np.abs(result.values["output"] - evaluate(instance).output.midpoint).max() > 1e-5


def test_what_a_library_cannot_be_asked_is_declined_with_the_reason() -> None:
    assert "multiple of 16" in judged("onnxruntime:group_query_attention", "1x2:3x3:8/8", "causal").sentence
    assert "cross_lengths" in judged("transformers:llama_attention", "1x2:3x5:8/8").sentence
    assert "bias" in judged("ggml:rope+flash_attn", "1x2:3x3:8/8", "relative").sentence


def test_a_missing_extra_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.conformance.interface.targets.importable", lambda module: module != "xllamacpp")
    words = r"^ggml:rope\+soft_max: xllamacpp is not installed: pip install -e '\.\[ggml\]'"
    with pytest.raises(UsageError, match=words):
        kernel_of("ggml:rope+soft_max", "rope_attention")
