"""The judge is judged: every correct backward pass of the bank passes, every wrong one fails and is named.

Each correct kernel is judged on a share of the cases in each of its classes, and each fifth wrong one is named; the
whole is benchmarks/attention_gradient_bank.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from bank.attention_gradient.buggy import BUGGY, Buggy
from bank.attention_gradient.correct import CORRECT, Entry

from assay.conformance.diagnosis.evidence import Judged

if TYPE_CHECKING:
    from bank.verdicts import Verdicts

SEMANTIC = [entry for entry in BUGGY if entry.diagnosis]
#: What the diagnosis of the first failures does not name.
UNNAMED: set[str] = set()
_ENOUGH = 3  # failures that a diagnosis gets: each is compared with every meaning
_SHARE = 5  # of the cases, and of the wrong kernels that are named
_PAIRS = [(number, entry, name) for number, entry in enumerate(CORRECT) for name in entry.precisions]
_SOME = [entry for entry in SEMANTIC[::_SHARE] if entry.name not in UNNAMED]


@pytest.mark.claim("BWD-0")
@pytest.mark.claim("BWD-5")
@pytest.mark.parametrize(("number", "entry", "name"), _PAIRS, ids=[f"{entry.name}-{name}" for _, entry, name in _PAIRS])
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


@pytest.mark.parametrize("entry", _SOME, ids=lambda entry: entry.name)
def test_the_diagnosis_names_a_bug_that_has_a_meaning(entry: Buggy, verdicts: Verdicts) -> None:
    assert entry.diagnosis is not None
    failures = [Judged(failure.case, failure.outcome) for failure in verdicts.failures(entry, _ENOUGH)]
    with np.errstate(all="ignore"):
        told = " ".join(verdicts.judge(entry).diagnosis(failures).sentences).lower()
    assert entry.diagnosis.lower() in told, told


def test_bank_is_large_and_its_names_are_unique() -> None:
    assert len(CORRECT) >= 16
    assert len(BUGGY) >= 60
    assert {entry.name for entry in SEMANTIC} >= UNNAMED
    assert len(UNNAMED) <= 0.1 * len(SEMANTIC)
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
