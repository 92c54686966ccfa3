"""Structures that keep state: a history is an instance, judged, shrunk, saved and isolated like any other."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings, stateful
from hypothesis import strategies as st
from toy.kernels import Array, LosesUpdates, Products
from toy.suites import FIRING, Firing

import assay
from assay.conformance.interface.suite import Case, Family
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.judge import Judge
from assay.spec.precision import precision

if TYPE_CHECKING:
    from pathlib import Path

FAMILY = Family("test", "a history", "here")
FLOAT32 = precision("float32")
TOY = Firing.problem
UPDATE, QUERY = True, False


class KeepsTheLargest(Products):
    """A maximum that is stale after a decrease."""

    def update(self, weight: Array, *, neuron: int) -> None:
        self.products[:, neuron] = np.maximum(self.products[:, neuron], self.data * weight)


def firing(*operations: tuple[bool, int, float], weights: tuple[float, ...] = (2.0, 0.0)) -> Firing:
    """One point, 1.0, and threshold 1: a neuron fires if its weight is above 1."""
    updates, which, new = (np.array(column) for column in zip(*operations, strict=True))
    numbers = (np.array(each, np.float32) for each in ([1.0], weights))
    return Firing(*numbers, updates, which, new.astype(np.float32))


def outcome(kernel: Any, instance: Firing) -> Any:
    return Judge(kernel_of(kernel, TOY), FLOAT32).outcome(Case("case", FAMILY, instance))


def test_a_right_structure_passes() -> None:
    report = assay.check(Products, TOY, level="smoke")
    assert report.passed
    assert report.ran > 20


@pytest.mark.parametrize(
    ("kernel", "isolate"),
    [
        (LosesUpdates, False),
        (KeepsTheLargest, False),
        pytest.param(LosesUpdates, True, marks=pytest.mark.skipif(sys.platform != "linux", reason="isolation")),
    ],
)
def test_a_lost_update_is_shrunk_to_one_neuron_one_point_and_two_operations(
    kernel: Any, isolate: bool, tmp_path: Path
) -> None:
    report = assay.check(kernel, TOY, level="smoke", isolate=isolate, reproducers=tmp_path)
    smallest = report.failures[0].instance
    assert smallest.lengths() == {"points": 1, "neurons": 1, "steps": 2}
    assert smallest.updates.tolist() == [UPDATE, QUERY]
    assert (report.diagnosis == ["updates are lost"]) is (kernel is LosesUpdates)


def test_nothing_of_the_toy_says_how_its_histories_shrink() -> None:
    assert {"smaller", "_smaller", "part", "size", "describe"}.isdisjoint(vars(Firing))
    assert FIRING.strategy is None


def test_a_decision_is_judged_by_its_margin_and_told_in_words() -> None:
    found = outcome(LosesUpdates, firing((UPDATE, 0, 0.5), (QUERY, 0, 0.0)))
    assert found.sentence == (
        "fired at 1[0] is True, expected no by a margin of 0.5 (tolerance 1.8e-07): off by 2.8e+06 tolerances"
    )
    assert (found.got, found.interval) == (True, None)


def test_within_the_rounding_of_the_margin_either_answer_is_right() -> None:
    class Wavers(Products):
        def fired(self, *, point: int) -> Array:
            return ~super().fired(point=point)

    assert outcome(Wavers, firing((QUERY, 0, 0.0), weights=(1.0,))).status == "passed"
    assert outcome(Wavers, firing((QUERY, 0, 0.0), weights=(1.001,))).failed


def test_a_fault_in_a_step_says_which_step_it_was() -> None:
    class Raises(Products):
        def update(self, weight: Array, *, neuron: int) -> None:
            raise KeyError(neuron)

    found = outcome(Raises, firing((QUERY, 0, 0.0), (UPDATE, 1, 0.5)))
    assert found.kind == "raised"
    assert found.sentence.startswith("step 3 of 3, update: raised KeyError: 1 (test_structures.py:")


def test_a_structure_without_the_method_is_told_so() -> None:
    def new(data: Array, weights: Array, *, threshold: float) -> Any:
        return object()

    found = outcome(new, firing((QUERY, 0, 0.0)))
    assert found.kind == "type"
    assert "returned a object without a method 'fired', expected a structure that has it" in found.sentence


def test_a_structure_that_writes_into_what_it_was_made_of_is_found_in_a_later_step() -> None:
    import ctypes

    class Scribbles(Products):
        def __init__(self, data: Array, weights: Array, *, threshold: float) -> None:
            super().__init__(data, weights, threshold=threshold)
            self.address = weights.__array_interface__["data"][0]

        def update(self, weight: Array, *, neuron: int) -> None:
            super().update(weight, neuron=neuron)
            ctypes.c_float.from_address(self.address).value = float(weight)

    found = outcome(Scribbles, firing((UPDATE, 0, 0.5), (QUERY, 0, 0.0)))
    assert (found.kind, found.sentence) == ("mutated", "step 2 of 3, update: changed its input 'weights'")


def test_a_structure_may_keep_a_reference_to_what_it_was_made_of() -> None:
    class Refers(Products):
        def __init__(self, data: Array, weights: Array, *, threshold: float) -> None:
            super().__init__(data, weights, threshold=threshold)
            self.data = data

    assert outcome(Refers, firing((UPDATE, 0, 0.5), (QUERY, 0, 0.0))).status == "passed"
    assert assay.check(Refers, TOY, level="smoke").passed


def test_decisions_stay_truth_values() -> None:
    found = outcome(Products, firing((QUERY, 0, 0.0)))
    assert found.values["fired at 0"].dtype == np.bool_
    assert found.values["fired at 0"].tolist() == [True, False]


def test_the_reproducer_of_a_history_fails_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shlex

    from assay.cli import main

    report = assay.check("toy.kernels:LosesUpdates", TOY, level="smoke", reproducers=tmp_path)
    words = shlex.split(report.failures[0].reproducer)
    assert main(words[1:]) == 1
    assert "behaves like: updates are lost" in capsys.readouterr().out
    assert main([*words[1:], "--target", "toy.kernels:Products"]) == 0


# --- histories that Hypothesis writes --------------------------------------------------------------------------------


def machine(kernel: Any) -> Any:
    """Rules only append a row to a history; the history is handed to the judge that judges every other case."""
    judge = Judge(kernel_of(kernel, TOY), FLOAT32)

    class Histories(stateful.RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.rows: list[tuple[bool, int, float]] = []

        @stateful.rule(neuron=st.integers(0, 3), weight=st.sampled_from([0.0, 2.0, 3.0]))
        def update(self, neuron: int, weight: float) -> None:
            self.rows.append((UPDATE, neuron, weight))

        @stateful.rule()
        def query(self) -> None:
            self.rows.append((QUERY, 0, 0.0))
            found = judge.outcome(Case("history", FAMILY, firing(*self.rows)))
            assert not found.failed, found.sentence

    return Histories


FEW = settings(max_examples=30, stateful_step_count=12, deadline=None, database=None, derandomize=True)


def test_a_state_machine_that_writes_scripts_passes_a_right_structure() -> None:
    stateful.run_state_machine_as_test(machine(Products), settings=FEW)


@pytest.mark.parametrize("kernel", [LosesUpdates, KeepsTheLargest], ids=lambda kernel: kernel.__name__)
def test_a_state_machine_that_writes_scripts_finds_a_stale_structure(kernel: Any) -> None:
    with pytest.raises(AssertionError, match=r"fired at \d+\[\d\] is (True|False), expected (yes|no) by a margin of"):
        stateful.run_state_machine_as_test(machine(kernel), settings=FEW)
