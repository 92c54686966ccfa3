"""Attention of order k in libraries: what docs/findings.md tells of it is so.

That targets pass in the classes that they document is what ``pytest conformance`` shows.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from assay.conformance.interface.suite import Case, Family, Row, suite
from assay.conformance.interface.targets import kernel_of, missing
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.judge import Judge
from assay.spec.problem import Provenance


def judged(
    name: str, size: str, options: str = "", precision: str = "float32", problem: str = "tensor_attention"
) -> Any:
    chosen = suite(problem)
    if absent := missing(chosen.targets[name]):
        pytest.skip(f"{', '.join(absent)} not installed")
    try:
        kernel = kernel_of(name, problem)
    except UsageError as error:
        if "TRITON_INTERPRET" not in str(error):
            raise
        pytest.skip(str(error))
    judge = Judge(kernel, chosen.spec.PRECISIONS[precision])
    row = Row("smoke", "normal", size, tuple(options.split()))
    return judge.outcome(
        Case("mine", Family("mine", "", ""), chosen.build(row, Provenance("test", 0), judge.precision))
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "size", "options", "precision"),
    [
        ("numpy:tensor_attention", "2x4/2:5x4x3:8/4", "causal lse", "float32"),
        ("numpy:tensor_attention-4", "1x2:3x4x3x2:4/4", "", "float64"),
        ("assay:cpu", "2x4/2:5x9x7:8/4", "causal lse", "float32"),
        ("assay:cpu-5", "1x2:3x3x2x3x2:4/4", "", "float64"),
        ("torch:simplicial-einsum", "2x4/2:5x4x3:8/4", "window=2,3 lse", "float32"),
        ("torch:simplicial-dense", "2x4/2:5x4x3:8/4", "causal", "bfloat16-eager"),
        ("torch:simplicial-gathered", "1x4/2:9x9x9:8/4", "window=3,* causal", "float32"),
        ("simplicial-attention:naive_two_simplicial_attend", "2x4/2:5x5x5:8/4", "causal", "float32"),
        ("simplicial-attention:nth_order_attend", "2x4/2:5x4x3:8/4", "", "bfloat16-eager"),
        ("simplicial-attention:nth_order_attend-4", "1x2:3x3x3x3:4/4", "causal", "float32"),
    ],
)
def test_a_target_is_the_attention_that_it_is_called(name: str, size: str, options: str, precision: str) -> None:
    result = judged(name, size, options, precision)
    assert result.status == "passed", result.sentence


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "size", "options", "precision"),
    [
        ("numpy:tensor_attention_gradient", "2x4/2:5x4x3:8/4", "causal lse", "float32"),
        ("assay:cpu", "2x4/2:5x4x3:8/4", "window=2,3 causal", "float32"),
        ("torch:simplicial-einsum-autograd", "1x4/2:4x5x3:8/4", "lse", "float32"),
        ("torch:simplicial-dense-autograd", "1x2:5x5x5:8/4", "causal", "float64"),
        ("simplicial-attention:naive_two_simplicial_attend-autograd", "1x4/2:5x5x5:8/4", "causal", "float32"),
    ],
)
def test_a_backward_pass_is_the_gradient_that_it_is_called(name: str, size: str, options: str, precision: str) -> None:
    result = judged(name, size, options, precision, "tensor_attention_gradient")
    assert result.status == "passed", result.sentence


_TRITON = """
import sys
sys.path.insert(0, {tests!r})
from test_tensor_attention_targets import judged
for problem, name, size, options, precision in (
    ("tensor_attention", "triton:two_simplicial", "1x2/1:3x3x2:4/3", "", "bfloat16-simplicial"),
    ("tensor_attention", "triton:two_simplicial", "1x1:4x4x4:4/4", "window=3,2 causal lse", "float16-simplicial"),
    (
        "tensor_attention_gradient", "triton:two_simplicial-backward", "1x1:4x4x4:4/4", "window=3,2 causal",
        "bfloat16-simplicial",
    ),
):
    print(problem, judged(name, size, options, precision, problem).status)
"""


def test_simplicial_attention_in_triton_keeps_the_class_of_three_roundings(request: pytest.FixtureRequest) -> None:
    """In a process of its own, where Triton can be imported as an interpreter."""
    if missing(suite("tensor_attention").targets["triton:two_simplicial"]):
        pytest.skip("triton not installed")
    code = _TRITON.format(tests=str(request.config.rootpath / "tests" / "conformance"))
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert [line.split()[-1] for line in run.stdout.splitlines()] == ["passed"] * 3, run.stderr[-2000:]


def test_what_a_library_cannot_be_asked_is_skipped_with_the_reason() -> None:
    name = "simplicial-attention:naive_two_simplicial_attend"
    assert "window" in judged(name, "1x1:5x5x5:4/4", "window=2,2").sentence
    assert "other_scale" in judged(name, "1x1:5x5x5:4/4", "scale=0.3").sentence
    assert "and not 3" in judged(name, "1x1:5x5x5x5:4/4").sentence


def test_a_missing_extra_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "assay.conformance.interface.targets.importable", lambda module: module != "simplicial_attention"
    )
    words = r"^simplicial-attention:nth_order_attend: .* is not installed: pip install -e '\.\[simplicial\]'"
    with pytest.raises(UsageError, match=words):
        kernel_of("simplicial-attention:nth_order_attend", "tensor_attention")
