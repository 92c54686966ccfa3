"""The floating-point environment: certified arithmetic refuses an unusual one; the judge undoes what a kernel did."""

from __future__ import annotations

import ctypes
import platform
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import assay
from assay.conformance.interface.usage import UsageError
from assay.impl import cpu
from assay.spec import attention, floating_point
from assay.spec.floating_point import changes, require_usual, restore

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
