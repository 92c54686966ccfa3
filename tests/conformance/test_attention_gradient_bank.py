"""The judge is judged: every correct backward pass of the bank passes, every wrong one fails and is named.

Each correct kernel is judged on a share of the cases, in some of its classes, and some wrong ones are named; in CI all
are.  Every case is judged by benchmarks/attention_gradient_bank.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from bank.attention_gradient.buggy import BUGGY, Buggy
from bank.attention_gradient.correct import CORRECT
from bank.chosen import CHOICES, named, pairs, wrong
from bank.chosen import outcomes as judged

if TYPE_CHECKING:
    from bank.entry import Entry
    from bank.verdicts import Verdicts

SEMANTIC = [entry for entry in BUGGY if entry.diagnosis]
_ENOUGH = 4  # failures that a diagnosis gets: each is compared with every meaning


@pytest.mark.claim("BWD-0")
@pytest.mark.claim("BWD-5")
@pytest.mark.parametrize(("number", "entry", "name"), pairs("attention_gradient", CORRECT))
def test_correct_kernel_passes_its_share_of_the_families(
    number: int, entry: Entry, name: str, verdicts: Verdicts
) -> None:
    outcomes = judged(verdicts, number, entry, name, whole=False)
    assert [outcome.sentence for outcome in outcomes if outcome.failed] == [], entry.why
    assert sum(outcome.status == "passed" for outcome in outcomes) >= 8


@pytest.mark.parametrize("entry", wrong("attention_gradient", BUGGY))
def test_wrong_kernel_fails(entry: Buggy, verdicts: Verdicts) -> None:
    assert verdicts.failures(entry, 1), entry.bug


@pytest.mark.parametrize("entry", named("attention_gradient", SEMANTIC))
def test_the_diagnosis_names_a_bug_that_has_a_meaning(entry: Buggy, verdicts: Verdicts) -> None:
    assert entry.diagnosis is not None
    told = verdicts.diagnosis(entry, _ENOUGH)
    assert entry.diagnosis in told, told


def test_bank_is_large_and_its_names_are_unique() -> None:
    assert len(CORRECT) >= 16
    assert len(BUGGY) >= 60
    assert len(SEMANTIC) >= 60
    for bank in (CORRECT, BUGGY):
        assert len({entry.name for entry in bank}) == len(bank)


@pytest.mark.claim("BWD-5")
@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32"])
def test_a_kernel_that_declares_to_use_what_it_is_handed_is_held_to_that(name: str, verdicts: Verdicts) -> None:
    cases = verdicts.level(name, "smoke")[:: CHOICES["attention_gradient"].share]
    for entry in CORRECT[:2]:
        judge = verdicts.judge(replace(entry, options={"handed": "used"}), name)
        with np.errstate(all="ignore"):
            outcomes = [judge.outcome(case) for case in cases]
        assert [outcome.sentence for outcome in outcomes if outcome.failed] == [], entry.name


def test_a_correct_kernel_judged_in_a_tighter_class_is_found(verdicts: Verdicts) -> None:
    eager = next(entry for entry in CORRECT if entry.name == "eager")
    assert verdicts.failures(replace(eager, name="eager as bfloat16", precisions=("bfloat16",)), 1)
