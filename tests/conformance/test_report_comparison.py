"""Two reports beside each other: what is worse is told and decides, and what differs by chance decides nothing."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from reports import ALL, ERROR, FAILED, FAILED_CASES, PASSED, PASSED_CASES, WEIGHTS, report

from assay.conformance.report.comparison import Comparison, compared, paired, to_text
from assay.conformance.report.data import to_json
from assay.conformance.report.finding import CaseResult
from assay.conformance.report.page import to_html
from assay.conformance.report.reading import from_json
from assay.conformance.report.schema import report_schema, require

if TYPE_CHECKING:
    from assay.conformance.report.report import Report


def case(name: str, status: str = "passed", ratio: float = 0.5, family: str = "causal", reason: str = "") -> CaseResult:
    found = replace(ERROR, case=name, family=family) if status == "failed" else None
    return CaseResult(name, family, "must", status, ratio, finding=found, reason=reason)


def beside(before: Report, after: Report) -> str:
    return to_text([compared(before, after)], paired([before], [after]), ("a.json", "b.json"))


def test_a_report_beside_itself_is_the_same() -> None:
    for one in ALL.values():
        found = compared(one, one)
        assert (found.word, found.worse, found.better) == ("same", False, False)
        assert found.larger == found.smaller == found.gone == found.new == ()


def test_a_case_that_fails_now_and_passed_before_is_worse_and_the_reverse_is_better() -> None:
    before, after = report(case("one"), case("two")), report(case("one"), case("two", "failed"))
    found = compared(before, after)
    assert (found.word, found.failing, found.mended) == ("worse", ("two",), ())
    back = compared(after, before)
    assert (back.word, back.failing, back.mended) == ("better", (), ("two",))
    assert "worse: my:kernel  attention  float32  PASSED → FAILED\n  fail now: 1 case: two" in beside(before, after)


def test_a_case_that_was_not_judged_before_is_no_proof_of_anything_worse() -> None:
    late = report(case("one"), case("two", "skipped", reason="time budget"))
    assert compared(late, report(case("one"), case("two", "failed"))).failing == ()


def test_a_failing_case_that_did_not_exist_is_worse_at_the_same_level_and_seed_alone() -> None:
    before, after = report(case("one")), report(case("one"), case("drawn", "failed"))
    assert compared(before, after).failing == ("drawn",)
    assert compared(before, replace(after, level="thorough")).failing == ()
    assert "standard seed 0 beside thorough seed 0" in beside(before, replace(after, level="thorough"))


def test_cases_of_one_name_are_told_apart_by_their_order() -> None:
    before = report(case("drawn"), case("drawn", "failed"))
    after = report(case("drawn", "failed"), case("drawn"))
    found = compared(before, after)
    assert (len(found.failing), len(found.mended)) == (1, 1)
    assert found.word == "better and worse"


def test_what_failed_before_and_is_tried_again_is_no_new_failure() -> None:
    before = report(case("one"), case("two", "failed"))
    after = report(case("again: two", "failed"), case("one"), case("two", "failed"))
    found = compared(before, after)
    assert (found.word, found.failing, found.fewer, found.more) == ("same", (), 0, 0)


def test_a_case_that_fails_and_fails_again_is_named_once() -> None:
    before = report(case("one"), case("two"))
    after = report(case("again: two", "failed"), case("one"), case("two", "failed"))
    assert compared(before, after).failing == ("two",)
    assert compared(after, before).mended == ("two",)


def test_only_what_failed_before_is_beside_the_cases_that_it_was_again() -> None:
    before = report(case("one"), case("two", "failed"))
    found = compared(before, report(case("again: two")))
    assert (found.mended, found.fewer, found.more) == (("two",), 1, 0)


def test_a_case_of_another_seed_that_fails_again_is_worse_beside_one_that_passes() -> None:
    found = compared(report(case("two")), report(case("again: two", "failed"), case("two")))
    assert found.failing == ("again: two",)


def test_a_family_that_never_ran_now_is_worse() -> None:
    before = report(*PASSED_CASES, case("mask 1", family="mask"))
    after = report(*PASSED_CASES, case("mask 1", "declined", family="mask", reason="no masks"))
    assert (compared(before, after).lost, compared(after, before).closed) == (("mask",), ("mask",))
    assert compared(before, after).worse
    assert "never ran now: mask" in beside(before, after)


@pytest.mark.parametrize(("was", "now", "told"), [(0.2, 0.3, False), (0.2, 0.4, True), (0.001, 0.009, False)])
def test_a_larger_error_is_told_from_twice_on_and_decides_nothing(was: float, now: float, told: bool) -> None:
    before, after = report(case("one", ratio=was)), report(case("one", ratio=now))
    assert not compared(before, after).worse
    assert bool(compared(before, after).larger) is told
    assert (f"larger errors: causal {was} → {now}" in beside(before, after)) is told
    assert bool(compared(after, before).smaller) is told


def test_an_error_without_a_ratio_is_compared_with_none() -> None:
    before, after = report(case("one", "failed", float("inf"))), report(case("one", "failed", 3.0))
    assert compared(before, after).smaller == ()
    assert "inf" not in beside(before, after)


def test_sentences_of_the_diagnosis_come_and_go() -> None:
    before = report(*FAILED_CASES, diagnosis=["causal mask ignored", "fails when dim is odd: 12 of 12 fresh cases"])
    after = report(*FAILED_CASES, diagnosis=["scale ignored"])
    text = beside(before, after)
    assert "\n  no longer: behaves like: causal mask ignored\n  no longer: fails when dim is odd" in text
    assert "\n  now: behaves like: scale ignored" in text


def test_a_worse_verdict_is_worse_at_the_same_level_and_seed_alone() -> None:
    before, after = report(case("one", "skipped", reason="lacks x"), case("two")), report(case("one", "failed"))
    assert compared(before, after).failing == ()
    assert (compared(before, after).word, compared(after, before).word) == ("worse", "better")
    assert compared(before, replace(after, level="thorough")).word == "same"


def test_conventions_bind_nobody_here_either() -> None:
    after = report(*PASSED_CASES, replace(case("other", "failed"), level="convention"))
    assert compared(report(*PASSED_CASES), after).word == "same"


def test_two_kernels_are_compared_where_each_file_has_one_report_of_the_problem_and_class() -> None:
    other = replace(PASSED, kernel="new:kernel")
    assert paired([FAILED], [other]).both == ((FAILED, other),)
    assert "FAILED → PASSED" in beside(FAILED, other)
    assert "my:kernel → new:kernel" in beside(FAILED, other)
    two = paired([FAILED], [other, replace(PASSED, kernel="third:kernel")])
    assert (two.both, len(two.only_before), len(two.only_after)) == ((), 1, 2)
    half = replace(PASSED, precision="bfloat16")
    assert paired([FAILED, half], [half, PASSED]).both == ((FAILED, PASSED), (half, half))


def test_reports_without_a_partner_are_named() -> None:
    half = replace(PASSED, precision="bfloat16")
    pairs = paired([PASSED, half], [PASSED])
    text = to_text([compared(*pair) for pair in pairs.both], pairs, ("a.json", "b.json"))
    assert "\n\nonly in a.json: PASSED my:kernel  attention  bfloat16" in text
    assert text.endswith("a.json → b.json: 1 same of 1 pair of reports")


def test_many_cases_are_counted_and_few_are_named() -> None:
    before, after = (report(*(case(f"c{n}", status) for n in range(9))) for status in ("passed", "failed"))
    assert "fail now: 9 cases: c0; c1; c2; c3; c4; c5; and 3 more" in beside(before, after)


def test_nothing_is_worse_and_better_by_the_same_cases() -> None:
    """Whatever two reports hold, what the one way is mended, the other way fails."""
    random_ = random.Random(5)
    statuses = ("passed", "failed", "declined", "skipped", "outside")
    for _ in range(200):
        one, other = (
            report(*(case(f"c{n}", random_.choice(statuses), reason="no") for n in range(6))) for _ in range(2)
        )
        there, back = compared(one, other), compared(other, one)
        assert isinstance(there, Comparison)
        assert (there.failing, there.lost, there.larger == ()) == (back.mended, back.closed, back.smaller == ())
        assert (there.worse, there.better) == (back.better, back.worse)
        assert (there.fewer, there.more) == (back.more, back.fewer)


# --- files of strangers -----------------------------------------------------------------------------------------------


#: What stands in a file in place of something else.
OTHERS: list[Any] = [None, True, -1, 1e400, "x", [], {}, [[]], {"a": 1}, 10**400, [1, "nan"]]


@pytest.mark.parametrize("seed", range(300))
def test_a_file_that_was_changed_is_refused_in_one_line_or_can_be_told(seed: int) -> None:
    """It is refused where another reader of the schema refuses it, and everywhere else each form of it is written."""
    random_ = random.Random(seed)
    document = json.loads(to_json(FAILED, report(*FAILED_CASES, weights=WEIGHTS)))
    place: Any = document
    while True:
        key = random_.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], (dict, list)) or not place[key] or random_.random() < 0.2:
            break
        place = place[key]
    place[key] = copy.deepcopy(
        random_.choice([None, True, -1, 1e400, "x", [], {}, [[]], {"a": 1}, 10**400, [1, "nan"]])
    )
    text = json.dumps(document)
    valid = jsonschema.Draft202012Validator(report_schema()).is_valid(document)
    valid &= "Infinity" not in text and str(10**400) not in text
    if not valid:
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            from_json(text)
        return
    reports = from_json(text)
    assert to_json(*reports)
    assert to_html(*reports)
    pairs = paired(reports, reports)
    assert to_text([compared(*pair) for pair in pairs.both], pairs, ("a", "b"))
    assert all(one.to_text() and one.to_junit() for one in reports)


def test_every_word_of_the_schema_is_followed() -> None:
    schema = report_schema()
    require(json.loads(to_json(*ALL.values())), schema, schema)
    with pytest.raises(NotImplementedError):
        require(1, {"maximum": 3}, {})
