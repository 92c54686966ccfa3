"""The room of stacks: its families are valid, its meanings are what they say, its questions find out."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from bank.layer_collapse.buggy import BUGGY
from bank.layer_collapse.correct import CORRECT

from assay.conformance.interface.suite import LEVELS, Case, Family, Row, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.cases import cases as cases_of
from assay.conformance.judge.judge import Judge
from assay.conformance.layer_collapse.interface import ARRAYS
from assay.conformance.layer_collapse.options import CHANGES, MASKS, NETWORKS, NUMBERS, built, words
from assay.conformance.layer_collapse.wrong import network
from assay.conformance.profile.profile import answers
from assay.spec.layer_collapse import PRECISIONS, Instance, define
from assay.spec.problem import Provenance

SUITE = suite("layer_collapse")
FLOAT32 = PRECISIONS["float32"]
PLAIN = CORRECT[0].function


@functools.cache
def cases(name: str = "float32", level: str = "thorough") -> list[Case]:
    return list(cases_of(SUITE, PRECISIONS[name], level, 0))


def instance_of(size: str, options: str = "", numbers: str = "normal") -> Instance:
    return built(Row("smoke", numbers, size, tuple(options.split())), Provenance("test", 0), FLOAT32)


def outcome(kernel: Any, instance: Instance, **options: str) -> Any:
    judge = Judge(kernel_of(kernel, "layer_collapse", options=options), FLOAT32)
    return judge.outcome(Case("mine", Family("mine", "", ""), instance))


# --- families ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", SUITE.families, ids=lambda family: family.id)
def test_a_family_says_what_it_hunts_and_where_it_was_seen(family: Family) -> None:
    assert len(family.hunts.split()) >= 3
    assert family.source == "assay's bank" or re.search(r"[\w.-]+/[\w.-]+#\d+", family.source)


@pytest.mark.parametrize("name", {p.storage: name for name, p in PRECISIONS.items()}.values())
def test_every_row_makes_an_instance_of_every_type(name: str) -> None:
    for case in cases(name, "standard"):
        assert case.instance.tokens.dtype.name == PRECISIONS[name].storage


def test_names_of_cases_tell_rows_apart() -> None:
    assert [name for name, count in Counter(case.name for case in cases(level="standard")).items() if count > 1] == []


def test_smoke_stays_small() -> None:
    counts = [len(cases(level=level)) for level in LEVELS[:2]]
    assert counts[0] <= 210
    assert counts[1] <= 620


def test_everything_that_a_row_may_say_is_said_by_some_row() -> None:
    rows = [row for _, family_rows in SUITE.table for row in family_rows]
    options = {option for row in rows for option in words(row)}
    assert options >= {
        *("causal", "no-skip", "scale", "output", "biases", "mask", "norm", "epsilon", "post", "final", "gains"),
        *(
            "gains-alone",
            "shifts",
            "mlp",
            "mlp-biases",
            "gated",
            "act",
            "strength",
            "queries",
            "attention",
            "up",
            "shared",
        ),
    }
    assert {row.pattern for row in rows} == set(NUMBERS)
    assert {words(row)["mask"] for row in rows if "mask" in words(row)} == set(MASKS)
    assert {option for row in rows for option in row.options} >= set(NETWORKS)
    assert {word for row in rows for word in (*row.after, *row.beside)} == set(CHANGES)


@pytest.mark.parametrize("network_", NETWORKS)
def test_every_network_of_practice_is_in_most_families(network_: str) -> None:
    """A kernel that is one network alone, as those of libraries are, is asked what the families hunt."""
    able = SUITE.interface.needs(instance_of("2x2:5:8", network_)) | {"several_layers"}
    asked = {
        case.family.id
        for case in cases(level="standard")
        if all(SUITE.interface.needs(one) <= able for one in (case.instance, *case.after, *case.beside))
    }
    assert len(asked) >= 9, sorted(asked)


def test_what_was_changed_between_calls_changes_the_answer_far_beyond_the_tolerance() -> None:
    judge = Judge(kernel_of(PLAIN, "layer_collapse"), FLOAT32)
    for case in (case for case in cases(level="standard") if case.after or case.beside):
        right = judge.criteria(case.instance)["tokens"]
        for other in (*case.after[-1:], *case.beside[:1]):
            answer = judge.criteria(other)["tokens"]
            assert (
                right.value.shape != answer.value.shape
                or (np.abs(answer.value.midpoint - right.value.midpoint) > 100 * right.allowed).any()
            ), case.name


# --- the interface ----------------------------------------------------------------------------------------------------


def test_a_kernel_is_recognised_by_its_arrays() -> None:
    assert {kernel_of(entry.function).problem for entry in CORRECT} == {"layer_collapse"}


def test_the_signature_names_every_field_of_the_instance() -> None:
    fields = [field.name for field in dataclasses.fields(Instance) if field.name != "provenance"]
    signature = SUITE.interface.signature
    assert [name for name in fields if not re.search(rf"\b{name}\b", signature)] == []
    assert list(inspect.signature(PLAIN).parameters) == fields
    assert set(fields) == set(ARRAYS) | SUITE.interface.keywords


def test_only_what_a_case_needs_is_passed() -> None:
    given: list[set[str]] = []

    def noting(*arrays: Any, scale: float, **keywords: Any) -> Any:
        given.append(set(keywords))
        return PLAIN(*arrays, scale=scale, **keywords)

    assert outcome(noting, instance_of("1x1:3:4")).status == "passed"
    assert outcome(noting, instance_of("1x2:3:8", "t5")).status == "passed"
    assert given[0] == set()
    assert given[-1] == {
        *("output_weights", "norm", "epsilon", "final_norm", "attention_norm_gain", "mlp_norm_gain"),
        *("final_norm_gain", "up_weights", "down_weights"),
    }


@pytest.mark.parametrize(
    ("size", "options", "need"),
    [
        ("1x1:3:4", "no-skip", "no_skip"),
        ("1x4/2:3:8", "", "grouped_heads"),
        ("1x2:3:8:3", "", "free_head_dim"),
        ("1x2:3:8", "scale=0.3", "any_scale"),
        ("1x2:3:8", "norm=rms epsilon=1e-5 post", "post_norm"),
        ("1x2:3:8", "mlp act=gelu_tanh", "gelu_tanh"),
        ("1x2:3:8", "mlp gated", "gate_weights"),
        ("1x2:3:8", "mask=right", "mask"),
    ],
)
def test_what_a_case_needs_may_be_declared_away(size: str, options: str, need: str) -> None:
    instance = instance_of(size, options)
    assert need in SUITE.interface.needs(instance)
    assert outcome(PLAIN, instance).status == "passed"
    assert outcome(PLAIN, instance, **{need: "no"}).sentence == f"lacks {need}"


def test_rows_of_padding_may_hold_anything() -> None:
    instance = instance_of("2x2:6:8", "mask=right")

    def poisoned(*arrays: Any, mask: Any, **keywords: Any) -> Any:
        out = PLAIN(*arrays, mask=mask, **keywords)
        out[:, ~mask] = 1e6
        return out

    def poisoned_tokens(*arrays: Any, mask: Any, **keywords: Any) -> Any:
        out = PLAIN(*arrays, mask=mask, **keywords)
        out[:, mask] += 1
        return out

    assert outcome(poisoned, instance).status == "passed"
    assert outcome(poisoned_tokens, instance).failed


# --- meanings ---------------------------------------------------------------------------------------------------------


def test_the_network_of_the_meanings_is_that_of_the_definition() -> None:
    for case in cases("float64", "smoke"):
        exact = define(case.instance, 1e-10).midpoint
        assert np.abs(network(case.instance) - exact).max() <= 1e-9 * np.abs(exact).max(), case.name


def test_every_meaning_has_a_name_of_its_own_and_changes_some_case() -> None:
    meanings = SUITE.meanings
    assert len(meanings) >= 100
    for names in ([meaning.id for meaning in meanings], [meaning.sentence for meaning in meanings]):
        assert [name for name, count in Counter(names).items() if count > 1] == []
    left = {meaning.id: meaning for meaning in meanings}
    judge = Judge(kernel_of(PLAIN, "layer_collapse"), FLOAT32)
    for case in cases(level="smoke"):
        changed = {name for name, one in left.items() if one.criteria(case.instance, judge.criteria) is not None}
        left = {name: one for name, one in left.items() if name not in changed}
    assert set(left) == set()


# --- questions --------------------------------------------------------------------------------------------------------


def used_to(**usual: Any) -> Any:
    """A right stack that takes these where nothing is passed."""

    def stack(tokens: Any, *weights: Any, scale: float, **keywords: Any) -> Any:
        return PLAIN(tokens, *weights, scale=scale, **{**usual, **keywords})

    return stack


HABITS = {
    "post": used_to(norm_place="post"),
    "0.001": used_to(epsilon=1e-3),
    "gelu": used_to(activation="gelu"),
    "no-skip": used_to(skip=False),
}


@pytest.mark.parametrize(
    ("name", "question", "answer"),
    [
        ("plain", "repeats", "the same bits"),
        ("plain", "skip", "skip connections"),
        ("plain", "place", "before a sub-layer"),
        ("plain", "padding", "what it would be as a token"),
        ("plain", "scores", "none to a scale of 2^14"),
        ("plain", "activation", "relu"),
        ("plain", "nan-tokens", "not finite"),
        ("naive-softmax", "scores", "a scale of 2^"),
        ("two-moments", "mean", "a mean of 2^"),
        ("no-skip", "skip", "none"),
        ("post", "place", "after it"),
        ("0.001", "epsilon", "0.001"),
        ("gelu", "activation", "gelu"),
    ],
)
def test_a_question_finds_out_what_a_stack_does(name: str, question: str, answer: str) -> None:
    known = {entry.name: entry.function for entry in (*CORRECT, *BUGGY)} | HABITS
    judge = Judge(kernel_of(known[name], "layer_collapse"), FLOAT32)
    (found,) = answers(judge, [one for one in SUITE.questions if one.id == question])
    assert answer in found.answer
