"""The judge of merges: what a kernel may declare, and what a data sheet tells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bank.small_transformers_merge.correct import binary, merged, positive, unguarded

import assay
from assay.conformance.interface.suite import Case, Family, Row, suite
from assay.conformance.interface.targets import kernel_of, missing
from assay.conformance.judge.cases import cases
from assay.conformance.judge.judge import Judge
from assay.conformance.small_transformers_merge.options import EMPTY, LOGS, OUTPUTS, built
from assay.spec.problem import Provenance
from assay.spec.small_transformers_merge import PRECISIONS, Instance

PROBLEM = "small_transformers_merge"
TARGETS = suite(PROBLEM).targets


def judged(kernel: Any, size: str, options: str = "", pattern: str = "normal", **declared: str) -> Any:
    judge = Judge(kernel_of(kernel, PROBLEM, options=declared), PRECISIONS["float32"])
    row = Row("smoke", pattern, size, tuple(options.split()))
    return judge.outcome(Case("mine", Family("mine", "", ""), built(row, Provenance("test", 0), judge.precision)))


def test_the_names_of_the_arrays_tell_the_problem() -> None:
    assert kernel_of(merged).problem == PROBLEM


@pytest.mark.parametrize("size", ["2:1x2x3x4", "5:2x2x4x8"])
def test_a_merge_may_declare_binary_logarithms(size: str) -> None:
    assert judged(binary, size, "lse", logarithm="binary").status == "passed"
    assert judged(binary, size, "lse").failed
    assert judged(merged, size, "lse", logarithm="binary").failed


def test_a_merge_may_declare_that_empty_parts_have_positive_infinity() -> None:
    assert judged(positive, "3:1x2x4x4", "empty=row lse", empty_part="positive").status == "passed"
    assert judged(merged, "3:1x2x4x4", "empty=one lse", empty_part="positive").failed


def test_a_merge_may_declare_what_a_query_without_keys_gets() -> None:
    assert judged(unguarded, "3:1x2x4x4", "empty=row lse").failed
    for convention in ("nan", "any"):
        assert judged(unguarded, "3:1x2x4x4", "empty=row lse", empty_row=convention).status == "passed"
    assert judged(merged, "3:1x2x4x4", "empty=row", empty_row="nan").failed
    assert judged(merged, "3:1x2x4x4", "empty=row", empty_row="any").status == "passed"


def test_a_sink_is_not_asked_of_binary_logarithms() -> None:
    def declaring(outputs: Any, log_sum_exps: Any, *, sink: Any = None) -> Any:
        return merged(outputs, log_sum_exps, sink=sink)

    assert judged(declaring, "2:1x2x3x4", "sink", logarithm="binary").status not in ("passed", "failed")


def test_parts_are_empty_as_their_option_says() -> None:
    rng, shape = np.random.default_rng(0), (4, 1, 2, 5)
    counts = {name: EMPTY[name](rng, shape).sum(axis=0) for name in EMPTY}
    assert (counts["one"] == 1).all()
    assert (counts["two"] == 2).all()
    assert (counts["most"] == 3).all()
    assert (counts["row"][:, :, 0] == 4).all()
    assert (counts["row"][:, :, 1:] == 1).all()
    assert EMPTY["first-two"](rng, shape)[:2, :, :, :-1].all()
    assert EMPTY["last"](rng, shape)[-1, :, :, :-1].all()
    assert all((EMPTY[name](rng, (1, 1, 2, 5)) == 0).all() for name in ("one", "two", "first", "last"))


def test_every_pattern_and_option_occurs_in_the_table() -> None:
    rows = [row for _, table in suite(PROBLEM).table for row in table]
    options = {option for row in rows for option in row.options}
    assert {row.pattern for row in rows} == set(LOGS)
    assert {f"empty={name}" for name in EMPTY} <= options
    assert {f"outputs={name}" for name in OUTPUTS} - {"outputs=normal", "outputs=signs"} <= options


def test_every_capability_is_needed_by_some_case() -> None:
    interface = suite(PROBLEM).interface
    needed = frozenset[str]().union(
        *(interface.needs(case.instance) for case in cases(suite(PROBLEM), PRECISIONS["float32"], "smoke", 0))
    )
    assert needed == {c.name for c in interface.capabilities if c.name not in ("concurrent_calls", "fresh_outputs")}


@pytest.mark.thorough
@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16", "float16"])
def test_a_right_merge_passes(precision: str) -> None:
    report = assay.check(merged, PROBLEM, precision=precision, level="smoke")
    assert report.passed, report.diagnosis
    assert report.worst_ratio < 1.0


# --- what docs/findings.md tells --------------------------------------------------------------------------------------


def _needed(name: str) -> None:
    if absent := missing(TARGETS[name]):
        pytest.skip(f"{', '.join(absent)} not installed")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_a_merge(name: str) -> None:
    _needed(name)
    kernel = kernel_of(name, PROBLEM)
    options = "lse outputs=unlike" if "return_lse" in kernel.keywords else "outputs=unlike"
    for size in ("2:1x2x3x4", "5:2x2x3x5"):
        outcome = judged(name, size, options, "apart")
        assert outcome.status == "passed", outcome.sentence


@pytest.mark.filterwarnings("ignore")
def test_an_empty_first_part_makes_the_merge_of_context_parallel_attention_nan() -> None:
    _needed("torch:sdpa_merger")
    outputs = np.array([7.0, 1.0, 5.0], np.float32).reshape(3, 1, 1, 1, 1)
    logs = np.array([-np.inf, 0.0, 0.0], np.float32).reshape(3, 1, 1, 1)
    kernel = kernel_of("torch:sdpa_merger", PROBLEM)
    judge = Judge(kernel, PRECISIONS["float32"])
    for parts in (2, 3):
        instance = Instance(outputs[:parts], logs[:parts], return_lse=True)
        assert judge.outcome(Case("mine", Family("mine", "", ""), instance)).failed
    assert judged("torch:sdpa_merger", "3:1x2x4x4", "empty=last lse").status == "passed"


@pytest.mark.filterwarnings("ignore")
def test_two_empty_parts_make_the_merge_of_two_states_nan() -> None:
    _needed("torch:flashinfer-merge_state")
    assert judged("torch:flashinfer-merge_state", "2:1x2x4x4", "empty=row").failed
    assert judged("torch:flashinfer-merge_state", "3:1x2x4x4", "empty=first-two").failed
    assert judged("torch:flashinfer-merge_state", "3:1x2x4x4", "empty=one lse").status == "passed"
