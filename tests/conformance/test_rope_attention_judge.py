"""The room of attention with relative positions: families are valid, forms and conventions mean what they say."""

from __future__ import annotations

import functools
import inspect
import re
from collections import Counter
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from bank.rope_attention.buggy import BUGGY
from bank.rope_attention.correct import CORRECT

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.suite import COMBINATIONS, LEVELS, OPTIONS, Case, Family, Row, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.cases import cases as cases_of
from assay.conformance.judge.judge import Judge
from assay.conformance.profile.profile import answers
from assay.conformance.rope_attention import scores
from assay.conformance.rope_attention.interface import GENERAL_FORM, ROTARY_FORM
from assay.conformance.rope_attention.options import BIASES, POSITIONS, WEIGHTS, built
from assay.spec.problem import Provenance
from assay.spec.rope_attention import PRECISIONS, Instance, define

SUITE = suite("rope_attention")
FLOAT32 = PRECISIONS["float32"]
BY_NAME = {entry.name: entry for entry in (*CORRECT, *BUGGY)}
PLAIN, GENERAL = BY_NAME["plain"].function, BY_NAME["general"].function


@functools.cache
def cases(name: str = "float32", level: str = "standard") -> list[Case]:
    return list(cases_of(SUITE, PRECISIONS[name], level, 0))


def instance_of(size: str, options: str = "", numbers: str = "normal") -> Instance:
    return built(Row("smoke", numbers, size, tuple(options.split())), Provenance("test", 0), FLOAT32)


def outcome(kernel: Any, instance: Instance, **options: str) -> Any:
    judge = Judge(kernel_of(kernel, "rope_attention", options=options), FLOAT32)
    return judge.outcome(Case("mine", Family("mine", "", ""), instance))


# --- families ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", SUITE.families, ids=lambda family: family.id)
def test_a_family_says_what_it_hunts_and_where_it_was_seen(family: Family) -> None:
    assert len(family.hunts.split()) >= 3
    assert family.source == "assay's bank" or re.search(r"[\w.-]+#\d+", family.source)


@pytest.mark.parametrize("name", ["float64", "bfloat16", "float16"])
def test_every_row_makes_an_instance_of_every_type(name: str) -> None:
    for case in cases(name, "smoke"):
        assert case.instance.query.dtype.name == PRECISIONS[name].storage


def test_names_of_cases_tell_rows_apart() -> None:
    assert [name for name, count in Counter(case.name for case in cases()).items() if count > 1] == []


def test_smoke_stays_small() -> None:
    counts = [len(cases(level=level)) for level in LEVELS[:2]]
    assert counts[0] <= 165
    assert counts[1] <= 1250


def test_everything_that_a_row_may_say_is_said_by_some_row() -> None:
    rows = [row for _, family_rows in SUITE.table for row in family_rows]
    options = {option.partition("=")[0] for row in rows for option in row.options}
    weights = {option.partition("=")[2] for row in rows for option in row.options if option.startswith("w=")}
    used = {word for row in rows for word in (*row.after, *row.beside)}
    assert options >= set(POSITIONS) | set(BIASES) | {"pairs", "rotary", "base", "magnitude", "untruncated"}
    assert options >= {"linear", "ntk", "dynamic", "llama3", "yarn"}
    assert weights == set(WEIGHTS)
    assert used >= {"offset", "keys-elsewhere", "longer-text", "rows", "base", "weights", "relative-bias", "layout"}


def test_both_forms_and_both_layouts_of_pairs_are_asked() -> None:
    kinds = Counter()
    for case in cases():
        if case.family not in (OPTIONS, COMBINATIONS):  # made of what a kernel has
            kinds["general" if case.instance.relative is not None else case.instance.layout] += 1
    assert kinds["pairs"] >= 0.4 * kinds["halves"]
    assert kinds["general"] >= 60


def test_what_was_changed_between_calls_changes_the_answer_far_beyond_the_tolerance() -> None:
    judges = {form: Judge(kernel_of(kernel, "rope_attention"), FLOAT32) for form, kernel in ((0, PLAIN), (1, GENERAL))}
    for case in (case for case in cases() if case.after or case.beside):
        judge = judges[case.instance.relative is not None]
        right = judge.criteria(case.instance)["output"]
        for other in (*case.after[-1:], *case.beside[:1]):
            answer = judge.criteria(other)["output"]
            far = 100 * right.allowed + 1e-3
            assert (np.abs(answer.value.midpoint - right.value.midpoint) > far).any(), case.name


