"""A kernel over a corpus: who fails, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from assay.conformance import corpus as over
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.judge import Judge
from assay.spec.instances.hard import HardProblem, hard
from assay.spec.instances.truth import Truth
from assay.spec.precision import precision


def right(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    scores = scale * (query.astype(np.float64) @ key.astype(np.float64).swapaxes(2, 3))
    weights = np.exp(scores - scores.max(axis=3, keepdims=True))
    return ((weights @ value) / weights.sum(axis=3, keepdims=True)).astype(query.dtype)


def row(problem: HardProblem, kernel: Any = right, name: str = "float32") -> over.Row:
    found = over._row(
        "x", problem.stored_as(precision(name).storage), Judge(kernel_of(kernel, "attention"), precision(name))
    )
    assert isinstance(found, over.Row)
    return found


@pytest.mark.parametrize("counting", [False, True])
def test_a_right_kernel_passes_and_decodes(counting: bool) -> None:
    found = row(hard("attention", "planted-ov", 1, n=16, d=12, counting=counting))
    assert (found.status, found.promised, found.decoded) == ("passed", True, "right")


def test_what_a_class_does_not_promise_is_said() -> None:
    assert not row(hard("attention", "planted-ov", 1, n=64, d=12, counting=True), name="bfloat16").promised


def test_an_output_outside_its_tolerance_fails_though_it_decodes() -> None:
    found = row(
        hard("attention", "planted-ov", 1, n=16, d=12),
        lambda query, key, value, *, scale: right(query, key, value, scale=scale) * np.float32(1.01),
    )
    assert (found.status, found.decoded) == ("failed", "right")


def test_a_promised_answer_that_is_wrong_fails() -> None:
    problem = replace(hard("attention", "planted-ov", 1, n=16, d=12), truth=Truth(False, 0))
    found = row(problem)
    assert (found.status, found.decoded) == ("failed", "wrong")
    assert found.sentence == "decodes wrongly, though within its tolerance"


def test_a_kernel_that_declines_everything_does_not_pass() -> None:
    rows = (over.Row("x", "declined", 0.0, True, ""),)
    assert not over.CorpusReport("k", "float32", rows).passed
