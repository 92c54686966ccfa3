"""What a failure is told as: on beginners' mistakes that no meaning names, and on a problem that is not attention."""

from __future__ import annotations

import dataclasses
import functools
import time
import types
from typing import Any

import numpy as np
import pytest
from bank.attention.beginners import BEGINNERS, Beginner
from bank.chosen import one_of, some

from assay.conformance.attention.target_numpy import formula
from assay.conformance.call.outcome import Outcome
from assay.conformance.diagnosis import meanings, variations
from assay.conformance.diagnosis.diagnosis import MOST, Diagnosis, diagnosed
from assay.conformance.diagnosis.evidence import Evidence, Judged
from assay.conformance.diagnosis.features import conditions
from assay.conformance.diagnosis.meanings import Both, Meaning, explains, solves
from assay.conformance.diagnosis.when import separating
from assay.conformance.interface.steps import outputs_of
from assay.conformance.interface.suite import Case, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.cases import cases as cases_of
from assay.conformance.judge.judge import Judge
from assay.impl import cpu
from assay.spec.attention import Instance
from assay.spec.criterion import Criterion, close
from assay.spec.enclosure import Enclosure
from assay.spec.precision import precision

FLOAT32 = precision("float32")


@functools.cache
def cases(level: str, family: str = "") -> list[Case]:
    """Those of a level, or those of one family of the table in it."""
    whole = suite("attention")
    if not family:
        return list(cases_of(whole, FLOAT32, level, 0))
    table = tuple(entry for entry in whole.table if entry[0].id == family)
    return list(cases_of(dataclasses.replace(whole, table=table, covering=None), FLOAT32, level, 0))


def diagnosis(function: Any, family: str = "") -> Diagnosis:
    """What is told of a kernel by the named cases of smoke and by more of a family: a dozen failures, all passes."""
    judge = Judge(kernel_of(function, "attention"), FLOAT32, diagnosing=3.0)
    failures: list[Judged] = []
    passes = []
    with np.errstate(all="ignore"):
        for number, case in enumerate(cases("smoke") + (cases("standard", family) if family else [])):
            if len(failures) == 7:
                break
            outcome = judge.outcome(case, huge_canaries=number % 2 == 1)
            if outcome.failed:
                failures.append(Judged(case, outcome))
            elif outcome.status == "passed":
                passes.append(case)
        assert failures
        return judge.diagnosis(failures, passes)


@pytest.mark.parametrize("entry", some(BEGINNERS, one_of(4, 1)))
def test_a_beginners_mistake_is_told(entry: Beginner) -> None:
    sentences = diagnosis(entry.function, entry.family).sentences
    assert any(words in sentence for words in entry.words for sentence in sentences), (entry.bug, sentences)
    assert len(sentences) <= MOST


# --- meanings ---------------------------------------------------------------------------------------------------------


def drawn(n_q: int = 5, n_k: int = 7, **options: Any) -> Instance:
    rng = np.random.default_rng(3)
    q, k, v = (rng.standard_normal((2, 3, n, d)).astype(np.float32) for n, d in ((n_q, 4), (n_k, 4), (n_k, 3)))
    return Instance(q, k, v, **options)


def failure(instance: Instance, output: np.ndarray[Any, Any]) -> Judged:
    case = dataclasses.replace(cases("smoke")[0], instance=instance)
    return Judged(case, Outcome("failed", 9.0, "error", output="output", values={"output": output}))


def right(instance: Instance) -> Any:
    return suite("attention").criteria(instance, kernel_of(cpu.attention.exact, "attention"), FLOAT32)


def test_a_meaning_that_hardly_changes_the_answer_explains_nothing() -> None:
    instance = drawn()
    criterion = right(instance)["output"]
    off = criterion.value.midpoint + 1.5 * criterion.allowed
    larger = solves(lambda i: i.replace(scale=i.scale * (1 + 1e-12)))
    hardly = Meaning("hardly", "a scale that is larger by 1e-12", larger)
    wide = dataclasses.replace(criterion, allowed=3 * criterion.allowed)
    loose = Meaning("loose", "anything near", lambda i, _: {"output": wide})
    for meaning in (hardly, loose):
        assert not explains(meaning, failure(instance, off), right)


