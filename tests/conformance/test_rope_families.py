"""The rotary embedding's room: its families are valid, its conventions mean what they say, its questions find out."""

from __future__ import annotations

import re
from collections import Counter
from types import MappingProxyType

import numpy as np
import pytest
from bank.rope import BUGGY, CORRECT

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.suite import COMBINATIONS, LEVELS, OPTIONS, Case, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.cases import cases as cases_of
from assay.conformance.judge.judge import Judge
from assay.conformance.profile.profile import answers
from assay.conformance.rope.options import CHANGES, NUMBERS, POSITIONS
from assay.impl import cpu
from assay.spec.rope import PRECISIONS, Instance

SUITE = suite("rope")
FLOAT32 = PRECISIONS["float32"]


def cases(name: str = "float32", level: str = "thorough") -> list[Case]:
    return list(cases_of(SUITE, PRECISIONS[name], level, 0))


@pytest.mark.parametrize("family", SUITE.families, ids=lambda family: family.id)
def test_a_family_says_what_it_hunts_and_where_it_was_seen(family: object) -> None:
    assert len(family.hunts.split()) >= 3
    assert family.source == "assay's bank" or re.search(r"[\w.-]+/[\w.-]+#\d+", family.source)


@pytest.mark.parametrize("name", {p.storage: name for name, p in PRECISIONS.items()}.values())
def test_every_row_makes_an_instance_of_every_type(name: str) -> None:
    for case in cases(name):
        assert case.instance.query.dtype.name == PRECISIONS[name].storage


def test_names_of_cases_tell_rows_apart() -> None:
    assert [name for name, count in Counter(case.name for case in cases()).items() if count > 1] == []


def test_smoke_stays_small() -> None:
    counts = [len(cases(level=level)) for level in LEVELS]
    assert counts[0] <= 130
    assert counts[1] <= 720


def test_everything_that_a_row_may_say_is_said_by_some_row() -> None:
    rows = [row for _, family_rows in SUITE.table for row in family_rows]
    options = {option.partition("=")[0] for row in rows for option in row.options}
    used = {word for row in rows for word in (*row.after, *row.beside)}
    assert options >= set(POSITIONS) | {"pairs", "rotary", "base", "linear", "ntk", "dynamic", "llama3", "yarn"}
    assert {row.pattern for row in rows} == set(NUMBERS)
    assert used == set(CHANGES)


def test_every_kind_of_case_comes_in_both_layouts() -> None:
    layouts = {layout: Counter() for layout in ("halves", "pairs")}
    for case in cases(level="standard"):
        if case.family not in (OPTIONS, COMBINATIONS):  # made of the layouts that a kernel has
            layouts[case.instance.layout][case.family.id] += 1
    assert set(layouts["halves"]) == set(layouts["pairs"])
    assert all(count >= 0.4 * layouts["halves"][name] for name, count in layouts["pairs"].items())


def test_what_was_changed_between_calls_changes_the_answer_far_beyond_the_tolerance() -> None:
    judge = Judge(kernel_of(cpu.rope.exact, "rope"), FLOAT32)
    for case in (case for case in cases(level="standard") if case.after or case.beside):
        right = judge.criteria(case.instance)
        for other in (*case.after[-1:], *case.beside[:1]):
            answer = judge.criteria(other)
            assert any(
                right[name].value.shape != answer[name].value.shape
                or (np.abs(answer[name].value.midpoint - right[name].value.midpoint) > 100 * right[name].allowed).any()
                for name in right
            ), case.name


def test_every_meaning_has_a_name_of_its_own_and_changes_some_case() -> None:
    meanings = SUITE.meanings
    assert len(meanings) >= 25
    for names in ([meaning.id for meaning in meanings], [meaning.sentence for meaning in meanings]):
        assert [name for name, count in Counter(names).items() if count > 1] == []


def test_positions_beyond_a_declared_table_are_not_asked() -> None:
    kernel = Kernel("k", cpu.rope.exact, conventions=MappingProxyType({"table": "8"}), problem="rope")
    x = np.zeros((1, 1, 2, 4), np.float32)
    SUITE.interface.script(Instance(x, x, np.array([6, 7])), kernel, FLOAT32)
    for positions in ([7, 8], [-1, 0]):
        with pytest.raises(Declined):
            SUITE.interface.script(Instance(x, x, np.array(positions)), kernel, FLOAT32)


@pytest.mark.parametrize(
    ("name", "question", "answer"),
    [
        ("double-angles", "class", "more than float32"),
        ("plain", "class", "float32: off"),
        ("positions-bfloat16", "class", "less than float32"),
        ("double-angles", "off-0.001", "none to 2^25"),
        ("positions-float16", "off-0.1", "2,049"),
        ("negative", "sign", "negative"),
        ("beyond-clamped", "beyond", "at 4,097: the last row of its table"),
        ("beyond-unrotated", "beyond", "at 2,049: not rotated"),
        ("beyond-wrapped", "beyond", "at 8,193: begins again"),
        ("positions-absolute", "negative", "as position 3"),
        ("array-length", "dynamic", "the number of tokens"),
        ("dynamic-kept", "kept", "another answer than before"),
        ("plain", "kept", "as before"),
        ("separate", "magnitude", "left to the caller"),
        ("magnitude-twice", "magnitude", "another"),
        ("one-array", "layout", "halves"),
        ("one-array", "nan-key", "not finite: 2 of"),
    ],
)
def test_a_question_finds_out_what_a_kernel_does(name: str, question: str, answer: str) -> None:
    entry = next(entry for entry in (*CORRECT, *BUGGY) if entry.name == name)
    judge = Judge(kernel_of(entry.function, "rope"), FLOAT32)
    (found,) = answers(judge, [one for one in SUITE.questions if one.id == question])
    assert answer in found.answer
