"""The judge is judged: every correct stack of the bank passes, every wrong one fails and is named.

Each correct stack is judged on a share of the cases in one of its classes, and some wrong ones are named; in CI all
are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
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
_SHARE = 8  # one of so many cases of a level is judged in every run
_PICKY_SHARE = 3  # where a stack declares most of them away
#: The wrong stacks with a meaning that are named in every run, of every part of a network some.
_NAMED = (
    *("skip-after-norm", "mlp-first", "mlp-twice", "cut-query", "fused-order", "scale-missing", "causal-strict"),
    *("epsilon-fixed", "norm-shared", "gain-first-layer", "gate-exchanged", "keys-un-normed"),
)
_CLASSES = ("float32", "bfloat16")  # by turns


def _rarely(seldom: bool, *values: Any, id: str) -> Any:
    return pytest.param(*values, id=id, marks=[pytest.mark.thorough] if seldom else [])


def _seldom(number: int, entry: Entry, name: str) -> bool:
    wanted = _CLASSES[number % len(_CLASSES)]
    return name != (wanted if wanted in entry.precisions else entry.precision)


_PAIRS = [
    _rarely(_seldom(number, entry, name), number, entry, name, id=f"{entry.name}-{name}")
    for number, entry in enumerate(CORRECT)
    for name in entry.precisions
]
_WITH_MEANING = [_rarely(entry.name not in _NAMED, entry, id=entry.name) for entry in SEMANTIC]


@pytest.mark.parametrize(("number", "entry", "name"), _PAIRS)
def test_correct_stack_passes_its_share_of_the_families(
    number: int, entry: Entry, name: str, verdicts: Verdicts, thorough: bool
) -> None:
    judge, level = verdicts.judge(entry, name), verdicts.level(name, "smoke")
    share = _PICKY_SHARE if entry.options else _SHARE
    chosen = level if thorough else level[number % share :: share]
    with np.errstate(all="ignore"):
        outcomes = [judge.outcome(case, huge_canaries=place % 2 == 1) for place, case in enumerate(chosen)]
    assert [outcome.sentence for outcome in outcomes if outcome.failed] == [], entry.why
    assert any(outcome.status == "passed" for outcome in outcomes)


@pytest.mark.parametrize("entry", CORRECT[:1], ids=lambda entry: entry.name)
def test_correct_stack_passes_drawn_cases_and_laws(entry: Entry, verdicts: Verdicts) -> None:
    with np.errstate(all="ignore"):
        report = Run(verdicts.judge(entry), "smoke", 0).report()
    assert report.passed, [failure.sentence for failure in report.failures]


@pytest.mark.parametrize("entry", BUGGY, ids=lambda entry: entry.name)
def test_wrong_stack_fails(entry: Entry, verdicts: Verdicts) -> None:
    assert verdicts.failures(entry, 1), entry.why


@pytest.mark.parametrize("entry", _WITH_MEANING)
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
