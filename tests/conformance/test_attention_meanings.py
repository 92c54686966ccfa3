"""Wrong meanings: every one is exposed by a case of `standard`, and an output that has it is called by its name."""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import Any

import numpy as np
import pytest
from bank.chosen import choice

from assay.conformance.attention.meanings import MEANINGS
from assay.conformance.attention.options import build, parse_shape
from assay.conformance.call.outcome import Outcome
from assay.conformance.diagnosis.diagnosis import diagnosed
from assay.conformance.diagnosis.evidence import Evidence, Judged
from assay.conformance.diagnosis.meanings import Meaning, explaining
from assay.conformance.interface.suite import Case, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.cases import cases as cases_of
from assay.conformance.judge.judge import Judge
from assay.impl import cpu
from assay.spec.precision import precision

FLOAT32 = precision("float32")


@functools.cache
def judge() -> Judge:
    return Judge(kernel_of(cpu.attention.exact, "attention"), FLOAT32, references={})  # shared by all wrong meanings


@functools.cache
def cases() -> list[Case]:
    """Without combinations: what is exposed in them alone is hardly seen where a kernel lacks an option."""
    table = dataclasses.replace(suite("attention"), covering=None)
    every = [*cases_of(table, FLOAT32, "standard", 0), *map(made, range(len(MADE)))]
    return sorted(every, key=lambda case: case.instance.size())


#: What no row of the table has: masks and biases of one batch or query for all, a small cap, a long row under a window.
MADE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("2x2:5x9:8/4", {"mask": np.arange(9) % 3 < 2}),
    ("2x2:5x9:8/4", {"mask": np.arange(45).reshape(1, 1, 5, 9) % 4 < 2}),
    ("2x2:5x9:8/4", {"bias": np.linspace(-1, 1, 9, dtype=np.float32)}),
    ("2x2:5x9:8/4", {"bias": np.linspace(-1, 1, 45, dtype=np.float32).reshape(1, 1, 5, 9)}),
    ("1x2:7x7:8/4", {"softcap": 1.5, "causal": "top-left"}),
    ("1x1:600x600:4/2", {}),
)


def made(number: int) -> Case:
    size, changes = MADE[number]
    instance = build("made", "normal", parse_shape(size), (), number, FLOAT32)
    return Case(f"made {number}", suite("attention").families[0], instance.replace(**changes))


def wrong_outcome(meaning: Meaning, instance: Any) -> Outcome | None:
    """What a kernel of this meaning answers in every output, where that is a failure."""
    wrong = meaning.criteria(instance, judge().criteria)
    if wrong is None:
        return None
    right = judge().criteria(instance)
    values = {name: criterion.value.midpoint for name, criterion in {**right, **wrong}.items()}
    for name, criterion in right.items():
        if values[name].shape == criterion.value.shape and (criterion.ratio(values[name]) > 1).any():
            return Outcome("failed", 2.0, "error", output=name, values=values)
    return None


# the profile of CI looks at all; the widest windows, which only the longest rows show, are not among these
@pytest.mark.parametrize("meaning", [choice(at % 3 == 0, one, id=one.id) for at, one in enumerate(MEANINGS)])
def test_every_wrong_meaning_is_exposed_and_called_by_its_name(meaning: Meaning) -> None:
    exposed = []
    for case in cases():
        outcome = wrong_outcome(meaning, case.instance)
        if outcome is not None:
            exposed.append(Judged(case, outcome))
        if len(exposed) == 3:
            break
    assert exposed, "no case of standard exposes it"
    assert meaning in explaining(MEANINGS, exposed, judge().criteria_if_known, time.monotonic() + 60.0)[0]


def test_identifiers_and_sentences_are_unique() -> None:
    assert len({meaning.id for meaning in MEANINGS}) == len(MEANINGS)
    assert len({meaning.sentence for meaning in MEANINGS}) == len(MEANINGS)


def noise() -> Evidence:
    """One failure whose output is the right one and noise."""
    case = cases()[40]
    value = judge().criteria(case.instance)["output"].value.midpoint + np.random.default_rng(0).standard_normal(())
    outcome = Outcome(
        "failed",
        9.0,
        "error",
        output="output",
        index=(0, 0, 0, 0),
        got=0.0,
        interval=(1.0, 1.0),
        values={"output": value},
    )
    return Evidence([Judged(case, outcome)], (), lambda instance, _: judge().criteria(instance), lambda _: {})


def test_noise_is_no_known_meaning() -> None:
    assert diagnosed(noise(), judge().suite).sentences == ["no known wrong semantics matches"]


def test_a_failure_that_there_was_no_time_to_compare_is_not_said_to_match_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("assay.conformance.diagnosis.diagnosis._MEANING_SECONDS", -1.0)
    (sentence,) = diagnosed(noise(), judge().suite).sentences
    assert sentence.startswith("there was no time to compare the failures with every known wrong semantics")
