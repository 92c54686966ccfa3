"""Families: each says what it hunts, where that was seen and how binding it is; its rows are all valid."""

from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from bank.rows import only

from assay.conformance.attention.other_calls import CHANGES
from assay.conformance.interface.layouts import LAYOUTS
from assay.conformance.interface.suite import LEVELS, Case, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.cases import cases as cases_of
from assay.conformance.judge.judge import Judge
from assay.conformance.report.finding import CaseResult, Finding
from assay.conformance.report.report import Report
from assay.impl import cpu
from assay.spec.precision import PRECISIONS, precision

FLOAT32 = precision("float32")
FAMILIES = suite("attention").families


@functools.cache
def every_case() -> list[Case]:
    """Those of ``thorough`` but for combinations of three, which take seconds to choose."""
    return list(cases_of(only(suite("attention"), lambda row: True), FLOAT32, "thorough", 0))


def cases(level: str = "thorough") -> list[Case]:
    return [case for case in every_case() if case.row.level in LEVELS[: LEVELS.index(level) + 1]]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id)
def test_a_family_says_what_it_hunts_where_it_was_seen_and_how_binding_it_is(family: object) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", family.id)
    assert len(family.hunts.split()) >= 3
    assert family.source == "assay's bank" or re.search(r"[\w.-]+#\d+", family.source)
    assert family.level in ("must", "convention", "quality")
    assert any(case.family is family for case in cases())


def test_identifiers_are_unique() -> None:
    assert len({family.id for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize("name", {p.storage: name for name, p in PRECISIONS.items()}.values())
def test_every_row_makes_an_instance_of_every_type(name: str) -> None:
    """Rows of the table: what is combined is made of the same words, and is of float32 in the tests of its own."""
    for case in cases_of(replace(suite("attention"), covering=None), precision(name), "thorough", 0):
        assert case.instance.query.dtype.name == precision(name).storage


@pytest.mark.thorough
def test_every_row_makes_an_instance_also_of_three_kinds_together() -> None:
    assert len(list(cases_of(suite("attention"), FLOAT32, "thorough", 0))) > len(cases())


def test_names_of_cases_tell_rows_apart_but_for_repeats_of_a_pattern() -> None:
    repeated = [name for name, count in Counter(case.name for case in cases()).items() if count > 6]
    assert repeated == []


def test_smoke_stays_small() -> None:
    counts = [len(cases(level=level)) for level in LEVELS]
    assert counts[0] <= 130
    assert counts[1] <= 1100


def test_every_layout_and_every_change_is_used() -> None:
    assert {case.layout.name for case in cases()} == set(LAYOUTS)
    used = " ".join(case.name for case in cases() if case.after or case.beside)
    assert [change for change in CHANGES if f" {change}" not in used] == []


def test_every_layout_has_more_than_33_keys_in_some_case() -> None:
    longest = {
        name: max(case.instance.key.shape[2] for case in cases() if case.layout.name == name) for name in LAYOUTS
    }
    assert [name for name, keys in longest.items() if keys <= 33] == []


def test_what_was_changed_between_calls_changes_the_answer_far_beyond_the_tolerance() -> None:
    judge = Judge(kernel_of(cpu.attention.exact, "attention"), FLOAT32)
    for case in (case for case in cases(level="standard") if case.after or case.beside):
        criterion = judge.criteria(case.instance)["output"]
        for other in (*case.after[-1:], *case.beside[:1]):
            answer = judge.criteria(other)["output"].value.midpoint
            assert (np.abs(answer - criterion.value.midpoint) > 100 * criterion.allowed).any(), case.name


def test_a_layout_finds_arrays_that_it_can_lay_out_so() -> None:
    from assay.conformance.call.memory import placed

    for case in cases():
        if case.layout.name in ("expanded", "packed"):
            names = ("query", "key", "value") if case.layout.packed else case.instance.arrays()
            arrays = [(name, getattr(case.instance, name)) for name in names]
            keeps = placed(arrays, case.layout, huge=False, read_only=True)
            if case.layout.packed:
                assert keeps[0].buffer is keeps[2].buffer, case.name
            else:
                assert any(0 in keep.array.strides for keep in keeps), case.name


@pytest.mark.parametrize("level", ["convention", "quality"])
def test_a_family_that_is_not_binding_is_told_and_never_fails_a_report(level: str) -> None:
    finding = Finding("error", "off", "case", "family", "an instance")
    result = CaseResult("case", "family", level, "failed", ratio=3.0, finding=finding)
    good = CaseResult("good", "other", "must", "passed", ratio=0.1)
    report = Report("k", "numpy", "", "attention", "float32", "smoke", 0, (good, result))
    assert report.passed
    assert report.worst_ratio == 0.1
    assert re.search(rf"family +1 +1 +3 +{level}", report.to_text())
