"""The judge is judged: every correct attention kernel of the bank passes, every wrong one fails and is named.

Each correct kernel is judged in one of its classes, and some wrong ones are named; in CI all are.
The whole table, which case kills which kernel, is printed by benchmarks/mutation.py.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from bank.attention.buggy import BUGGY
from bank.attention.correct import CORRECT
from bank.attention.killers import KILLERS
from bank.chosen import choice, named, pairs
from bank.chosen import outcomes as judged
from bank.verdicts import ENOUGH

from assay.conformance.interface.suite import suite
from assay.conformance.judge.level import Run

if TYPE_CHECKING:
    from bank.attention.engine import Buggy
    from bank.entry import Entry
    from bank.verdicts import Verdicts

FAMILIES = suite("attention").families
SEMANTIC = [entry for entry in BUGGY if entry.diagnosis]
#: Bugs with a meaning whose name the diagnosis does not tell, and bugs with a meaning that smoke's families let live.
UNNAMED = {"maximum-over-masked"}
ALIVE_AT_SMOKE = {"window-decode"}
#: Bugs of which the first few failures are of one kind only, where another meaning explains them as well.
MORE_FAILURES = {"empty-mean": 12}

_PAIRS = {f"{entry.name}-{name}": (entry, name) for entry in CORRECT for name in entry.precisions}
#: Takes few of the sizes of the level: a run puts its cases in these.
PICKY = {"aligned-only"}
#: Kernels in classes that have a run in the quick profile.
_RUN = {*list(_PAIRS)[::20], *(id for id, (entry, _) in _PAIRS.items() if entry.name in PICKY)}

each_wrong_kernel = pytest.mark.parametrize("entry", BUGGY, ids=lambda entry: entry.name)
each_semantic_bug = pytest.mark.parametrize("entry", SEMANTIC, ids=lambda entry: entry.name)
each_bug_that_may_be_named = pytest.mark.parametrize("entry", named("attention", SEMANTIC))


@pytest.mark.parametrize(("number", "entry", "name"), pairs("attention", CORRECT))
def test_correct_kernel_passes(number: int, entry: Entry, name: str, verdicts: Verdicts) -> None:
    outcomes, judge = judged(verdicts, number, entry, name, whole=True), verdicts.judge(entry, name)
    with np.errstate(all="ignore"):
        beside = enumerate(verdicts.beside_families(name))
        outcomes += [judge.outcome(case, huge_canaries=place % 2 == 1) for place, case in beside]
    assert [outcome.sentence for outcome in outcomes if outcome.failed] == [], entry.why
    assert entry.name in PICKY or sum(outcome.status == "passed" for outcome in outcomes) >= 60


@pytest.mark.parametrize(
    ("entry", "name"),
    [choice(id in _RUN, *pair, id=id) for id, pair in _PAIRS.items()],
)
def test_correct_kernel_passes_a_run_of_smoke(entry: Entry, name: str, verdicts: Verdicts) -> None:
    with np.errstate(all="ignore"):
        report = Run(verdicts.judge(entry, name), "smoke", 0).report()
    assert report.passed, (entry.why, [failure.sentence for failure in report.failures])


@each_wrong_kernel
def test_wrong_kernel_fails(entry: Buggy, verdicts: Verdicts) -> None:
    if not verdicts.failures(entry, 1):
        with np.errstate(all="ignore"):
            report = Run(verdicts.judge(entry), "standard", 0).report()  # perhaps a drawn case or a law finds it
        assert not report.passed, (entry.bug, report.worst_ratio)


@each_bug_that_may_be_named
def test_the_diagnosis_names_a_bug_that_has_a_meaning(entry: Buggy, verdicts: Verdicts) -> None:
    told = verdicts.diagnosis(entry, MORE_FAILURES.get(entry.name, ENOUGH))
    assert (entry.diagnosis in told) is (entry.name not in UNNAMED), told


@each_semantic_bug
def test_smoke_kills_a_bug_that_has_a_meaning_by_its_families_alone(entry: Buggy, verdicts: Verdicts) -> None:
    assert verdicts.fails_at_smoke(entry) is (entry.name not in ALIVE_AT_SMOKE)


def test_nine_of_ten_semantic_bugs_are_named_and_smoke_kills_nineteen_of_twenty() -> None:
    names = {entry.name for entry in SEMANTIC}
    assert names >= UNNAMED | ALIVE_AT_SMOKE
    assert len(names) >= 50
    assert len(UNNAMED) <= 0.1 * len(names)
    assert len(ALIVE_AT_SMOKE) <= 0.05 * len(names)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id)
def test_family_kills_a_buggy_kernel_at_standard(family: Any, verdicts: Verdicts) -> None:
    entry = next(entry for entry in BUGGY if entry.name == KILLERS[family.id])
    assert entry.precision == "float32"
    judge = verdicts.judge(entry)
    mine = [(place, case) for place, case in enumerate(verdicts.level("float32")) if case.family.id == family.id]
    with np.errstate(all="ignore"):
        assert any(judge.outcome(case, huge_canaries=place % 2 == 1).failed for place, case in mine), family.hunts


def test_every_family_has_a_kernel_that_it_is_there_for() -> None:
    assert list(KILLERS) == sorted(family.id for family in FAMILIES)


def test_bank_is_large_and_its_names_are_unique() -> None:
    assert len(CORRECT) >= 15
    assert len(BUGGY) >= 40
    claimed = Counter(entry.precision for entry in BUGGY)
    assert claimed["float32"] >= 45
    assert claimed["bfloat16"] + claimed["float16"] >= 12
    for bank in (CORRECT, BUGGY):
        names = [entry.name for entry in bank]
        assert len(set(names)) == len(names)
