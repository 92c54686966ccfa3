"""The judge is judged: every correct kernel of the bank passes, every wrong one fails."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from bank.attention.buggy import BUGGY, Buggy
from bank.attention.correct import CORRECT, Entry

from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.cases import cases as cases_of
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.level import Run
from assay.spec.precision import precision

_PAIRS = [(entry, name) for entry in CORRECT for name in entry.precisions]


@pytest.fixture(scope="module")
def references() -> dict[Any, Any]:
    """What is known already: shared by all kernels."""
    return {}


@pytest.mark.parametrize(("entry", "name"), _PAIRS, ids=[f"{entry.name}-{name}" for entry, name in _PAIRS])
def test_correct_kernel_passes(entry: Entry, name: str, references: dict[Any, Any]) -> None:
    judge = Judge(kernel_of(entry.function, "attention"), precision(name), references=references)
    with np.errstate(all="ignore"):
        report = Run(judge, "smoke", 0).report()
    assert report.passed, (entry.why, [failure.sentence for failure in report.failures])


@pytest.mark.parametrize("entry", BUGGY, ids=lambda entry: entry.name)
def test_wrong_kernel_fails(entry: Buggy, references: dict[Any, Any]) -> None:
    kernel = kernel_of(entry.function, "attention", options=entry.options)
    judge = Judge(kernel, precision(entry.precision), entry.options, references=references)
    with np.errstate(all="ignore"):
        cases = cases_of(judge.suite, judge.precision, "standard", 0)
        if not any(judge.outcome(case, huge_canaries=n % 2 == 1).failed for n, case in enumerate(cases)):
            report = Run(judge, "standard", 0).report()  # perhaps a drawn case or a law finds it
            assert not report.passed, (entry.bug, report.worst_ratio)


def test_the_diagnosis_is_right_for_nine_of_ten_semantic_bugs(references: dict[Any, Any]) -> None:
    wrong = []
    semantic = [entry for entry in BUGGY if entry.diagnosis]
    for entry in semantic:
        kernel = kernel_of(entry.function, "attention", options=entry.options)
        judge = Judge(kernel, precision(entry.precision), entry.options, references=references)
        failures = []
        with np.errstate(all="ignore"):
            for n, case in enumerate(cases_of(judge.suite, judge.precision, "standard", 0)):
                outcome = judge.outcome(case, huge_canaries=n % 2 == 1)
                if outcome.failed and len(failures) < 12:
                    failures.append((case.instance, outcome))
            told = " ".join(judge.diagnosis(failures)).lower()
        if entry.diagnosis not in told:
            wrong.append(f"{entry.name}: expected {entry.diagnosis!r} in {told!r}")
    assert len(semantic) >= 50
    assert len(wrong) <= 0.1 * len(semantic), wrong


def test_bank_is_large_and_its_names_are_unique() -> None:
    assert len(CORRECT) >= 15
    assert len(BUGGY) >= 40
    claimed = Counter(entry.precision for entry in BUGGY)
    assert claimed["float32"] >= 45
    assert claimed["bfloat16"] + claimed["float16"] >= 12
    for bank in (CORRECT, BUGGY):
        names = [entry.name for entry in bank]
        assert len(set(names)) == len(names)
