"""The judge is judged: every correct kernel of the bank passes, every wrong one fails and is named.

Each correct kernel is judged in one of its classes, and some wrong ones are named; in CI all are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from bank.chosen import named, pairs
from bank.chosen import outcomes as judged
from bank.document_similarity import BUGGY, CORRECT

from assay.conformance.judge.level import Run

if TYPE_CHECKING:
    from bank.entry import Entry
    from bank.verdicts import Verdicts

SEMANTIC = [entry for entry in BUGGY if entry.diagnosis]
_ENOUGH = 3  # failures that a diagnosis gets: each is compared with every meaning


@pytest.mark.parametrize(("number", "entry", "name"), pairs("document_similarity", CORRECT))
def test_correct_kernel_passes_every_family(number: int, entry: Entry, name: str, verdicts: Verdicts) -> None:
    outcomes = judged(verdicts, number, entry, name, whole=True)
    assert [outcome.sentence for outcome in outcomes if outcome.failed] == [], entry.why
    assert sum(outcome.status == "passed" for outcome in outcomes) >= 30


@pytest.mark.parametrize("entry", CORRECT[:1], ids=lambda entry: entry.name)
def test_correct_kernel_passes_drawn_cases_and_laws(entry: Entry, verdicts: Verdicts) -> None:
    with np.errstate(all="ignore"):
        report = Run(verdicts.judge(entry), "smoke", 0).report()
    assert report.passed, [failure.sentence for failure in report.failures]


@pytest.mark.parametrize("entry", BUGGY, ids=lambda entry: entry.name)
def test_wrong_kernel_fails(entry: Entry, verdicts: Verdicts) -> None:
    assert verdicts.failures(entry, 1), entry.why


@pytest.mark.parametrize("entry", named("document_similarity", SEMANTIC))
def test_the_diagnosis_names_a_bug_that_has_a_meaning(entry: Entry, verdicts: Verdicts) -> None:
    told = verdicts.diagnosis(entry, _ENOUGH)
    assert entry.diagnosis.lower() in told, told


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("equal-for-one", ("same",)),
        ("short-products", ("full-counts",)),
        ("huge-negative", ("opposite", "huge")),
        ("tiny-negative", ("opposite", "tiny")),
    ],
)
def test_one_kind_of_input_alone_shows_a_bug(name: str, words: tuple[str, ...], verdicts: Verdicts) -> None:
    entry = next(entry for entry in BUGGY if entry.name == name)
    failed = [failure.case.name for failure in verdicts.failures(entry, _ENOUGH)]
    assert failed
    assert all(word in case for word in words for case in failed), failed


def test_what_is_not_declared_is_a_failure(verdicts: Verdicts) -> None:
    """A cosine through 1 − distance and a pair within a factor are right only where they are declared."""
    declared = [entry for entry in CORRECT if set(entry.options) & {"through", "approximation"}]
    assert len(declared) == 3
    for entry in declared:
        plainly = replace(entry, name=f"{entry.name}, not declared", options={})
        assert verdicts.failures(plainly, 1), entry.name


def test_a_pair_that_is_declared_exact_is_held_to_the_integers(verdicts: Verdicts) -> None:
    """The plain kernel, whose pair may be wrong by roundings, is no exact one."""
    plain = next(entry for entry in CORRECT if entry.name == "plain")
    claims = replace(plain, name="plain, declared exact", options={"pair": "exact"}, precisions=("bfloat16",))
    assert verdicts.failures(claims, 1)


def test_bank_is_large_and_its_names_are_unique() -> None:
    assert len(CORRECT) >= 10
    assert len(BUGGY) >= 35
    assert len(SEMANTIC) >= 35
    for bank in (CORRECT, BUGGY):
        assert len({entry.name for entry in bank}) == len(bank)