def evidence(failures: list[Judged]) -> Evidence:
    kernel = kernel_of(cpu.attention.exact, "attention")
    script = suite("attention").interface.script
    names = {output.name: output for output in outputs_of(script(failures[0].instance, kernel, FLOAT32))}
    return Evidence(failures, [], lambda i, c: right(i) if c is None else None, lambda _: names)


@pytest.mark.parametrize(("until", "told"), [(7, True), (3, False)])
def test_a_meaning_is_told_with_the_number_of_failures_that_there_was_time_to_compare(
    monkeypatch: pytest.MonkeyPatch, until: int, told: bool
) -> None:
    instances = [drawn(n, 7, is_causal=True, scale=1.0) for n in range(5, 14)]
    failures = [failure(one, right(one.replace(causal=None))["output"].value.midpoint) for one in instances]
    late: list[bool] = []

    def known(instance: Instance, _: Any) -> Any:
        if instance.query.shape[2] >= 4 + until:
            late.append(True)  # the certified value of a large instance takes all the time there is
        return right(instance)

    some = dataclasses.replace(evidence(failures), right=known)
    clock = types.SimpleNamespace(monotonic=lambda: np.inf if late else time.monotonic())
    monkeypatch.setattr(meanings, "time", clock)
    sentences = diagnosed(some, suite("attention")).sentences
    assert (sentences[0] == f"causal mask ignored (compared with {until} of 9 failures)") is told
    assert told or not any("compared" in sentence for sentence in sentences)


def test_no_place_is_told_that_a_smaller_input_contradicts() -> None:
    def off(instance: Instance, rows: slice) -> Judged:
        value = right(instance)["output"].value.midpoint.copy()
        rng = np.random.default_rng(5)
        value[:, :, rows] += rng.uniform(1, 2, value[:, :, rows].shape)
        return failure(instance, value)

    first = [off(drawn(n_q, 7), slice(0, 1)) for n_q in (9, 11, 13, 17)]
    small = dataclasses.replace(off(drawn(6, 7), slice(0, 4)), shrunk=True)

    def places(failures: list[Judged]) -> list[str]:
        told = diagnosed(evidence(failures), suite("attention")).sentences
        return [sentence for sentence in told if "only queries 0 are wrong" in sentence]

    assert places(first)
    assert not places([small, *first])


def test_a_meaning_explains_a_failure_of_a_criterion_without_a_value() -> None:
    """As of what each layer makes of the tokens before it, where what may be wrong after all layers is large."""
    instance = drawn()
    exact = right(instance)["output"].value
    wide = np.full(exact.midpoint.shape, 100.0)
    steps = Criterion(lambda got: 10 * np.abs(got - exact.midpoint), np.ones_like(wide), str, ("output",))
    proper = {"output": close(exact, wide), "steps": steps}

    def meaning(off: float) -> Meaning:
        moved = {"output": close(Enclosure(exact.midpoint + off, exact.radius), wide)}
        return Meaning("moved", "it is moved", lambda i, _: moved)

    failed = failure(instance, exact.midpoint + 0.5)
    assert explains(meaning(0.5), failed, lambda i: proper)
    assert explains(meaning(0.4), failed, lambda i: proper)
    assert not explains(meaning(0.05), failed, lambda i: proper)  # it would pass
    assert not explains(meaning(-0.5), failed, lambda i: proper)  # it is no nearer than the right answer


def test_an_infinite_tolerance_explains_nothing() -> None:
    instance = drawn()
    criterion = right(instance)["output"]
    free = dataclasses.replace(criterion, allowed=np.full_like(criterion.allowed, np.inf))
    meaning = Meaning("free", "whatever", lambda i, _: {"output": free})
    assert not explains(meaning, failure(instance, np.zeros(criterion.value.shape)), right)


def test_nothing_is_explained_by_an_answer_that_happens_to_be_small() -> None:
    instance = drawn()
    criterion = right(instance)["output"]
    small = Meaning("small", "values of 1e-9", solves(lambda i: i.replace(value=(i.value * 1e-9).astype(np.float32))))
    assert not explains(small, failure(instance, np.zeros(criterion.value.shape)), right)


