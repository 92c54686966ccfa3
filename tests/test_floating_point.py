"""The floating-point environment: certified arithmetic refuses an unusual one; the judge undoes what a kernel did."""

from __future__ import annotations

import ctypes
import itertools
import platform
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import assay
from assay.conformance.interface.suite import suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.cases import cases
from assay.impl import cpu
from assay.spec import attention, floating_point, layer_collapse
from assay.spec.floating_point import changes, require_usual, restore
from assay.spec.problem import PROBLEMS, problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() != "x86_64", reason="sets the modes of this machine"
)
ROUNDING = {"up": 0x800, "down": 0x400, "to zero": 0xC00}


@pytest.fixture(autouse=True)
def _usual_afterwards() -> Iterator[None]:
    yield
    restore()


def round_as(mode: int) -> None:
    """Set the rounding mode of this thread, as C code may."""
    ctypes.CDLL("libm.so.6").fesetround(mode)


def instance() -> attention.Instance:
    x = np.linspace(-1.0, 1.0, 4).reshape(1, 1, 4, 1)
    return attention.Instance(x, x, x)


@pytest.mark.parametrize("mode", ROUNDING.values(), ids=ROUNDING)
def test_another_rounding_mode_is_seen_refused_and_restored(mode: int) -> None:
    round_as(mode)
    assert changes() == "does not round to nearest"
    with pytest.raises(FloatingPointError, match="needs rounding to nearest with subnormal numbers"):
        require_usual()
    assert restore() == "does not round to nearest"
    assert (changes(), restore()) == ("", "")


def test_flushed_subnormal_numbers_are_seen_and_restored() -> None:
    torch = pytest.importorskip("torch")
    assert torch.set_flush_denormal(True)
    assert restore() == "flushes subnormal results to 0"
    assert changes() == ""


def test_a_thread_is_refused_where_nothing_can_be_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floating_point.sys, "platform", "elsewhere")
    round_as(ROUNDING["up"])
    with pytest.raises(FloatingPointError):
        restore()
    monkeypatch.undo()


def test_definitions_and_kernels_with_certificates_refuse_to_begin() -> None:
    case = instance()
    round_as(ROUNDING["down"])
    for begin in (
        lambda: attention.define(case),
        lambda: attention.tolerance(case, "float64"),
        lambda: cpu.attention.exact(case.query, case.key, case.value),
        lambda: cpu.attention.approximate(case.query, case.key, case.value, error=0.1),
        lambda: cpu.attention_gradient.exact(*(case.query,) * 4, case.query[..., 0], case.query),
        lambda: cpu.rope.exact(case.query, case.key, np.arange(4)),
        lambda: cpu.document_similarity.exact(case.query[0, 0]),
    ):
        with pytest.raises(FloatingPointError):
            begin()


def test_a_kernel_that_changes_the_mode_is_judged_in_the_usual_one() -> None:
    def kernel(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        scores = scale * np.einsum("bhid,bhjd->bhij", query, np.repeat(key, query.shape[1] // key.shape[1], 1))
        weights = np.exp(scores - scores.max(axis=3, keepdims=True))
        round_as(ROUNDING["up"])
        value = np.repeat(value, query.shape[1] // value.shape[1], 1)
        return (weights @ value / weights.sum(axis=3, keepdims=True)).astype(query.dtype)

    report = assay.check(kernel, "attention", level="smoke")
    assert changes() == ""
    assert any("leaves a floating-point environment that does not round to nearest" in note for note in report.notes)
    assert report.worst_ratio < 1


@pytest.mark.parametrize("isolate", [False, True])
def test_a_module_that_changes_the_mode_when_it_is_imported_is_refused(tmp_path: Path, isolate: bool) -> None:
    kernel = "def kernel(query, key, value, *, scale): return value\n"
    (tmp_path / "up.py").write_text(f"import ctypes\nctypes.CDLL('libm.so.6').fesetround(0x800)\n{kernel}")
    with pytest.raises(UsageError, match=r"up\.py:kernel: importing it leaves .* that does not round to nearest"):
        assay.check(f"{tmp_path / 'up.py'}:kernel", "attention", level="smoke", isolate=isolate)
    assert changes() == ""


def test_nothing_is_judged_in_an_environment_of_the_callers() -> None:
    round_as(ROUNDING["up"])
    with pytest.raises(UsageError, match="the floating-point environment does not round to nearest"):
        assay.check("numpy:attention", "attention", level="smoke")


@pytest.mark.parametrize("name", PROBLEMS)
def test_no_certified_value_or_tolerance_of_any_problem_begins_in_another_mode(name: str) -> None:
    module = problem(name)
    precision = next(iter(module.PRECISIONS.values()))
    case = next(iter(cases(suite(name), precision, "smoke", 0))).instance
    outputs = set(module.OUTPUTS) - {"grad_bias", "grad_sink"}  # which the case lacks
    begun: list[Any] = [partial(module.criteria, case, precision)]
    begun += [partial(module.define, case, output=output) for output in outputs]
    begun += [partial(module.tolerance, case, precision, output) for output in outputs]
    round_as(ROUNDING["up"])
    for begin in begun:
        with pytest.raises(FloatingPointError, match="does not round to nearest"):
            begin()
    restore()
    for begin in begun:  # nothing that was refused is kept
        begin()


def test_bounds_of_a_collapse_do_not_begin_in_another_mode() -> None:
    one = np.ones((2, 1, 1, 1))
    network = layer_collapse.Instance(np.array([[0.0], [0.5]]), one, one, one)
    round_as(ROUNDING["up"])
    for begin in (layer_collapse.kappa, layer_collapse.diameters, layer_collapse.one_layer, layer_collapse.mixings):
        with pytest.raises(FloatingPointError):
            begin(network)


def test_a_thread_that_was_started_in_another_mode_is_refused_after_its_parent_was_restored() -> None:
    go = threading.Event()
    caught: list[str] = []

    def begin() -> None:
        go.wait(10)
        try:
            attention.define(instance())
        except FloatingPointError as error:
            caught.append(str(error))

    round_as(ROUNDING["up"])
    thread = threading.Thread(target=begin)
    thread.start()
    restore()
    go.set()
    thread.join()
    assert len(caught) == 1


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_numpy_is_to_raise_changes_no_criterion(name: str) -> None:
    module = problem(name)
    for precision in list(module.PRECISIONS.values())[:2]:
        for case in itertools.islice(cases(suite(name), precision, "smoke", 0), 8):
            with np.errstate(all="raise"):
                module.criteria(case.instance, precision)


def test_what_numpy_is_to_raise_changes_no_verdict() -> None:
    def kernel(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        np.seterr(all="raise")  # and it stays so for whoever calls NumPy next, if nobody undoes it
        with np.errstate(all="ignore"):
            return built_in(query, key, value, scale=scale)

    built_in = kernel_of("numpy:attention").function
    before = np.geterr()
    with np.errstate(all="raise"):
        report = assay.check(kernel, "attention", level="smoke")
    assert (report.passed, np.geterr()) == (True, before)
