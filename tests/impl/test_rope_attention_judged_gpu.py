"""Attention with relative positions of GPUs as the judge sees it, on the thread model of a CPU: routes and forms.

As a level comes, most of its scores are too large for polynomials of a low degree, and are declined.  So its rows are
judged with smaller scores as well: under every mask, bias, rotation and layout that the suite has.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import emulated
import numpy as np
import pytest
from emulated import Emulated

import assay
from assay.conformance.interface.suite import Case, Family, Row, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.cases import cases_of_level
from assay.conformance.judge.judge import Judge
from assay.conformance.rope_attention import target_cupy
from assay.conformance.rope_attention.combinations import COVERING
from assay.conformance.rope_attention.options import built
from assay.conformance.rope_attention.target_cupy import certified_of
from assay.impl.gpu.attention import polynomial
from assay.impl.gpu.rope_attention import fourier
from assay.impl.gpu.rope_attention.approximate import run
from assay.spec.problem import Provenance
from assay.spec.rope_attention import PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from assay.conformance.interface.kernel import Kernel

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")
pytestmark = pytest.mark.usefixtures("compiled")

ARRAYS = ("query_positions", "key_positions", "relative_bias", "key_lengths")
#: The routes, and whether W is given.
KERNELS = {"polynomial": ("polynomial", False), "fourier": ("fourier", False), "general": ("fourier", True)}


def approximate(query: Any, key: Any, value: Any, relative: Any = None, **options: Any) -> Any:
    """:func:`assay.impl.gpu.rope_attention.approximate` on a CPU."""
    arrays = {"query": query, "key": key, "value": value, "relative": relative}
    arrays |= {name: options.pop(name, None) for name in ARRAYS}
    return run(Emulated(), arrays, bounds=None, **options)


def kernel(name: str, function: Callable[..., Any] = approximate) -> Kernel:
    route, general = KERNELS[name]
    return certified_of(function, name, route, "numpy", "", general=general)


@pytest.fixture(scope="module")
def compiled() -> None:
    """Kernels are compiled before the judge counts the seconds of a call."""
    if emulated.compiler() is not None:
        one = np.full((1, 1, 1, 2), 0.5)
        for route, window in (("polynomial", None), ("polynomial", (1, 1)), ("fourier", None)):
            approximate(one, one, one, error=1e-2, memory=1 << 20, route=route, window=window)


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes the thread model long is declined: many products with Toeplitz matrices, and high ranks."""
    monkeypatch.setattr(fourier, "_MOST_PRODUCTS", 100)
    monkeypatch.setattr(target_cupy, "MEMORY", 1 << 18)


def judge_of(kernel: Kernel, error: float, name: str = "float64") -> Judge:
    return Judge(kernel_of(kernel, "rope_attention", options={"error": error}), PRECISIONS[name])


# --- what is right passes

#: Capabilities that need another one that no route has, and what is seen by the calls and not by the instances.
OF_OTHERS = ("bias_with_mask", "empty_row_lse", "wide_bias", "requested_error", "fresh_outputs")
#: Those of rows that take the thread model long; the polynomial route has no bias to go with a causal mask.
OF_FEW = {
    "polynomial": ("far_positions", "concurrent_calls", "causal_with_mask"),
    "fourier": ("far_positions", "concurrent_calls"),
    "general": ("grouped_heads", "causal_with_mask"),
}


def judged(name: str, level: str, precision: str, most: float) -> tuple[Counter[str], set[str]]:
    """How often each status was found among the rows of a level, with scores a twentieth as large.

    And what the kernel can be asked for, and no row that passed asks for.  most: the numbers that the reference of a
    row may take in hand; larger rows are left out.
    """
    judge, problem, found = judge_of(kernel(name), 1e-2, precision), suite("rope_attention"), Counter[str]()
    unseen = set(problem.interface.has(judge.kernel))
    for case in cases_of_level(problem, judge.precision, level, 0, problem.interface.has(judge.kernel)):
        if case.row is None or COVERING.cost(case.row) > most:
            continue
        instance, after, beside = (
            tuple(each.replace(scale=0.05 * each.scale) for each in instances)
            for instances in ((case.instance,), case.after, case.beside)
        )
        outcome = judge.outcome(dataclasses.replace(case, instance=instance[0], after=after, beside=beside))
        assert not outcome.failed, f"{case.name}: {outcome.sentence}"
        found[outcome.status] += 1
        if outcome.status == "passed":
            unseen -= problem.interface.needs(instance[0]) | case.needs
    return found, unseen


@needs_compiler
@pytest.mark.usefixtures("cheap")
@pytest.mark.claim("GPU-13", "GPU-17", "GPU-20")
@pytest.mark.parametrize(
    ("name", "level", "precision", "most", "least"),
    [
        ("general", "smoke", "float64", 3e3, 17),
        *(
            pytest.param(*each, marks=pytest.mark.thorough)
            for each in (
                ("general", "standard", "float64", 3e3, 25),
                ("fourier", "standard", "float64", 1.5e3, 90),
                ("polynomial", "standard", "float64", 3e3, 200),
                ("polynomial", "smoke", "float32", 3e3, 80),
            )
        ),
    ],
)
def test_rows_of_the_suite_with_smaller_scores_are_within_the_error_asked_and_their_certificate(
    name: str, level: str, precision: str, most: float, least: int
) -> None:
    found, unseen = judged(name, level, precision, most)
    assert found["passed"] >= least
    assert level == "smoke" or unseen <= {*OF_OTHERS, *OF_FEW[name]}


