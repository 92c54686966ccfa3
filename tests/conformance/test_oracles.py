"""Oracles: a function that a kernel may ask, how much it gives at once, and what it was asked."""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np
import pytest
from toy.kernels import Array, asks_for_all, asks_for_all_and_goes_on, chained
from toy.outcomes import here_and_isolated, outcome_of
from toy.suites import Total

import assay
from assay.conformance.interface.suite import Case, Family
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.judge import Judge
from assay.spec.precision import precision

FLOAT32 = precision("float32")
TOY = Total.problem
CASE = Case("case", Family("test", "an oracle", "here"), Total(np.arange(11, dtype=np.float32)))

outcome = functools.partial(outcome_of, CASE)


@here_and_isolated
def test_what_an_oracle_saw_is_one_more_output(isolate: bool) -> None:
    found = outcome(chained, isolate)
    assert found.status == "passed"
    assert found.values["adder saw"].dtype == np.int64
    assert found.values["adder saw"].tolist() == [[4], [4], [4], [2]]


@here_and_isolated
@pytest.mark.parametrize("kernel", [asks_for_all, asks_for_all_and_goes_on], ids=lambda kernel: kernel.__name__)
def test_an_oracle_that_is_asked_for_too_much_is_named_also_where_the_refusal_is_swallowed(
    kernel: Any, isolate: bool
) -> None:
    found = outcome(kernel, isolate)
    assert (found.status, found.kind) == ("failed", "oracle")
    assert found.sentence == "call 1 of adder: 11 tokens, expected at most 4"


def asks_too_often(numbers: Array, *, adder: Any) -> Array:
    return chained(numbers, adder=adder, most=2)


def never_asks(numbers: Array, *, adder: Any) -> Array:
    return np.asarray(numbers.sum(keepdims=True))


@pytest.mark.parametrize(("kernel", "calls"), [(asks_too_often, 10), (never_asks, 0)])
def test_how_often_an_oracle_is_asked_is_judged_by_what_it_saw(kernel: Any, calls: int) -> None:
    found = outcome(kernel)
    assert (found.kind, found.output) == ("error", "adder saw")
    assert len(found.values["adder saw"]) == calls
    assert "a difference to 4 calls of at most 0.5" in found.sentence


def test_an_error_of_the_kernel_is_not_the_oracles() -> None:
    def fails(numbers: Array, *, adder: Any) -> Array:
        adder(numbers[:2])
        raise ValueError("of its own")

    found = outcome(fails)
    assert (found.kind, "of its own" in found.sentence) == ("raised", True)


def test_every_call_of_a_case_has_a_record_of_its_own() -> None:
    judge = Judge(kernel_of(chained, TOY), FLOAT32)
    first, second = judge.outcome(CASE), judge.outcome(CASE)
    assert first.values["adder saw"].tolist() == second.values["adder saw"].tolist()


def test_a_torch_kernel_gets_and_gives_tensors() -> None:
    torch = pytest.importorskip("torch")

    def kernel(numbers: Any, *, adder: Any) -> Any:
        total = adder(numbers[:4])
        for start in range(4, len(numbers), 3):
            total = adder(torch.cat([total, numbers[start : start + 3]]))
        return total

    assert Judge(kernel_of(kernel, TOY, framework="torch"), FLOAT32).outcome(CASE).status == "passed"


@here_and_isolated
def test_a_planner_passes_a_level(isolate: bool) -> None:
    if isolate and sys.platform != "linux":
        pytest.skip("isolation needs Linux")
    assert assay.check("toy.kernels:chained", TOY, level="smoke", isolate=isolate).passed
