"""The room of attention of order k: families are valid, orders, windows and questions mean what they say."""

from __future__ import annotations

import functools
import inspect
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from bank.tensor_attention.buggy import BUGGY
from bank.tensor_attention.correct import CORRECT

from assay.conformance.interface.suite import LEVELS, Case, Family, Row, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.cases import cases as cases_of
from assay.conformance.judge.judge import Judge
from assay.conformance.profile.profile import answers
from assay.conformance.tensor_attention.interface import ORDERS, positional
from assay.conformance.tensor_attention.options import OPTIONS, PATTERNS, built, parse_size, resized
from assay.spec import attention
from assay.spec.problem import Provenance
from assay.spec.tensor_attention import PRECISIONS, Instance, define

SUITE = suite("tensor_attention")
FLOAT32 = PRECISIONS["float32"]
BY_NAME = {entry.name: entry for entry in (*CORRECT, *BUGGY)}
PLAIN = BY_NAME["plain"].function


@functools.cache
def cases(name: str = "float32", level: str = "standard") -> list[Case]:
    return list(cases_of(SUITE, PRECISIONS[name], level, 0))


def instance_of(size: str, options: str = "", numbers: str = "normal") -> Any:
    return built(Row("smoke", numbers, size, tuple(options.split())), Provenance("test", 0), FLOAT32)


def outcome(kernel: Any, instance: Any, **options: str) -> Any:
    judge = Judge(kernel_of(kernel, "tensor_attention", options=options), FLOAT32)
    return judge.outcome(Case("mine", Family("mine", "", ""), instance))


# --- families ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", ["tensor_attention", "tensor_attention_gradient"])
def test_every_family_says_what_it_hunts_and_where_it_was_seen(problem: str) -> None:
    for family in suite(problem).families:
        assert len(family.hunts.split()) >= 3, family.id
        assert family.source == "assay's bank" or re.search(r"[\w.-]+#\d+", family.source), family.id


@pytest.mark.parametrize("name", ["float64", "bfloat16", "float16"])
def test_every_row_makes_an_instance_of_every_type(name: str) -> None:
    for case in cases(name, "smoke"):
        assert case.instance.query.dtype.name == PRECISIONS[name].storage


def test_names_of_cases_tell_rows_apart() -> None:
    assert [name for name, count in Counter(case.name for case in cases()).items() if count > 1] == []


def test_a_level_stays_small() -> None:
    counts = [len(cases(level=level)) for level in LEVELS[:2]]
    assert counts[0] <= 180
    assert counts[1] <= 650


def test_every_order_is_asked_and_order_3_the_most() -> None:
    counts = Counter(case.instance.order for case in cases())
    assert set(counts) == set(ORDERS)
    assert max(counts, key=lambda order: counts[order]) == 3
    assert min(counts.values()) >= 40


def test_everything_that_a_row_may_say_is_said_by_some_row() -> None:
    rows = [row for _, family_rows in SUITE.table for row in family_rows]
    said = {option.partition("=")[0] for row in rows for option in row.options}
    assert said >= set(OPTIONS) - {"same-batch", "same-modes"}
    assert {row.pattern for row in rows} >= set(PATTERNS)


def test_what_was_changed_between_calls_changes_the_answer_far_beyond_the_tolerance() -> None:
    judge = Judge(kernel_of(PLAIN, "tensor_attention"), FLOAT32)
    for case in (case for case in cases() if case.after or case.beside):
        right = judge.criteria(case.instance)["output"]
        for other in (*case.after[-1:], *case.beside[:1]):
            answer = judge.criteria(other)["output"]
            if answer.value.midpoint.shape == right.value.midpoint.shape:
                far = 100 * right.allowed + 1e-3
                assert (np.abs(answer.value.midpoint - right.value.midpoint) > far).any(), case.name


def test_a_pattern_of_attention_along_a_mode_is_attention() -> None:
    """So that its numbers hunt here what they hunt there."""
    for mode in (1, 2):
        made = instance_of("1x2:3x5x5:4/2", f"along={mode}", "ramp-up")
        key, value = made.mode_keys[mode - 1], made.mode_values[mode - 1]
        plain = attention.Instance(made.query, key, value, scale=made.scale)
        assert np.abs(define(made).midpoint - attention.define(plain).midpoint).max() <= 1e-9


def test_a_size_in_other_lengths_is_of_the_same_order() -> None:
    row = resized(Row("smoke", "normal", "2x4/2:5x7x6:16/8"), {"queries": 9, "keys1": 3, "dim": 32})
    assert row.size == "2x4/2:9x3x6:32/8"
    assert parse_size(row.size).keys == (3, 6)


# --- calls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_the_arrays_tell_the_problem_and_the_order(order: int) -> None:
    (name,) = {2: ["plain-2"], 3: ["plain"], 4: ["plain-4"], 5: ["plain-5"]}[order]
    kernel = kernel_of(BY_NAME[name].function)
    assert kernel.problem == "tensor_attention"
    assert kernel.positional == positional(order)


def test_attention_itself_is_of_another_problem_and_of_order_2_where_this_one_is_named() -> None:
    def attend(query: Any, key: Any, value: Any, *, scale: float) -> None: ...

    def odd(query: Any, key1: Any, key2: Any, value1: Any, *, scale: float) -> None: ...

    assert kernel_of(attend).problem == "attention"
    assert kernel_of(attend, "tensor_attention").positional == positional(2)
    with pytest.raises(UsageError, match="takes 4 arrays, not 5"):
        kernel_of(odd, "tensor_attention")


