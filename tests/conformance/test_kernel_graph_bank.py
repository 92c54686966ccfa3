"""The judge is judged: every correct product with a kernel graph passes in its classes, every wrong one fails.

Each correct kernel is judged on a share of the cases in one of its classes, and some wrong ones are named; in CI all
are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from bank.chosen import named, pairs, wrong
from bank.chosen import outcomes as judged
from bank.kernel_graph.buggy import BUGGY
from bank.kernel_graph.correct import CORRECT

from assay.conformance.judge.level import Run

if TYPE_CHECKING:
    from bank.entry import Entry
    from bank.verdicts import Verdicts

SEMANTIC = [entry for entry in BUGGY if entry.diagnosis]


@pytest.mark.claim("KTOL-3")
@pytest.mark.parametrize(("number", "entry", "name"), pairs("kernel_graph", CORRECT))
def test_correct_kernel_passes_its_share_of_the_families(
    number: int, entry: Entry, name: str, verdicts: Verdicts, thorough: bool
) -> None:
    outcomes = judged(verdicts, number, entry, name, whole=thorough)
    assert [outcome.sentence for outcome in outcomes if outcome.failed] == [], entry.why
    assert any(outcome.status == "passed" for outcome in outcomes)


@pytest.mark.thorough
@pytest.mark.parametrize("entry", CORRECT, ids=lambda entry: entry.name)
def test_correct_kernel_passes_drawn_cases_and_laws(entry: Entry, verdicts: Verdicts) -> None:
    with np.errstate(all="ignore"):
        report = Run(verdicts.judge(entry), "standard", 0).report()
    assert report.passed, [failure.sentence for failure in report.failures]


@pytest.mark.parametrize("entry", wrong("kernel_graph", BUGGY))
def test_wrong_kernel_fails(entry: Entry, verdicts: Verdicts) -> None:
    assert verdicts.failures(entry, 1), entry.why


@pytest.mark.parametrize("entry", named("kernel_graph", SEMANTIC))
def test_the_diagnosis_names_a_bug_that_has_a_meaning(entry: Entry, verdicts: Verdicts) -> None:
    assert entry.diagnosis is not None
    told = verdicts.diagnosis(entry)
    assert entry.diagnosis.lower() in told, told


def test_bank_is_large_and_its_names_are_unique() -> None:
    assert len(CORRECT) >= 14
    assert len(BUGGY) >= 45
    for bank in (CORRECT, BUGGY):
        assert len({entry.name for entry in bank}) == len(bank)