def test_tokens_at_one_position_and_w_the_identity_are_attention() -> None:
    """So that the numbers of a family of attention hunt here what they hunt there."""
    from assay.spec import attention

    still, identity = instance_of("1x2:3x5:4/2", "still=7"), instance_of("1x2:3x5:4/2", "w=identity")
    for instance in (still, identity):
        plain = attention.Instance(instance.query, instance.key, instance.value)
        assert np.abs(define(instance).midpoint - attention.define(plain).midpoint).max() <= 1e-12


# --- calls ------------------------------------------------------------------------------------------------------------


def test_the_problem_and_the_form_are_told_by_arrays_and_keywords() -> None:
    def attention(query: Any, key: Any, value: Any, *, scale: float) -> None: ...

    for entry in CORRECT:
        kernel = kernel_of(entry.function)
        assert kernel.problem == "rope_attention"
        assert kernel.positional == (GENERAL_FORM if "general" in entry.name else ROTARY_FORM).positional
    assert kernel_of(attention).problem == "attention"
    with pytest.raises(UsageError, match="no keyword 'base'"):
        kernel_of(attention, "rope_attention")


def test_the_signatures_name_every_field_of_the_instance() -> None:
    fields = {name for name in inspect.signature(Instance).parameters if name != "provenance"}
    named = {name for name in fields if re.search(rf"\b{name}\b", SUITE.interface.signature)}
    assert named == fields
    assert fields == {*GENERAL_FORM.positional} | SUITE.interface.keywords - {"error"}


def test_only_what_a_case_needs_is_passed() -> None:
    given: list[set[str]] = []

    def noting(query: Any, key: Any, value: Any, *, scale: float, base: float, **keywords: Any) -> Any:
        given.append(set(keywords))
        return PLAIN(query, key, value, scale=scale, base=base, **keywords)

    assert outcome(noting, instance_of("1x1:3x3:4/4")).status == "passed"
    assert outcome(noting, instance_of("1x2:3x5:8/4", "pairs yarn=4,2048 cached relative")).status == "passed"
    assert given[0] == set()
    assert given[-1] == {
        *("layout", "scaling", "factor", "original_length", "low_frequency", "high_frequency"),
        *("query_positions", "key_positions", "relative_bias"),
    }


def test_each_form_is_asked_for_what_it_has_arguments_for() -> None:
    rotary, general = instance_of("1x1:3x3:4/4"), instance_of("1x1:3x3:4/4", "w=diagonal")
    assert outcome(PLAIN, general).sentence == "takes positions, and no W for every offset"
    assert outcome(GENERAL, rotary).sentence == "takes a W for every offset, and no positions"
    assert outcome(GENERAL, general).status == outcome(PLAIN, rotary).status == "passed"


@pytest.mark.parametrize(
    ("size", "options", "need"),
    [
        ("1x2:3x5:8/4", "cached", "positions"),
        ("1x2:3x3:8/4", "apart=9", "unlike_positions"),
        ("1x2:3x3:8/4", "shuffled=9", "any_positions"),
        ("2x2:3x3:8/4", "rows=9", "batched_positions"),
        ("1x2:3x3:8/4", "signed=9", "negative_positions"),
        ("1x2:3x3:8/4", "pairs", "pairs"),
        ("1x2:3x3:8/4", "rotary=4", "partial"),
        ("1x2:3x3:8/4", "relative", "relative_bias"),
        ("1x2:3x3:8/4", "relative mask", "bias_with_mask"),
        ("1x2:3x3:8/4", "relative causal", "causal_with_mask"),
        ("1x4/2:3x3:8/4", "", "grouped_heads"),
    ],
)
def test_what_a_case_needs_may_be_declared_away(size: str, options: str, need: str) -> None:
    instance = instance_of(size, options)
    assert need in SUITE.interface.needs(instance)
    assert outcome(PLAIN, instance).status == "passed"
    assert need in outcome(PLAIN, instance, **{need: "no"}).sentence


def test_positions_beyond_a_declared_table_are_not_asked() -> None:
    kernel = Kernel("k", PLAIN, conventions=MappingProxyType({"table": "8"}), problem="rope_attention")
    x = np.zeros((1, 1, 2, 4), np.float32)
    SUITE.interface.script(Instance(x, x, x, key_positions=np.array([6, 7])), kernel, FLOAT32)
    for positions in ([7, 8], [-1, 0]):
        with pytest.raises(Declined):
            SUITE.interface.script(Instance(x, x, x, query_positions=np.array(positions)), kernel, FLOAT32)


