"""The judge of simulations and of merges: right ones pass in every class, wrong ones fail and are named."""

from __future__ import annotations

from typing import Any

import pytest
from bank import small_transformers as bank

import assay

SIMULATIONS: dict[str, tuple[Any, str]] = {
    "dropping": (bank.dropping, "the keys after the last whole block are dropped"),
    "wide": (bank.wide, "the window is one key too wide"),
    "sinks forgotten": (bank.sinks_forgotten, "the sinks are ignored"),
}
MERGES: dict[str, tuple[Any, str]] = {
    "taken for natural": (bank.taken_for_natural, "log-sum-exps of base 2 are taken for natural ones"),
    "alike": (bank.alike, "parts are weighted alike"),
    "overwriting": (bank.overwriting, "the last part overwrites the others"),
    "sinks repeated": (bank.sinks_repeated, "the sink is counted once a part"),
}


@pytest.mark.claim("MERGE-2")
@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16", "float16"])
def test_a_right_simulation_passes(precision: str) -> None:
    report = assay.check(bank.simulated, "small_transformers", precision=precision, level="smoke")
    assert report.passed, report.diagnosis
    assert report.worst_ratio <= 0.9


@pytest.mark.parametrize("name", SIMULATIONS)
def test_a_wrong_simulation_fails_and_is_named(name: str) -> None:
    kernel, words = SIMULATIONS[name]
    report = assay.check(kernel, "small_transformers", precision="float32", level="smoke")
    assert not report.passed
    assert report.diagnosis[0] == words


def test_a_call_of_more_tokens_than_the_oracle_takes_is_a_finding() -> None:
    report = assay.check(bank.large, "small_transformers", precision="float32", level="smoke")
    assert not report.passed
    assert "tokens, expected at most" in report.failures[0].sentence


@pytest.mark.claim("MERGE-4")
@pytest.mark.parametrize(
    ("kernel", "precision"),
    [*((bank.merged, name) for name in ("float64", "float32", "bfloat16", "float16")), (bank.corrected, "float32")],
)
def test_a_right_merge_passes(kernel: Any, precision: str) -> None:
    report = assay.check(kernel, "small_transformers_merge", precision=precision, level="smoke")
    assert report.passed, report.diagnosis


@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
def test_a_merge_may_declare_binary_logarithms(precision: str) -> None:
    options = {"logarithm": "binary"}
    report = assay.check(bank.binary, "small_transformers_merge", precision=precision, level="smoke", options=options)
    assert report.passed, report.diagnosis
    assert not assay.check(bank.binary, "small_transformers_merge", precision=precision, level="smoke").passed


@pytest.mark.parametrize("name", MERGES)
def test_a_wrong_merge_fails_and_is_named(name: str) -> None:
    kernel, words = MERGES[name]
    report = assay.check(kernel, "small_transformers_merge", precision="float32", level="smoke")
    assert not report.passed
    assert words in report.diagnosis
