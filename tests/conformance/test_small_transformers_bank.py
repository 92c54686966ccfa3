"""The judge is judged: every correct simulation passes, every wrong one fails and is named.

Each correct kernel is judged on a share of the cases in one of its classes, and some wrong ones are named; in CI all
are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from bank.chosen import named, pairs, wrong
from bank.chosen import outcomes as judged
from bank.small_transformers.buggy import BUGGY
from bank.small_transformers.correct import CORRECT

from assay.conformance.judge.level import Run

if TYPE_CHECKING:
    from bank.entry import Entry
    from bank.verdicts import Verdicts

SEMANTIC = [entry for entry in BUGGY if entry.diagnosis]
#: What the diagnosis of the first failures does not name.
UNNAMED = {"mask-restarts"}
_ENOUGH = 4  # failures that a diagnosis gets: each is compared with every meaning


@pytest.mark.claim("MERGE-2")
@pytest.mark.parametrize(("number", "entry", "name"), pairs("small_transformers", CORRECT))
def test_correct_simulation_passes_its_share_of_the_families(
    number: int, entry: Entry, name: str, verdicts: Verdicts, thorough: bool
) -> None:
    outcomes = judged(verdicts, number, entry, name, whole=thorough)
    assert [outcome.sentence for outcome in outcomes if outcome.failed] == [], entry.why
    assert any(outcome.status == "passed" for outcome in outcomes)


@pytest.mark.thorough
def test_correct_simulation_passes_drawn_cases_and_laws(verdicts: Verdicts) -> None:
    (entry,) = (entry for entry in CORRECT if entry.name == "plain")
    with np.errstate(all="ignore"):
        report = Run(verdicts.judge(entry), "smoke", 0).report()
    assert report.passed, [failure.sentence for failure in report.failures]


@pytest.mark.parametrize("entry", wrong("small_transformers", BUGGY))
def test_wrong_simulation_fails(entry: Entry, verdicts: Verdicts) -> None:
    assert verdicts.failures(entry, 1), entry.why


@pytest.mark.parametrize("entry", named("small_transformers", SEMANTIC))
def test_the_diagnosis_names_a_bug_that_has_a_meaning(entry: Entry, verdicts: Verdicts) -> None:
    assert entry.diagnosis is not None
    told = verdicts.diagnosis(entry, _ENOUGH)
    assert (entry.diagnosis.lower() in told) is (entry.name not in UNNAMED), told


def test_a_call_of_more_tokens_than_the_oracle_takes_is_named_by_the_house(verdicts: Verdicts) -> None:
    (large,) = (entry for entry in BUGGY if entry.name == "everything")
    (failure,) = verdicts.failures(large, 1)
    assert "tokens, expected at most" in failure.outcome.sentence


def test_bank_is_large_and_its_names_are_unique() -> None:
    assert len(CORRECT) >= 6
    assert len(BUGGY) >= 18
    assert len(UNNAMED) <= 0.15 * len(SEMANTIC)
    for bank in (CORRECT, BUGGY):
        assert len({entry.name for entry in bank}) == len(bank)