@needs_compiler
@pytest.mark.claim("GPU-13", "GPU-20")
@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("polynomial", "1x2:3x4:4/2", "from=16777215"),
        ("fourier", "1x2:3x4:2/2", "from=16777215 relative"),
        ("general", "2x4/2:3x4:2/2", "w=decaying relative causal"),
    ],
)
def test_what_only_large_rows_of_the_suite_ask_for_passes_too(name: str, size: str, options: str) -> None:
    case = case_of(size, options)
    needs = suite("rope_attention").interface.needs(case.instance)
    assert needs & {*OF_FEW[name]}
    outcome = judge_of(kernel(name), 1e-3).outcome(case)
    assert outcome.status == "passed", outcome.sentence


@needs_compiler
@pytest.mark.thorough
@pytest.mark.usefixtures("cheap")
@pytest.mark.claim("GPU-13", "GPU-17", "GPU-20")
@pytest.mark.parametrize("name", ["polynomial", "fourier", "general"])
def test_it_conforms(name: str) -> None:
    asked: dict[str, Any] = {"precision": "float64", "level": "standard", "options": {"error": "0.1"}}
    report = assay.check(kernel(name), "rope_attention", seconds=900.0, **asked)
    assert report.passed, report


# --- what is wrong does not


def case_of(size: str, options: str, scale: float = 0.1) -> Case:
    row = Row("smoke", "normal", size, tuple(options.split()))
    instance = built(row, Provenance("test", 0), PRECISIONS["float64"])
    return Case("case", Family("test", "a planted fault", "here"), instance.replace(scale=scale * instance.scale))


def certificate(patch: pytest.MonkeyPatch) -> None:
    """A polynomial of scores that is said not to err."""
    chosen = fourier.chosen
    patch.setattr(fourier, "chosen", lambda *given: dataclasses.replace(chosen(*given), error=0.0))


def certificate_of_the_polynomial_route(patch: pytest.MonkeyPatch) -> None:
    chosen = polynomial.chosen
    patch.setattr(polynomial, "chosen", lambda *given: dataclasses.replace(chosen(*given), cut=0.0))


def window(patch: pytest.MonkeyPatch) -> None:
    weighted = fourier.weighted

    def wider(machine: Any, heads: Any) -> Any:
        left, right = heads.window
        return weighted(machine, dataclasses.replace(heads, window=(left + 1, right)))

    patch.setattr(fourier, "weighted", wider)


def window_of_the_polynomial_route(patch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("assay.impl.gpu.rope_attention.approximate")
    band_of = module.band_of
    patch.setattr(module, "band_of", lambda *of: dataclasses.replace(band_of(*of), left=band_of(*of).left + 1))


FAULTS = (certificate, certificate_of_the_polynomial_route, window, window_of_the_polynomial_route)


def without(name: str) -> Callable[..., Any]:
    """The function, which takes an argument and leaves it out."""
    return lambda *arrays, **options: approximate(*arrays, **{**options, name: None})


def mirrored(query: Any, key: Any, value: Any, relative: Any, **options: Any) -> Any:
    """W of the opposite offset."""
    return approximate(query, key, value, relative[:, ::-1], **options)


@needs_compiler
@pytest.mark.claim("GPU-13", "GPU-17", "GPU-20")
@pytest.mark.parametrize(
    ("name", "size", "options", "planted"),
    [
        ("fourier", "1x2:4x5:2/2", "", certificate),
        ("polynomial", "1x2:4x5:2/2", "", certificate_of_the_polynomial_route),
        ("fourier", "1x2:6x6:2/2", "window=2,1", window),
        ("polynomial", "1x2:6x6:2/2", "window=2,1", window_of_the_polynomial_route),
        ("fourier", "1x2:5x5:2/2", "relative", without("relative_bias")),
        ("fourier", "1x2:5x5:2/2", "causal lengths", without("key_lengths")),
        ("polynomial", "2x2:5x5:4/2", "rows=60", without("key_positions")),
        ("general", "1x2:5x5:2/2", "w=diagonal", mirrored),
    ],
)
def test_a_planted_fault_is_rejected(
    name: str, size: str, options: str, planted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    error, case = 1e-3, case_of(size, options)
    right = judge_of(kernel(name), error).outcome(case)
    assert (right.status, right.ratio <= 1.0) == ("passed", True), right.sentence
    if planted in FAULTS:
        planted(monkeypatch)
        wrong = kernel(name)
    else:
        wrong = kernel(name, planted)
    assert judge_of(wrong, error).outcome(case).failed


@needs_compiler
def test_what_is_not_certified_to_the_error_asked_is_declined() -> None:
    for name, options in (("polynomial", ""), ("fourier", "relative"), ("general", "w=diagonal")):
        judge = judge_of(kernel(name), 1e-3)
        statuses = [judge.outcome(case_of("1x2:5x5:2/2", options, scale)).status for scale in (0.1, 100.0)]
        assert statuses == ["passed", "declined"]
    few, steep = judge_of(kernel("polynomial"), 1e-3), case_of("1x2:5x5:2/2", "relative")
    assert "relative_bias" in few.outcome(steep).sentence
