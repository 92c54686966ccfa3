"""The judge is judged: every correct backward pass of attention of order k passes, every wrong one fails and is named.

Each correct kernel is judged on a share of the cases in one of its classes, and some wrong ones are named; in CI all
are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from bank.chosen import named, pairs, wrong
from bank.chosen import outcomes as judged
from bank.tensor_attention_gradient.buggy import BUGGY
from bank.tensor_attention_gradient.correct import CORRECT

from assay.conformance.judge.level import Run

if TYPE_CHECKING:
    from bank.entry import Entry
    from bank.verdicts import Verdicts

SEMANTIC = [entry for entry in BUGGY if entry.diagnosis]
#: What the diagnosis of the first failures does not name.
UNNAMED: set[str] = set()
_ENOUGH = 4  # failures that a diagnosis gets: each is compared with every meaning


@pytest.mark.parametrize(("number", "entry", "name"), pairs("tensor_attention_gradient", CORRECT))
def test_correct_kernel_passes_its_share_of_the_families(
    number: int, entry: Entry, name: str, verdicts: Verdicts, thorough: bool
) -> None:
    outcomes = judged(verdicts, number, entry, name, whole=thorough)
    assert [outcome.sentence for outcome in outcomes if outcome.failed] == [], entry.why
    assert any(outcome.status == "passed" for outcome in outcomes)


@pytest.mark.parametrize("name", ["plain", pytest.param("plain-4", marks=pytest.mark.thorough)])
def test_correct_kernel_passes_drawn_cases_and_laws(name: str, verdicts: Verdicts) -> None:
    (entry,) = (entry for entry in CORRECT if entry.name == name)
    with np.errstate(all="ignore"):
        report = Run(verdicts.judge(entry), "smoke", 0).report()
    assert report.passed, [failure.sentence for failure in report.failures]


@pytest.mark.parametrize("entry", wrong("tensor_attention_gradient", BUGGY))
def test_wrong_kernel_fails(entry: Entry, verdicts: Verdicts) -> None:
    assert verdicts.failures(entry, 1), entry.why


@pytest.mark.parametrize("entry", named("tensor_attention_gradient", SEMANTIC))
def test_the_diagnosis_names_a_bug_that_has_a_meaning(entry: Entry, verdicts: Verdicts) -> None:
    assert entry.diagnosis is not None
    told = verdicts.diagnosis(entry, _ENOUGH)
    assert (entry.diagnosis.lower() in told) is (entry.name not in UNNAMED), told


def test_bank_is_large_and_its_names_are_unique() -> None:
    assert len(CORRECT) >= 7
    assert len(BUGGY) >= 30
    assert len(UNNAMED) <= 0.1 * len(SEMANTIC)
    for bank in (CORRECT, BUGGY):
        assert len({entry.name for entry in bank}) == len(bank)