def test_the_signatures_name_every_field_of_the_instance() -> None:
    fields = {name for name in inspect.signature(Instance).parameters if name != "provenance"}
    named = {name for name in fields if re.search(rf"\b{name}\b", SUITE.interface.signature)}
    assert named == fields
    assert fields == {*positional(3)} | SUITE.interface.keywords - {"error"}


def test_a_kernel_of_one_order_is_not_asked_for_another() -> None:
    assert outcome(PLAIN, instance_of("3x4x5")).status == "passed"
    assert outcome(PLAIN, instance_of("3x4")).sentence == "takes 2 keys and values a position, and not 1"
    assert outcome(BY_NAME["plain-4"].function, instance_of("3x4x5")).sentence.endswith("and not 2")


def test_only_what_a_case_needs_is_passed() -> None:
    given: list[set[str]] = []

    def noting(query: Any, key1: Any, key2: Any, value1: Any, value2: Any, *, scale: float, **keywords: Any) -> Any:
        given.append(set(keywords))
        return PLAIN(query, key1, key2, value1, value2, scale=scale, **keywords)

    assert outcome(noting, instance_of("1x1:3x3x3:4/4")).status == "passed"
    assert outcome(noting, instance_of("1x1:5x5x5:4/4", "causal window=2,3 lse")).status == "passed"
    assert given[0] == set()
    assert given[-1] == {"is_causal", "window", "return_lse"}


@pytest.mark.parametrize(
    ("size", "options", "need"),
    [
        ("1x2:3x3x3:4/4", "causal", "causal"),
        ("1x2:3x3x3:4/4", "window=2,2", "window_without_causal"),
        ("1x2:3x3x3:4/4", "window=*,2 causal", "window_without_limit"),
        ("1x2:3x3x3:4/4", "", "without_window"),
        ("1x2:3x3x3:4/4", "scale=0.3", "other_scale"),
        ("1x2:3x4x4:4/4", "", "cross_lengths"),
        ("1x2:3x3x4:4/4", "", "unlike_modes"),
        ("1x2:3x4x4:4/4", "causal", "causal_cross_lengths"),
        ("1x4/2:3x3x3:4/4", "", "grouped_heads"),
        ("1x2:3x3x3:4/5", "", "value_dim"),
        ("1x2:9x3x3:4/4", "window=2,2 lse", "empty_row_lse"),
    ],
)
def test_what_a_case_needs_may_be_declared_away(size: str, options: str, need: str) -> None:
    instance = instance_of(size, options)
    assert need in SUITE.interface.needs(instance)
    assert outcome(PLAIN, instance).status == "passed"
    assert need in outcome(PLAIN, instance, **{need: "no"}).sentence


def test_a_window_of_w_keys_holds_the_key_at_the_query_and_w_minus_1_before_it() -> None:
    instance = instance_of("1x1:6x6x6:4/4", "window=3,1 causal")
    assert np.flatnonzero(instance.visible_of(1)[4]).tolist() == [2, 3, 4]
    assert np.flatnonzero(instance.visible_of(2)[4]).tolist() == [4]


# --- meanings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", ["tensor_attention", "tensor_attention_gradient"])
def test_every_meaning_has_a_name_of_its_own(problem: str) -> None:
    meanings = suite(problem).meanings
    assert len(meanings) >= 200
    for names in ([meaning.id for meaning in meanings], [meaning.sentence for meaning in meanings]):
        assert [name for name, count in Counter(names).items() if count > 1] == []


def test_a_meaning_of_an_instance_that_it_does_not_change_says_nothing() -> None:
    judge = Judge(kernel_of(PLAIN, "tensor_attention"), FLOAT32)
    instance = instance_of("1x1:3x4x4:4/3")
    silent = [
        m for m in SUITE.meanings if m.id.startswith(("causal-ignored", "window-", "heads-", "batch-first", "lse-"))
    ]
    assert [m.id for m in silent if m.criteria(instance, judge.criteria) is not None] == []


# --- questions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "question", "answer"),
    [
        ("plain", "repeats", "the same bits"),
        ("plain", "window", "w keys with the query's own"),
        ("window-inclusive", "window", "w keys besides the query's own"),
        ("plain", "empty-row", "zeros"),
        ("empty-nan", "empty-row", "NaN"),
        ("plain", "sum", "nothing"),
        ("sum-bfloat16", "sum", "of 1"),
        ("plain-4", "empty-row", "zeros"),
        ("plain", "nan-key1", "not finite"),
    ],
)
def test_a_question_finds_out_what_a_kernel_does(name: str, question: str, answer: str) -> None:
    judge = Judge(kernel_of(BY_NAME[name].function, "tensor_attention"), FLOAT32)
    (found,) = answers(judge, [one for one in SUITE.questions if one.id == question])
    assert answer in found.answer


def test_a_forward_pass_without_a_gradient_is_told_the_arrays_of_a_backward_pass_of_its_order() -> None:
    with pytest.raises(
        UsageError, match=r"or a backward pass \(query, key1, key2, value1, value2, output, log_sum_exp"
    ):
        kernel_of(PLAIN, "tensor_attention_gradient")
