"""The judge is judged: every correct kernel with relative positions passes, every wrong one fails and is named.

Each correct kernel is judged on a share of the cases in one of its classes, and some wrong ones are named; in CI all
are, but for two thirds of those that are wrong in few calls only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from bank.chosen import named, pairs, wrong
from bank.chosen import outcomes as judged
from bank.rope_attention.buggy import BUGGY
from bank.rope_attention.correct import CORRECT
from bank.rope_attention.narrow import NARROW

from assay.conformance.judge.level import Run

if TYPE_CHECKING:
    from bank.entry import Entry
    from bank.verdicts import Verdicts

#: Of the kernels that are wrong in few calls, a third is run here; ``benchmarks/bank_of.py rope_attention`` runs all.
FEW = NARROW[1::3]
SEMANTIC, SEMANTIC_NARROW = ([entry for entry in bank if entry.diagnosis] for bank in (BUGGY, FEW))
#: What the diagnosis of the first failures does not name.
UNNAMED: set[str] = set()
_ENOUGH = 4  # failures that a diagnosis gets: each is compared with every meaning


@pytest.mark.parametrize(("number", "entry", "name"), pairs("rope_attention", CORRECT))
def test_correct_kernel_passes_its_share_of_the_families(
    number: int, entry: Entry, name: str, verdicts: Verdicts, thorough: bool
) -> None:
    outcomes = judged(verdicts, number, entry, name, whole=thorough)
    assert [outcome.sentence for outcome in outcomes if outcome.failed] == [], entry.why
    assert any(outcome.status == "passed" for outcome in outcomes)


@pytest.mark.parametrize("name", ["plain", "general"])
def test_correct_kernel_passes_drawn_cases_and_laws(name: str, verdicts: Verdicts) -> None:
    (entry,) = (entry for entry in CORRECT if entry.name == name)
    with np.errstate(all="ignore"):
        report = Run(verdicts.judge(entry), "smoke", 0).report()
    assert report.passed, [failure.sentence for failure in report.failures]


@pytest.mark.parametrize("entry", [*wrong("rope_attention", BUGGY), *wrong("rope_attention, narrow", FEW)])
def test_wrong_kernel_fails(entry: Entry, verdicts: Verdicts) -> None:
    assert verdicts.failures(entry, 1), entry.why


@pytest.mark.parametrize(
    "entry", [*named("rope_attention", SEMANTIC), *named("rope_attention, narrow", SEMANTIC_NARROW)]
)
def test_the_diagnosis_names_a_bug_that_has_a_meaning(entry: Entry, verdicts: Verdicts) -> None:
    assert entry.diagnosis is not None
    told = verdicts.diagnosis(entry, _ENOUGH)
    assert (entry.diagnosis.lower() in told) is (entry.name not in UNNAMED), told


def test_a_convention_that_is_not_declared_is_a_failure(verdicts: Verdicts) -> None:
    (separate,) = (entry for entry in CORRECT if entry.name == "separate")
    undeclared = replace(separate, name="separate, not declared", options={})
    assert verdicts.failures(undeclared, 1)


def test_bank_is_large_and_its_names_are_unique() -> None:
    assert len(CORRECT) >= 12
    assert len(BUGGY) >= 45
    assert len(NARROW) >= 50
    assert len(UNNAMED) <= 0.1 * len([*SEMANTIC, *SEMANTIC_NARROW])
    for bank in (CORRECT, (*BUGGY, *NARROW)):
        assert len({entry.name for entry in bank}) == len(bank)
