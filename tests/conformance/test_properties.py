"""Outputs of any length and type, held to a property of several together: no one array is the right answer."""

from __future__ import annotations

import functools
import shlex
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from toy.kernels import Array, loops, through_floats
from toy.outcomes import here_and_isolated, outcome_of
from toy.suites import EDGES, Graph

import assay
from assay.cli import main
from assay.conformance.interface.suite import Case, Family
from assay.conformance.judge.cases import cases
from assay.spec.precision import precision

if TYPE_CHECKING:
    from pathlib import Path

FLOAT32 = precision("float32")
TOY = Graph.problem
FAMILY = Family("test", "a property", "here")
LABELS = np.array([2**53, 2**53 + 1])  # that float64 cannot tell apart
CASE = Case("case", FAMILY, Graph(LABELS, np.array([1.0, 2.0], np.float32)))


def halved_loops(labels: Array, degrees: Array) -> Any:
    """Right, with twice as many edges."""
    ends = np.repeat(labels, 2)
    return ends, ends.copy(), np.repeat(degrees / 2, 2)


def forgets_a_node(labels: Array, degrees: Array) -> Any:
    return loops(labels[1:], degrees[1:])


def gives_ends_of_other_lengths(labels: Array, degrees: Array) -> Any:
    return labels.copy(), labels[1:].copy(), degrees.copy()


def gives_a_table(labels: Array, degrees: Array) -> Any:
    return labels[:, None].copy(), labels.copy(), degrees.copy()


outcome = functools.partial(outcome_of, CASE)


@pytest.mark.parametrize("kernel", [loops, halved_loops], ids=lambda kernel: kernel.__name__)
def test_every_answer_with_the_property_passes(kernel: Any) -> None:
    assert outcome(kernel).status == "passed"
    report = assay.check(kernel, TOY, level="smoke")
    assert report.passed
    assert report.ran > 20


def test_an_answer_without_the_property_is_told_as_a_whole() -> None:
    found = outcome(forgets_a_node)
    assert (found.kind, found.output, found.index, found.interval) == ("error", "degrees", (), None)
    assert found.got == "[9007199254740993], [9007199254740993], [2]"
    assert found.sentence.startswith(f"degrees is {found.got}, expected a difference to a degree of at most ")
    assert found.sentence.endswith("tolerances")


def test_outputs_that_make_no_sense_together_are_an_error_that_nothing_excuses() -> None:
    found = outcome(gives_ends_of_other_lengths)
    assert (found.kind, found.ratio) == ("error", np.inf)


def test_an_axis_of_any_length_is_still_one_axis() -> None:
    found = outcome(gives_a_table)
    assert (found.kind, found.sentence) == ("shape", "returned left of shape (2, 1), expected (:)")


@here_and_isolated
def test_integers_beyond_the_significand_of_a_float_come_back_exactly(isolate: bool) -> None:
    found = outcome(loops, isolate)
    assert found.status == "passed"
    assert found.values["left"].dtype == np.int64
    assert found.values["left"].tolist() == [2**53, 2**53 + 1]
    assert found.values["weight"].dtype == np.float32


@here_and_isolated
def test_labels_that_pass_through_a_float_are_found(isolate: bool) -> None:
    found = outcome(through_floats, isolate)
    assert (found.status, found.output) == ("failed", "degrees")


def test_a_level_is_the_same_in_a_process_of_its_own() -> None:
    if sys.platform != "linux":
        pytest.skip("isolation needs Linux")
    reports = [assay.check("toy.kernels:loops", TOY, level="smoke", isolate=isolate) for isolate in (False, True)]
    here, there = ([(c.name, c.status, c.ratio) for c in report.cases] for report in reports)
    assert here == there
    assert reports[1].passed


def test_the_reproducer_of_a_property_fails_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = assay.check("toy.kernels:through_floats", TOY, level="smoke", reproducers=tmp_path)
    assert not report.passed
    words = shlex.split(report.failures[0].reproducer)
    assert main(words[1:]) == 1
    assert "1. degrees is [9007199254740992]" in capsys.readouterr().out
    assert main([*words[1:], "--target", "toy.kernels:loops"]) == 0


def test_a_report_with_such_a_finding_is_read_back(tmp_path: Path) -> None:
    from assay.conformance.report.data import to_json
    from assay.conformance.report.reading import from_json

    report = assay.check(forgets_a_node, TOY, level="smoke", reproducers=tmp_path)
    (back,) = from_json(to_json(report))
    assert back.to_text() == report.to_text()
    assert back.failures[0].got == report.failures[0].got


def test_the_rows_of_the_toy_reach_the_labels_that_matter() -> None:
    assert any(int(case.instance.labels.max()) > 2**53 for case in cases(EDGES, FLOAT32, "smoke", 0))
