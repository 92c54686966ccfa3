"""The judge is judged: every correct structure passes, every wrong one fails and is named.

Each correct structure is judged on a share of the cases in one of its classes, and some wrong ones are named; in CI all
are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from bank.firing_neurons import BUGGY, CORRECT

from assay.conformance.interface.suite import suite
from assay.conformance.judge.level import Run
from assay.conformance.judge.shrink import shrunk

if TYPE_CHECKING:
    from bank.entry import Entry
    from bank.verdicts import Verdicts

SEMANTIC = [entry for entry in BUGGY if entry.diagnosis]
SUITE = suite("firing_neurons")
_ENOUGH = 4  # failures that a diagnosis gets: each is compared with every meaning
_SHARE = 6  # of the cases of a level
_NAMED = 10  # of the wrong structures with a meaning one is named


def _rarely(seldom: bool, *values: Any, id: str) -> Any:
    return pytest.param(*values, id=id, marks=[pytest.mark.thorough] if seldom else [])


_PAIRS = [
    _rarely(name != entry.precisions[number % len(entry.precisions)], number, entry, name, id=f"{entry.name}-{name}")
    for number, entry in enumerate(CORRECT)
    for name in entry.precisions
]
_WITH_MEANING = [_rarely(number % _NAMED != 3, entry, id=entry.name) for number, entry in enumerate(SEMANTIC)]


@pytest.mark.parametrize(("number", "entry", "name"), _PAIRS)
def test_correct_structure_passes_its_share_of_the_families(
    number: int, entry: Entry, name: str, verdicts: Verdicts, thorough: bool
) -> None:
    judge, level = verdicts.judge(entry, name), verdicts.level(name, "standard" if thorough else "smoke")
    chosen = level if thorough else level[number % _SHARE :: _SHARE]
    with np.errstate(all="ignore"):
        outcomes = [judge.outcome(case, huge_canaries=place % 2 == 1) for place, case in enumerate(chosen)]
    assert [outcome.sentence for outcome in outcomes if outcome.failed] == [], entry.why
    assert sum(outcome.status == "passed" for outcome in outcomes) >= len(chosen) // 2


@pytest.mark.thorough
@pytest.mark.parametrize("entry", CORRECT[:1], ids=lambda entry: entry.name)
def test_correct_structure_passes_drawn_cases_and_laws(entry: Entry, verdicts: Verdicts) -> None:
    with np.errstate(all="ignore"):
        report = Run(verdicts.judge(entry), "smoke", 0).report()
    assert report.passed, [failure.sentence for failure in report.failures]


@pytest.mark.parametrize("entry", BUGGY, ids=lambda entry: entry.name)
def test_wrong_structure_fails(entry: Entry, verdicts: Verdicts) -> None:
    assert verdicts.failures(entry, 1), entry.why


@pytest.mark.parametrize("entry", _WITH_MEANING)
def test_the_diagnosis_names_a_bug_that_has_a_meaning(entry: Entry, verdicts: Verdicts) -> None:
    told = verdicts.diagnosis(entry, _ENOUGH)
    assert entry.diagnosis is not None
    assert entry.diagnosis.lower() in told, told


def _smallest(entry: Entry, verdicts: Verdicts) -> Any:
    """The first failure of a structure, shrunk: (instance, outcome)."""
    judge, failure = verdicts.judge(entry), verdicts.failures(entry, 1)[0]

    def attempt(instance: Any) -> Any:
        return judge.outcome(type(failure.case)("shrunk", failure.case.family, instance, failure.case.layout))

    with np.errstate(all="ignore"):
        return shrunk(failure.case.instance, failure.outcome, attempt, 60.0)


def _named(name: str) -> Entry:
    return next(entry for entry in BUGGY if entry.name == name)


def test_a_lost_update_shrinks_to_one_neuron_one_point_and_two_operations(verdicts: Verdicts) -> None:
    instance, outcome = _smallest(_named("lost"), verdicts)
    assert outcome.failed
    assert instance.lengths() == {"points": 1, "dim": 1, "neurons": 1, "steps": 2}
    assert instance.calls()[0].method == "update"


@pytest.mark.parametrize(
    ("name", "neurons", "calls"),
    [
        ("everything", 1, ["data_of"]),
        ("two-copies", 1, ["update", "fired"]),  # the weights at first are the other copy
        ("next-neuron", 2, ["update", "fired"]),
        ("last-of-batch", 2, ["update", "fired"]),
        ("sticky-threshold", 1, ["data_of", "fired"]),
        ("stale-data", 1, ["update", "data_of"]),
        ("not-pushed-back", 1, ["fired", "fired"]),
        ("one-late", 1, ["update", "fired"]),
    ],
)
def test_a_wrong_structure_is_shown_by_a_script_of_few_operations(
    name: str, neurons: int, calls: list[str], verdicts: Verdicts
) -> None:
    instance, _ = _smallest(_named(name), verdicts)
    assert (instance.lengths()["points"], instance.lengths()["neurons"]) == (1, neurons)
    assert [call.method for call in instance.calls()] == calls


@pytest.mark.thorough
@pytest.mark.parametrize("entry", BUGGY, ids=lambda entry: entry.name)
def test_every_wrong_structure_has_a_small_script(entry: Entry, verdicts: Verdicts) -> None:
    if verdicts.failures(entry, 1)[0].case.beside:
        pytest.skip("it takes other threads, which a smaller instance is not given")
    instance, outcome = _smallest(entry, verdicts)
    assert outcome.failed
    assert instance.lengths()["steps"] <= 12, instance.describe()


def test_the_banks_are_large_and_their_names_are_unique() -> None:
    assert len(CORRECT) >= 12
    assert len(BUGGY) >= 45
    assert len(SEMANTIC) >= 45
    for bank in (CORRECT, BUGGY):
        assert len({entry.name for entry in bank}) == len(bank)
