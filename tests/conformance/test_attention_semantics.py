"""Wrong semantics: every one is exposed by a case of `standard`, and an output that has it is called by its name."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from assay.conformance.attention.meanings import SEMANTICS
from assay.conformance.call.call import Outcome
from assay.conformance.diagnosis.meanings import diagnose
from assay.conformance.interface.suite import Case, suite
from assay.conformance.interface.targets import wrap
from assay.conformance.judge.judge import Judge
from assay.impl import cpu
from assay.spec.precision import precision

FLOAT32 = precision("float32")


@functools.cache
def judge() -> Judge:
    return Judge(wrap(cpu.attention.exact), "attention", FLOAT32, references={})  # shared by all wrong semantics


@functools.cache
def cases() -> list[Case]:
    return sorted(
        suite("attention").cases(FLOAT32, "standard", 0), key=lambda case: suite("attention").size(case.instance)
    )


def wrong_outcome(semantics: Any, instance: Any) -> Outcome | None:
    """What a kernel with these semantics answers, where that is a failure."""
    other = semantics.applies(instance)
    if other is None:
        return None
    reference, answer = judge().reference(instance), judge().reference(other)
    for name, (enclosure, tolerance) in reference.items():
        value = answer[name][0].midpoint
        value = value if semantics.post is None else semantics.post(instance, value)
        if value.shape == enclosure.shape and (enclosure.ratio(value, tolerance) > 1).any():
            return Outcome("failed", 2.0, "error", output=name, values={name: value})
    return None


@pytest.mark.parametrize("semantics", SEMANTICS, ids=lambda semantics: semantics.id)
def test_every_wrong_semantics_is_exposed_and_called_by_its_name(semantics: Any) -> None:
    exposed = []
    for case in cases():
        outcome = wrong_outcome(semantics, case.instance)
        if outcome is not None:
            exposed.append((case.instance, outcome))
        if len(exposed) == 3:
            break
    assert exposed, "no case of standard exposes it"
    assert semantics.sentence in diagnose(exposed, judge().known_reference, suite("attention"), FLOAT32)


def test_identifiers_and_sentences_are_unique() -> None:
    assert len({semantics.id for semantics in SEMANTICS}) == len(SEMANTICS)
    assert len({semantics.sentence for semantics in SEMANTICS}) == len(SEMANTICS)


def test_noise_is_no_known_semantics() -> None:
    instance = cases()[40].instance
    value = judge().reference(instance)["output"][0].midpoint + np.random.default_rng(0).standard_normal(())
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
    assert diagnose([(instance, outcome)], judge().known_reference, suite("attention"), FLOAT32) == [
        "no known wrong semantics matches"
    ]
