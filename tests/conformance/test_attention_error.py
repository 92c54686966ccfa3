"""Approximate kernels: judged by the error that is asked of them, and by the certificate that they give."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import assay
from assay.cli import main
from assay.conformance.attention.target_numpy import formula
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.suite import COMBINATIONS, DRAWN, OPTIONS, Case, Family, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.level import Chosen
from assay.spec.attention import Instance
from assay.spec.precision import precision

if TYPE_CHECKING:
    from collections.abc import Callable

FAMILY = Family("test", "a known error", "here")


def instance(bound: float = 1.0) -> Instance:
    rng = np.random.default_rng(3)
    query, key, value = (rng.uniform(-bound, bound, (1, 2, n, 3)) for n in (5, 40, 40))
    return Instance(query, key, value, scale=1 / 3)


def status(kernel: Any, **options: Any) -> str:
    judge = Judge(kernel_of(kernel, "attention", options=options), precision("float64"))
    return judge.outcome(Case("case", FAMILY, instance())).status


def off_by(error: float) -> Callable[..., Any]:
    def kernel(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        out = formula(query, key, value, scale=scale)
        out[0, 1, 2, 0] += error
        return out

    return kernel


def with_certificate(error: float, certificate: float) -> Callable[..., Any]:
    def kernel(query: Any, key: Any, value: Any, *, scale: float, return_certificate: bool = False) -> Any:
        assert return_certificate
        out = off_by(error)(query, key, value, scale=scale)
        return out, np.full(out.shape, certificate)

    return kernel


@pytest.mark.parametrize(("error", "expected"), [(0.999e-4, "passed"), (1.001e-4, "failed")])
def test_the_error_that_is_asked_takes_the_place_of_the_tolerance(error: float, expected: str) -> None:
    assert status(off_by(error), error=1e-4) == expected
    assert status(off_by(error)) == "failed"


def test_a_kernel_that_has_the_keyword_is_told_the_error() -> None:
    def kernel(query: Any, key: Any, value: Any, *, scale: float, error: float = 0.0) -> Any:
        return off_by(0.9 * error)(query, key, value, scale=scale)

    assert status(kernel, error="1e-3") == "passed"
    assert status(kernel) == "passed"  # nothing was asked


@pytest.mark.parametrize(
    ("error", "certificate", "expected"),
    [
        (1e-7, 1.001e-7, "passed"),
        (1e-7, 0.999e-7, "failed"),
        (1e-7, 0.0, "failed"),
        (1e-7, np.nan, "failed"),
        (1e-7, -1.0, "failed"),
        (1e-3, 1.0, "failed"),  # an honest certificate of an error that is too large
    ],
)
def test_a_kernel_is_held_to_its_certificate(error: float, certificate: float, expected: str) -> None:
    assert status(with_certificate(error, certificate), error=1e-6, certificate="yes") == expected


def test_a_kernel_that_takes_any_keyword_is_not_asked_for_a_certificate() -> None:
    def kernel(query: Any, key: Any, value: Any, *, scale: float, **others: Any) -> Any:
        assert not others
        return formula(query, key, value, scale=scale)

    assert status(kernel) == "passed"


@pytest.mark.parametrize("error", ["0", "-1", "nan", "inf", "small"])
def test_an_error_that_is_no_positive_number_is_refused(error: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"option error=.*: expected a positive number"):
        kernel_of(off_by(0.0), "attention", options={"error": error})
    if error != "small":
        assert main(["check", "numpy:attention", "--error", error]) == 2
        assert "expected a positive number" in capsys.readouterr().err


@pytest.mark.parametrize("error", ["1e-3", "1e-9"])
def test_the_polynomial_method_keeps_the_error_asked_and_its_certificate(error: str) -> None:
    judge = Judge(kernel_of("assay:cpu-polynomial", "attention", options={"error": error}), precision("float64"))
    outcome = judge.outcome(Case("case", FAMILY, instance()))
    assert outcome.status == "passed"
    assert outcome.ratio > 1e-6
    assert outcome.values["certificate"].max() <= float(error)


def test_a_certificate_that_is_too_small_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.impl.cpu.attention import polynomial

    certificate = polynomial.certificate
    monkeypatch.setattr(polynomial, "certificate", lambda *given: 1e-3 * certificate(*given))
    judge = Judge(kernel_of("assay:cpu-polynomial", "attention", options={"error": 1e-3}), precision("float64"))
    assert judge.outcome(Case("case", FAMILY, instance())).failed


def test_what_cannot_be_certified_is_declined() -> None:
    judge = Judge(kernel_of("assay:cpu-polynomial", "attention"), precision("float64"))
    assert judge.outcome(Case("case", FAMILY, instance(100.0))).status == "declined"


@pytest.mark.parametrize(
    ("problem", "of", "given"),
    [
        ("attention", "attention.target_cupy:polynomial_of", ()),
        ("tensor_attention", "tensor_attention.target_cupy:polynomial_of", ("any", 3)),
        ("kernel_graph", "kernel_graph.target_cupy:certified_of", ("any", "polynomial")),
        ("rope_attention", "rope_attention.target_cupy:certified_of", ("any", "fourier")),
    ],
)
def test_a_kernel_with_a_certificate_may_decline_every_family(problem: str, of: str, given: tuple[Any, ...]) -> None:
    """Else a pass would need an input that it can certify among those that are drawn, or that combine options."""
    module, name = of.split(":")
    made = getattr(importlib.import_module(f"assay.conformance.{module}"), name)(None, *given, "numpy", "")
    assert made.declines == {family.id for family in suite(problem).families} | {DRAWN.id, OPTIONS.id, COMBINATIONS.id}


def test_a_kernel_that_declines_everything_passes_nothing() -> None:
    def function(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        raise NotImplementedError("not certified")

    declines = kernel_of("assay:cpu-polynomial", "attention").declines
    kernel, few = (
        Kernel("any", function, keywords=frozenset({"scale"}), declines=declines),
        Chosen(("one-key", "drawn")),
    )
    report = assay.check(kernel, level="smoke", chosen=few)
    assert not report.passed
