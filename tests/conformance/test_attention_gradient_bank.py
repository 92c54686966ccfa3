"""The judge is judged: every correct backward pass of the bank passes, every wrong one fails and is named.

Each correct kernel is judged on a share of the cases, in some of its classes, and some wrong ones are named; in CI all
are.  Every case is judged by benchmarks/attention_gradient_bank.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from bank.attention_gradient.buggy import BUGGY, Buggy
from bank.attention_gradient.correct import CORRECT

if TYPE_CHECKING:
    from bank.entry import Entry
    from bank.verdicts import Verdicts

SEMANTIC = [entry for entry in BUGGY if entry.diagnosis]
_ENOUGH = 4  # failures that a diagnosis gets: each is compared with every meaning
_SHARE = 8  # of the cases of a level
_NAMED = 20  # of the wrong kernels with a meaning one is named


def _rarely(seldom: bool, *values: Any, id: str) -> Any:
    return pytest.param(*values, id=id, marks=[pytest.mark.thorough] if seldom else [])


_CLASSES = ("float32", "bfloat16", "float16")  # by turns; one kernel in a class makes the references of all


def _seldom(number: int, entry: Entry, name: str) -> bool:
    usual = [one for one in _CLASSES if one in entry.precisions] or list(entry.precisions)
    return name != usual[number % len(usual)]


_PAIRS = [
    _rarely(_seldom(number, entry, name), number, entry, name, id=f"{entry.name}-{name}")
    for number, entry in enumerate(CORRECT)
    for name in entry.precisions
]
_WITH_MEANING = [_rarely(number % _NAMED > 0, entry, id=entry.name) for number, entry in enumerate(SEMANTIC)]


@pytest.mark.claim("BWD-0")
@pytest.mark.claim("BWD-5")
@pytest.mark.parametrize(("number", "entry", "name"), _PAIRS)
def test_correct_kernel_passes_its_share_of_the_families(
    number: int, entry: Entry, name: str, verdicts: Verdicts
) -> None:
    judge, level = verdicts.judge(entry, name), verdicts.level(name, "smoke")
    with np.errstate(all="ignore"):
        outcomes = [judge.outcome(case, huge_canaries=number % 2 == 1) for case in level[number % _SHARE :: _SHARE]]
    assert [outcome.sentence for outcome in outcomes if outcome.failed] == [], entry.why
    assert sum(outcome.status == "passed" for outcome in outcomes) >= 8


@pytest.mark.parametrize("entry", BUGGY, ids=lambda entry: entry.name)
def test_wrong_kernel_fails(entry: Buggy, verdicts: Verdicts) -> None:
    assert verdicts.failures(entry, 1), entry.bug


@pytest.mark.parametrize("entry", _WITH_MEANING)
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
    for entry in CORRECT[:2]:
        judge = verdicts.judge(replace(entry, options={"handed": "used"}), name)
        with np.errstate(all="ignore"):
            outcomes = [judge.outcome(case) for case in verdicts.level(name, "smoke")[::_SHARE]]
        assert [outcome.sentence for outcome in outcomes if outcome.failed] == [], entry.name


def test_a_correct_kernel_judged_in_a_tighter_class_is_found(verdicts: Verdicts) -> None:
    eager = next(entry for entry in CORRECT if entry.name == "eager")
    assert verdicts.failures(replace(eager, name="eager as bfloat16", precisions=("bfloat16",)), 1)
