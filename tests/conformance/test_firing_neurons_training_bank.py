"""The judge is judged: every correct training step passes, every wrong one fails and is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from bank.firing_neurons_training import BUGGY, CORRECT

from assay.conformance.interface.suite import suite
from assay.conformance.interface.targets import kernel_of, missing
from assay.conformance.judge.cases import cases
from assay.conformance.judge.judge import Judge

if TYPE_CHECKING:
    from bank.entry import Entry
    from bank.verdicts import Verdicts

SUITE = suite("firing_neurons_training")
SEMANTIC = [entry for entry in BUGGY if entry.diagnosis]
#: One of four is named in the usual run; in CI all are.
_WITH_MEANING = [
    pytest.param(entry, id=entry.name, marks=[pytest.mark.thorough] if number % 4 else [])
    for number, entry in enumerate(SEMANTIC)
]
_PAIRS = [(entry, name) for entry in CORRECT for name in entry.precisions]


@pytest.mark.parametrize(("entry", "name"), _PAIRS, ids=[f"{entry.name}-{name}" for entry, name in _PAIRS])
def test_correct_step_passes_every_family(entry: Entry, name: str, verdicts: Verdicts) -> None:
    judge = verdicts.judge(entry, name)
    with np.errstate(all="ignore"):
        outcomes = [judge.outcome(case) for case in verdicts.level(name, "smoke")]
    assert [outcome.sentence for outcome in outcomes if outcome.failed] == [], entry.why
    assert sum(outcome.status == "passed" for outcome in outcomes) >= 15


@pytest.mark.parametrize("entry", BUGGY, ids=lambda entry: entry.name)
def test_wrong_step_fails(entry: Entry, verdicts: Verdicts) -> None:
    assert verdicts.failures(entry, 3), entry.why


@pytest.mark.parametrize("entry", _WITH_MEANING)
def test_the_diagnosis_names_a_bug_that_has_a_meaning(entry: Entry, verdicts: Verdicts) -> None:
    told = verdicts.diagnosis(entry, 3)
    assert entry.diagnosis is not None
    assert entry.diagnosis.lower() in told, told


def test_a_gradient_for_either_decision_on_an_undecided_pair_is_right_and_no_other_is() -> None:
    """One pair of a neuron is decided and another is not: what is wrong of the decided one is not excused."""
    spec = SUITE.spec
    data = np.array([[0.1, 0.1, 0.1], [1.0, 2.0, 4.0]], np.float32)
    weights, ones = np.array([[0.1, 0.1, 0.1]], np.float32), np.ones((2, 1), np.float32)
    threshold = float(np.float32(0.1)) ** 2 * 3
    instance = spec.Instance(data, ones, weights, ones[:1], threshold=threshold, rate=0.5)
    held_to = spec.criteria(instance, "float32")["gradient"]
    slope = (data.astype(float) @ weights[0].astype(float) - threshold).clip(0) - 1
    decided, undecided = slope[1] * data[1].astype(float), slope[0] * data[0].astype(float)
    assert (held_to.ratio(decided[None]) <= 1).all()
    assert (held_to.ratio((decided + undecided)[None]) <= 1).all()
    assert (held_to.ratio(undecided[None]) > 1).any()
    assert (held_to.ratio((decided + 0.5 * undecided)[None]) > 1).any()


@pytest.mark.parametrize("name", list(SUITE.targets))
def test_a_built_in_step_passes(name: str) -> None:
    if absent := missing(SUITE.targets[name]):
        pytest.skip(f"{', '.join(absent)} not installed")
    judge = Judge(kernel_of(name, "firing_neurons_training"), SUITE.spec.PRECISIONS["float32"])
    outcomes = [judge.outcome(case) for case in cases(SUITE, judge.precision, "smoke", 0)]
    assert [outcome.sentence for outcome in outcomes if outcome.failed] == []


def test_a_step_without_a_loss_is_not_asked_for_the_cross_entropy() -> None:
    kernel = kernel_of(CORRECT[-1].function)
    assert kernel.problem == "firing_neurons_training"
    assert SUITE.interface.has(kernel) >= {"several_outputs"}
    assert "cross_entropy" not in SUITE.interface.has(kernel)


def test_the_banks_have_unique_names() -> None:
    for bank in (CORRECT, BUGGY):
        assert len({entry.name for entry in bank}) == len(bank)
    assert len(BUGGY) >= 20