def test_turning_both_sides_back_is_another_answer_and_legal_where_it_is_declared() -> None:
    """Scores see i − j one way and j − i the other: they agree where both sides flip only for mirrored columns."""
    instance = instance_of("1x2:4x6:8/4", "cached")
    turned_back = BY_NAME["turned-back"].function
    assert outcome(turned_back, instance, rotation="negative").status == "passed"
    assert outcome(turned_back, instance).failed
    assert outcome(PLAIN, instance, rotation="negative").failed


# --- meanings ---------------------------------------------------------------------------------------------------------


def test_every_meaning_has_a_name_of_its_own_and_changes_some_case() -> None:
    meanings = SUITE.meanings
    assert len(meanings) >= 350
    for names in ([meaning.id for meaning in meanings], [meaning.sentence for meaning in meanings]):
        assert [name for name, count in Counter(names).items() if count > 1] == []


def _same(one: Instance, other: Instance | None) -> bool:
    assert other is not None
    return bool(np.allclose(define(one).midpoint, define(other).midpoint, rtol=1e-9, atol=1e-9))


@pytest.mark.parametrize("options", ["w=scattered", "w=scattered softcap=1.3", "w=diagonal causal mask"])
def test_a_bias_makes_the_scores_of_another_w(options: str) -> None:
    """W read at every offset plus one, in one way by other numbers, in another by a bias that makes up for them."""
    instance = instance_of("2x4/2:5x7:4/4", options)
    assert instance.relative is not None
    last = instance.relative.shape[1] - 1
    moved = instance.replace(relative=instance.relative[:, np.minimum(np.arange(last + 1) + 1, last)])
    assert not _same(instance, moved)
    assert _same(moved, scores.weights_read_at(lambda x, i, j: i - j + x.key.shape[2])(instance))
    assert scores.weights_read_at(lambda x, i, j: i - j + x.key.shape[2] - 1)(instance) is None


@pytest.mark.parametrize("options", ["relative", "alibi causal", "banded pairs", "w=scattered relative"])
def test_a_bias_of_pairs_is_the_relative_bias_of_other_offsets(options: str) -> None:
    instance = instance_of("2x4/2:5x7:4/4", options)
    assert instance.relative_bias is not None
    last = instance.relative_bias.shape[1] - 1
    moved = instance.replace(relative_bias=instance.relative_bias[:, np.minimum(np.arange(last + 1) + 1, last)])
    assert not _same(instance, moved)
    assert _same(moved, scores.bias_read_at(lambda x, i, j: i - j + x.key.shape[2])(instance))
    assert scores.bias_read_at(lambda x, i, j: i - j + x.key.shape[2] - 1)(instance) is None


@pytest.mark.parametrize("options", ["relative softcap=0.7", "w=diagonal relative softcap=0.7", "bias softcap=0.7"])
def test_a_large_cap_after_the_bias_is_no_cap_and_a_small_one_is_another_answer(options: str) -> None:
    instance = instance_of("2x4/2:5x7:4/4", options, "large")
    capped = scores.cap_after_bias(instance)
    assert capped is not None
    assert not _same(instance, capped)
    wide = instance.replace(softcap=1e6)
    assert _same(instance.replace(softcap=None), scores.cap_after_bias(wide))


def test_a_shift_by_a_padded_reshape_is_right_under_a_causal_mask() -> None:
    """Keys up to the query have their own bias: Dai et al. 2019, appendix B."""
    causal = instance_of("1x2:6x6:4/4", "relative causal")
    assert _same(causal, scores.sheared(1, causal))
    assert not _same(causal.replace(causal=None), scores.sheared(1, causal.replace(causal=None)))
    assert not _same(causal, scores.sheared(0, causal))


# --- questions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "question", "answer"),
    [
        ("plain", "repeats", "the same bits"),
        ("double", "moved-1000", "moves by"),
        ("plain", "default", "position 0"),
        ("plain", "layout", "halves"),
        ("plain", "beyond", "right to 2^17"),
        ("beyond-unrotated", "beyond", "at 2,049: not rotated"),
        ("table-one-short", "beyond", "at 2,049: the last row of its table"),
        ("beyond-wrapped", "beyond", "at 8,193: begins again"),
        ("plain", "causal", "the numbers of queries and keys"),
        ("causal-by-positions", "causal", "positions"),
        ("plain", "empty-row", "zeros"),
        ("plain", "magnitude", "applied"),
        ("separate", "magnitude", "left to the caller"),
        ("whole", "nan-key", "not finite"),
    ],
)
def test_a_question_finds_out_what_a_kernel_does(name: str, question: str, answer: str) -> None:
    judge = Judge(kernel_of(BY_NAME[name].function, "rope_attention"), FLOAT32)
    (found,) = answers(judge, [one for one in SUITE.questions if one.id == question])
    assert answer in found.answer