def test_two_changes_at_once_are_one_of_the_other() -> None:
    scale = Meaning("scale", "twice the scale", solves(lambda i: i.replace(scale=2 * i.scale)))
    causal = Meaning("causal", "causal mask ignored", solves(lambda i: i.replace(causal=None) if i.causal else None))
    instance = drawn(causal="top-left")
    wrong = right(instance.replace(causal=None, scale=2 * instance.scale))["output"].value.midpoint
    assert explains(Both(scale, causal), failure(instance, wrong), right)
    assert not explains(scale, failure(instance, wrong), right)
    plain = drawn()
    wrong = right(plain.replace(scale=2 * plain.scale))["output"].value.midpoint
    assert explains(Both(scale, causal), failure(plain, wrong), right)


# --- when -------------------------------------------------------------------------------------------------------------


def test_the_shortest_rule_that_separates_comes_first() -> None:
    every = cases("smoke")
    failing = [case for case in every if case.instance.mask is not None]
    passing = [case for case in every if case.instance.mask is None]
    assert separating(conditions(every, {}), failing, passing)[0].words == "mask is given"


def test_passes_speak_less_against_a_rule_where_few_of_the_failures_are_shown() -> None:
    every = cases("smoke")
    masked = [case for case in every if case.instance.mask is not None]
    passing = [case for case in every if case.instance.mask is None]

    def told(share: float) -> bool:
        passed = [*masked[1:4], *passing]  # the first three by chance
        rules = separating(conditions(every, {}), masked[:1], passed, None, share)
        return "mask is given" in [rule.words for rule in rules]

    assert told(share=0.1)
    assert not told(share=1.0)


@pytest.mark.parametrize("axis", ["heads", "keys", "queries", "batch", "dim", "value_dim"])
def test_an_axis_becomes_longer_and_shorter_in_every_array(axis: str) -> None:
    every = [case.instance for case in cases("smoke")]
    grouped = next(instance for instance in every if instance.query.shape[1] != instance.key.shape[1])
    for length in (1, grouped.lengths()[axis] * 3):
        assert variations.resized(grouped, axis, length).lengths()[axis] == length


def test_a_kernel_that_passes_is_not_asked_again() -> None:
    asked = []
    evidence = Evidence((), (), lambda *_: None, lambda _: {}, asked.append, end=time.monotonic() + 1)
    assert diagnosed(evidence, suite("attention")).sentences == []
    assert asked == []


# --- weights and shapes -----------------------------------------------------------------------------------------------


def test_the_weights_of_a_hidden_key_are_pictured() -> None:
    def sees_one_more(query: Any, key: Any, value: Any, *, scale: float, is_causal: bool = False) -> Any:
        n_q, n_k = query.shape[2], key.shape[2]
        seen = np.arange(n_k) <= np.arange(n_q)[:, None] + (5 if is_causal else n_k)
        return formula(query, key, value, scale=scale, mask=seen)

    told = diagnosis(sees_one_more)
    assert any("hidden keys get weight" in sentence for sentence in told.sentences)
    assert told.weights is not None
    hidden = told.weights.true == 0
    assert (told.weights.used[hidden] > 1e-3).any()


def test_another_order_of_axes_is_told_by_its_names() -> None:
    def length_major(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        return formula(query, key, value, scale=scale).swapaxes(1, 2)

    words = "shape: returns the right output of the transposed layout (batch, queries, heads, value dim)"
    assert words in diagnosis(length_major).sentences


# --- factors ----------------------------------------------------------------------------------------------------------


def test_no_factor_is_told_that_is_fitted_to_one_failure() -> None:
    """One number is right for some scale whatever is wrong with it: several failures have to agree on it."""
    one = [drawn(1, 3, scale=1.0).replace(value=drawn(1, 3).value[:, :, :, :1])]
    one = [instance.part(batch=[0], heads=[0], key_heads=[0]) for instance in one]
    several = [drawn(n, 7, scale=1.0) for n in (5, 6, 8)]

    def factors(instances: list[Instance]) -> list[str]:
        failures = [failure(i, right(i.replace(scale=1.1543 * i.scale))["output"].value.midpoint) for i in instances]
        return [
            sentence for sentence in diagnosed(evidence(failures), suite("attention")).sentences if "1.1543" in sentence
        ]

    assert factors(several) == ["as if scale were 1.1543 times what was given"]
    assert factors(one) == []
