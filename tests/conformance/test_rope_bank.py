"""The judge is judged: every correct rotary kernel of the bank passes, every wrong one fails and is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from bank.chosen import named
from bank.rope import BUGGY, CORRECT

from assay.conformance.judge.level import Run

if TYPE_CHECKING:
    from bank.entry import Entry
    from bank.verdicts import Verdicts

SEMANTIC = [entry for entry in BUGGY if entry.diagnosis]
#: What the diagnosis of the first failures does not name: the frequencies of whatever call was the longest so far.
UNNAMED = {"dynamic-kept"}
_ENOUGH = 4  # failures that a diagnosis gets: each is compared with every meaning
#: Takes few of the cases of a family.
_PICKY = {"halves-alone"}
_PAIRS = [(entry, name) for entry in CORRECT for name in entry.precisions]


@pytest.mark.parametrize(("entry", "name"), _PAIRS, ids=[f"{entry.name}-{name}" for entry, name in _PAIRS])
def test_correct_kernel_passes_every_family(entry: Entry, name: str, verdicts: Verdicts, thorough: bool) -> None:
    judge, level = verdicts.judge(entry, name), verdicts.level(name, "smoke")
    if not thorough and entry.name not in _PICKY:
        level = list({case.family: case for case in level}.values())  # one of each
    with np.errstate(all="ignore"):
        outcomes = [judge.outcome(case, huge_canaries=place % 2 == 1) for place, case in enumerate(level)]
    assert [outcome.sentence for outcome in outcomes if outcome.failed] == [], entry.why
    assert sum(outcome.status == "passed" for outcome in outcomes) >= (40 if thorough or entry.name in _PICKY else 12)


@pytest.mark.parametrize("entry", CORRECT[:2], ids=lambda entry: entry.name)
def test_correct_kernel_passes_drawn_cases_and_laws(entry: Entry, verdicts: Verdicts) -> None:
    with np.errstate(all="ignore"):
        report = Run(verdicts.judge(entry), "smoke", 0).report()
    assert report.passed, [failure.sentence for failure in report.failures]


@pytest.mark.parametrize("entry", BUGGY, ids=lambda entry: entry.name)
def test_wrong_kernel_fails(entry: Entry, verdicts: Verdicts) -> None:
    assert verdicts.failures(entry, 1), entry.why


@pytest.mark.parametrize("entry", named("rope", SEMANTIC))
def test_the_diagnosis_names_a_bug_that_has_a_meaning(entry: Entry, verdicts: Verdicts) -> None:
    told = verdicts.diagnosis(entry, _ENOUGH)
    assert (entry.diagnosis.lower() in told) is (entry.name not in UNNAMED), told


def test_a_convention_that_is_not_declared_is_a_failure(verdicts: Verdicts) -> None:
    from dataclasses import replace

    declared = [entry for entry in CORRECT if set(entry.options) & {"rotation", "magnitude", "dynamic_length"}]
    assert len(declared) == 3
    for entry in declared:
        assert verdicts.failures(replace(entry, name=f"{entry.name}, not declared", options={}), 1), entry.name


def test_bank_is_large_and_its_names_are_unique() -> None:
    assert len(CORRECT) >= 12
    assert len(BUGGY) >= 45
    assert len(UNNAMED) <= 0.1 * len(SEMANTIC)
    for bank in (CORRECT, BUGGY):
        assert len({entry.name for entry in bank}) == len(bank)
