"""Lost precision is told with its stage: the bank's wrong arithmetic is the data, its correct kernels the control."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bank.attention.buggy import BUGGY, Buggy
from bank.attention.correct import CORRECT, Entry

from assay.conformance.attention.stages import stages
from assay.conformance.diagnosis.precision import FORMATS, Loss, losses, sentences
from assay.conformance.interface.suite import Case, Family, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.cases import cases as cases_of
from assay.conformance.judge.judge import Judge
from assay.spec.precision import PRECISIONS, precision


@pytest.fixture(scope="module")
def references() -> dict[Any, Any]:
    """What is known already: shared by all kernels."""
    return {}


def judge(entry: Buggy | Entry, name: str, references: dict[Any, Any]) -> Judge:
    return Judge(kernel_of(entry.function, "attention"), precision(name), references=references)


@pytest.mark.parametrize("entry", CORRECT, ids=lambda entry: entry.name)
def test_no_stage_of_a_correct_kernel_loses_precision(entry: Entry, references: dict[Any, Any]) -> None:
    for name in entry.precisions:
        judging = judge(entry, name, references)
        for stage in stages(precision(name)):
            for probe in stage.probes[:: max(1, len(stage.probes) // 4)]:
                reference = judging.criteria(probe.instance)
                outcome = judging.outcome(Case(stage.id, Family(stage.id, "", ""), probe.instance), reference)
                assert not outcome.failed, (name, stage.id, outcome.sentence)


def test_the_stage_is_right_for_nine_of_ten_precision_bugs(references: dict[Any, Any]) -> None:
    wrong = []
    staged = [entry for entry in BUGGY if entry.stage is not None]
    for entry in staged:
        with np.errstate(all="ignore"):
            found = {loss.stage.id for loss in judge(entry, entry.precision, references).losses()}
        if entry.stage not in found or len(found) > 3:
            wrong.append(f"{entry.name}: expected {entry.stage}, found {sorted(found)}")
    assert len(staged) >= 40
    assert len(wrong) <= 0.1 * len(staged), wrong


def test_a_wrong_meaning_is_not_called_lost_precision(references: dict[Any, Any]) -> None:
    told = {}
    for entry in BUGGY:
        if entry.stage is None and "scale" not in entry.name:
            with np.errstate(all="ignore"):
                found = judge(entry, entry.precision, references).losses()
            if found:
                told[entry.name] = [loss.stage.id for loss in found]
    assert set(told) <= {"clipped-scores"}, told  # saturates scores beyond 80: large ones do lose their difference


def test_the_diagnosis_names_the_stage_and_the_bits_it_keeps(references: dict[Any, Any]) -> None:
    entry = next(entry for entry in BUGGY if entry.name == "bfloat16-weights")
    judging = judge(entry, "float32", references)
    failures = []
    for case in cases_of(judging.suite, judging.precision, "smoke", 0):
        outcome = judging.outcome(case)
        if outcome.failed and len(failures) < 4:
            failures.append((case.instance, outcome))
    assert judging.diagnosis(failures)[0] == (
        "lost precision in the probabilities, rounded before the product with the values: "
        "about 8 bits (bfloat16?) where 24 are promised"
    )


def _rounding(bits: int) -> Any:
    """Scores rounded to so many significant bits, in a kernel that is exact elsewhere."""

    def kernel(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        score = scale * (query.astype(float) @ np.swapaxes(key.astype(float), 2, 3))
        unit = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(score), 1e-30))) + 1 - bits)
        weight = np.exp((rounded := np.rint(score / unit) * unit) - rounded.max(axis=3, keepdims=True))
        return (weight @ value.astype(float) / weight.sum(axis=3, keepdims=True)).astype(query.dtype)

    return kernel


@pytest.mark.parametrize("bits", [8, 11, 14])
def test_the_bits_that_scores_keep_are_measured(bits: int, references: dict[Any, Any]) -> None:
    (loss,) = Judge(kernel_of(_rounding(bits), "attention"), precision("float32"), references=references).losses()
    assert loss.stage.id == "scores"
    assert abs(loss.bits - bits) <= 1.1


def test_a_kernel_whose_bits_change_from_call_to_call_is_not_told_a_stage(references: dict[Any, Any]) -> None:
    noise = np.random.default_rng(0)

    def noisy(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        output = _rounding(24)(query, key, value, scale=scale)
        return output * (1 + 1e-3 * noise.standard_normal(output.shape)).astype(query.dtype)

    assert Judge(kernel_of(noisy, "attention"), precision("float32"), references=references).losses() == []


@pytest.mark.parametrize("name", PRECISIONS)
def test_stages_are_named_once_and_explained_by_stages(name: str) -> None:
    found = suite("attention").stages(precision(name))
    names = [stage.id for stage in found]
    assert len(set(names)) == len(names)
    assert all(stage.probes for stage in found)
    assert {other for stage in found for other in stage.explained_by} <= set(names)


def test_the_format_that_is_guessed_has_fewer_bits_than_are_promised() -> None:
    output = next(stage for stage in stages(precision("bfloat16")) if stage.id == "output")
    assert sentences([Loss(output, 4.4)]) == [
        "lost precision in the output: about 4 bits (float8 e5m2?) where 8 are promised"
    ]
    assert sorted(FORMATS) == list(FORMATS)


def test_nothing_is_lost_where_no_probe_can_be_asked() -> None:
    assert losses(stages(precision("float32")), lambda instance: None) == []
