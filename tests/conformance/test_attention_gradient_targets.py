"""Built-in targets of the backward pass: what they are within, and the findings that docs/findings.md tells of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.conformance.interface.suite import Case, Row, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.cases import cases
from assay.conformance.judge.judge import Judge
from assay.spec.precision import precision
from assay.spec.problem import Provenance

if TYPE_CHECKING:
    from collections.abc import Callable

SUITE = suite("attention_gradient")
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "gradient_libraries.py"


def outcomes(
    name: str, wanted: Callable[[Case], bool], most: int, asked: str = "float32", **declared: Any
) -> list[str]:
    """The status of the first wanted cases of ``smoke``."""
    judge = Judge(kernel_of(name, "attention_gradient", **declared), precision(asked), {})
    chosen = [case for case in cases(SUITE, precision(asked), "smoke", 0) if wanted(case)][:most]
    with np.errstate(all="ignore"):
        return [judge.outcome(case).status for case in chosen]


def plain(case: Case) -> bool:
    return case.family.id in ("any-input", "mask-backward", "groups", "value-dims") and case.instance.scale > 0


@pytest.mark.parametrize("asked", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["torch:sdpa-autograd", "torch:sdpa-math-autograd", "torch:sdpa-flash-autograd"])
def test_autograd_of_torch_is_within_its_class(name: str, asked: str) -> None:
    pytest.importorskip("torch")
    told = outcomes(name, plain, 6, asked)
    assert "failed" not in told
    assert told.count("passed") >= 3


def test_flex_attention_of_torch_has_no_backward_pass_on_a_cpu_and_is_not_blamed() -> None:
    torch = pytest.importorskip("torch")
    told = outcomes("torch:flex_attention-autograd", plain, 2)
    assert set(told) <= ({"passed"} if torch.cuda.is_available() else {"declined", "skipped"})


def test_jax_drops_the_gradient_of_the_log_sum_exp() -> None:
    pytest.importorskip("jax")
    family, _ = SUITE.table[0]
    row = Row("smoke", "normal", "1x2:5x9:8/8", ("lse", "gradient=zero"))
    instance = SUITE.build(row, Provenance(family.id, 1), precision("float32"))
    judge = Judge(kernel_of("jax:dot_product_attention-vjp", "attention_gradient"), precision("float32"), {})
    outcome = judge.outcome(Case("loss on the log-sum-exp alone", family, instance))
    assert outcome.failed
    assert not any(outcome.values[name].any() for name in ("grad_query", "grad_key"))


@pytest.mark.parametrize(
    ("library", "function", "framework", "asked"),
    [
        ("mlx", "mlx", "numpy", "float32"),
        ("mlx", "mlx", "numpy", "bfloat16-eager"),
        ("mlx", "mlx", "numpy", "float16-eager"),
        ("keras", "keras_torch", "torch", "float32"),
        ("keras", "keras_torch", "torch", "bfloat16"),
        ("keras", "keras_torch", "torch", "float16"),
    ],
)
def test_the_example_of_a_library_is_within_the_class_that_the_findings_name(
    monkeypatch: pytest.MonkeyPatch, library: str, function: str, framework: str, asked: str
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # Keras reads it when it is imported, as the example does
    pytest.importorskip(library)
    pytest.importorskip(framework)
    others = ("sink-gradient", "bias-gradient", "causal", "common-keys", "shifted")
    told = outcomes(
        f"{EXAMPLES}:{function}",
        lambda case: plain(case) or case.family.id in others,
        30,
        asked,
        framework=framework,
        options={"empty_row": "any", "nonpositive_causal_scale": "no"},
    )
    assert "failed" not in told
    assert told.count("passed") >= 15


@pytest.mark.parametrize("asked", ["bfloat16", "float16"])
def test_mlx_rounds_its_scores_in_half_precision(asked: str) -> None:
    pytest.importorskip("mlx")
    hunting = ("common-keys", "shifted")
    assert "failed" in outcomes(
        f"{EXAMPLES}:mlx", lambda case: case.family.id in hunting, 8, asked, options={"empty_row": "any"}
    )
