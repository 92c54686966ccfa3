"""The judge is judged: every correct stack of the bank passes, every wrong one fails and is named.

Each correct stack is judged on a share of the cases in one of its classes, and some wrong ones are named; in CI all
are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from bank.chosen import named, pairs, wrong
from bank.chosen import outcomes as judged
from bank.layer_collapse.buggy import BUGGY
from bank.layer_collapse.correct import CORRECT

from assay.conformance.judge.level import Run

if TYPE_CHECKING:
    from bank.entry import Entry
    from bank.verdicts import Verdicts

SEMANTIC = [entry for entry in BUGGY if entry.diagnosis]
#: What the diagnosis of the first failures does not name.
UNNAMED: set[str] = set()
_ENOUGH = 4  # failures that a diagnosis gets: each is compared with every meaning


@pytest.mark.parametrize(("number", "entry", "name"), pairs("layer_collapse", CORRECT))
def test_correct_stack_passes_its_share_of_the_families(
    number: int, entry: Entry, name: str, verdicts: Verdicts, thorough: bool
) -> None:
    outcomes = judged(verdicts, number, entry, name, whole=thorough)
    assert [outcome.sentence for outcome in outcomes if outcome.failed] == [], entry.why
    assert any(outcome.status == "passed" for outcome in outcomes)


@pytest.mark.parametrize("entry", CORRECT[:1], ids=lambda entry: entry.name)
def test_correct_stack_passes_drawn_cases_and_laws(entry: Entry, verdicts: Verdicts) -> None:
    with np.errstate(all="ignore"):
        report = Run(verdicts.judge(entry), "smoke", 0).report()
    assert report.passed, [failure.sentence for failure in report.failures]


@pytest.mark.parametrize("entry", wrong("layer_collapse", BUGGY))
def test_wrong_stack_fails(entry: Entry, verdicts: Verdicts) -> None:
    assert verdicts.failures(entry, 1), entry.why


@pytest.mark.parametrize("entry", named("layer_collapse", SEMANTIC))
def test_the_diagnosis_names_a_bug_that_has_a_meaning(entry: Entry, verdicts: Verdicts) -> None:
    assert entry.diagnosis is not None
    told = verdicts.diagnosis(entry, _ENOUGH)
    assert (entry.diagnosis.lower() in told) is (entry.name not in UNNAMED), told


def test_what_is_not_declared_is_a_failure(verdicts: Verdicts) -> None:
    """A stack that is causal alone is wrong where it does not say so."""
    (causal,) = (entry for entry in CORRECT if entry.name == "causal")
    always = replace(causal, name="causal always", function=_causal_always, options={})
    assert verdicts.failures(always, 1)
    declared = replace(always, name="causal always, declared", options=causal.options)
    assert not verdicts.failures(declared, 1)


def _causal_always(
    tokens: Any, query_weights: Any, key_weights: Any, value_weights: Any, *, scale: float, causal: bool = True
) -> Any:
    return CORRECT[0].function(tokens, query_weights, key_weights, value_weights, scale=scale, causal=True)


def test_bank_is_large_and_its_names_are_unique() -> None:
    assert len(CORRECT) >= 8
    assert len(BUGGY) >= 35
    assert len(UNNAMED) <= 0.1 * len(SEMANTIC)
    for bank in (CORRECT, BUGGY):
        assert len({entry.name for entry in bank}) == len(bank)
