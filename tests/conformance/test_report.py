"""Reports as text, JSON, JUnit XML and HTML: the last lines say the verdict, and no character breaks a format."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree

import jsonschema  # type: ignore[import-untyped]
import pytest
from reports import (
    ALL,
    EMPTY,
    ERROR,
    FAILED,
    FAILED_CASES,
    NOTHING,
    PASSED,
    PASSED_CASES,
    RAISED,
    REPRODUCER,
    WEIGHTS,
    report,
)

from assay.conformance.report.alike import alike
from assay.conformance.report.data import to_json
from assay.conformance.report.finding import CaseResult
from assay.conformance.report.junit import to_junit
from assay.conformance.report.page import to_html
from assay.conformance.report.reading import from_json
from assay.conformance.report.report import ConformanceError, Report
from assay.conformance.report.text import summary, to_text, verdict_line
from assay.conformance.report.words import families

every_report = pytest.mark.parametrize("each", ALL.values(), ids=ALL.keys())


def test_weights_are_two_heat_maps_without_scripts_and_survive_json() -> None:
    drawn = report(*FAILED_CASES, weights=WEIGHTS)
    page = to_html(drawn)
    assert page.count('<table class="heat">') == 2
    assert "<script" not in page
    assert "queries down, keys across" in page
    jsonschema.validate(json.loads(to_json(drawn)), schema())
    assert from_json(to_json(drawn))[0].weights == WEIGHTS
    assert from_json(to_json(FAILED))[0].weights is None


@pytest.mark.parametrize(
    "sentence",
    [
        "where: only heads 1 are wrong",
        "it rounds like tf32",
        "fails when dim is odd: 12 of 12 fresh cases",
        "weights: hidden keys get weight",
    ],
)
def test_what_is_no_meaning_is_not_called_a_behaviour(sentence: str) -> None:
    text = to_text(report(*FAILED_CASES, diagnosis=[sentence]))
    assert f"\n{sentence}" in text
    assert "behaves like" not in text


# --- text -------------------------------------------------------------------------------------------------------------


def test_the_last_lines_are_verdict_diagnosis_family_and_one_replay_line() -> None:
    assert to_text(PASSED).splitlines()[-1] == verdict_line(PASSED)
    assert verdict_line(PASSED) == (
        "PASSED my:kernel  attention  float32  standard  seed 0   "
        "2 judged, 2 skipped, 1 outside the domain, worst 0.31 tolerances, 12.3 s"
    )
    *_, first, behaves, family, replay = to_text(FAILED).splitlines()
    assert first == verdict_line(FAILED)
    assert first.startswith("FAILED my:kernel  attention  float32  standard  seed 0   6 judged, 3 failed (1 raised, ")
    assert behaves == "behaves like: causal mask aligned bottom-right"
    assert family == "family: causal, made for: a causal mask off by one (seen in example/project#1)"
    assert replay == f"replay: {REPRODUCER}"
    assert to_text(FAILED).count("assay replay ") == 1


def test_what_never_ran_follows_the_verdict() -> None:
    lines = to_text(NOTHING).splitlines()
    assert lines[-2:] == [verdict_line(NOTHING), "never ran: window: 1 case not judged, too long"]


@pytest.mark.parametrize("each", [NOTHING, EMPTY], ids=["declined", "empty"])
def test_nothing_judged_is_said_and_is_no_pass(each: Report) -> None:
    assert not each.passed
    assert verdict_line(each).startswith("INCOMPLETE my:kernel")
    assert verdict_line(each) in to_text(each)
    with pytest.raises(ConformanceError, match="INCOMPLETE"):
        each.raise_if_failed()


@pytest.mark.parametrize(
    ("status", "reason", "complete"),
    [
        ("declined", "no masks", False),
        ("skipped", "time budget", False),
        ("skipped", "not called again: hung 3 times", False),
        ("skipped", "lacks mask", True),
        ("skipped", "layout gap changes nothing: jax copies its arrays", True),
        ("outside", "", True),
    ],
)
def test_a_family_that_never_ran_is_a_gap_unless_the_kernel_cannot_be_asked(
    status: str, reason: str, complete: bool
) -> None:
    made = report(*PASSED_CASES, *(CaseResult(f"mask {n}", "mask", "must", status, reason=reason) for n in range(2)))
    assert made.passed is complete
    assert [(gap.family, gap.cases, gap.reason) for gap in made.incomplete] == [("mask", 2, reason)] * (not complete)


def test_one_judged_case_of_a_family_closes_its_gap() -> None:
    declined = CaseResult("normal 5", "normal", "must", "declined", reason="too long")
    assert report(*PASSED_CASES, declined).passed


def test_a_family_that_binds_nobody_leaves_no_gap() -> None:
    assert report(*PASSED_CASES, CaseResult("other 1", "other", "convention", "declined", reason="no")).passed


def test_a_level_of_which_most_cases_ran_out_of_time_is_incomplete() -> None:
    late = [CaseResult(f"normal {n}", "normal", "must", "skipped", reason="time budget") for n in range(3)]
    assert report(*PASSED_CASES, *late[:2]).passed
    assert [gap.family for gap in report(*PASSED_CASES, *late).incomplete] == [""]
    assert "3 cases out of time, 2 judged: --seconds gives more" in to_text(report(*PASSED_CASES, *late))


def test_a_failure_goes_before_what_never_ran() -> None:
    declined = CaseResult("bias 1", "bias", "must", "declined", reason="no biases")
    text = to_text(report(*FAILED_CASES, declined))
    assert verdict_line(report(*FAILED_CASES, declined)).startswith("FAILED")
    assert "never ran: bias: 1 case not judged, no biases" in text


def test_families_that_never_ran_for_one_reason_are_one_line() -> None:
    reason = "not called again: exited 3 times"
    late = [CaseResult(f"f{n} 1", f"f{n}", "must", "skipped", reason=reason) for n in range(31)]
    other = CaseResult("bias 1", "bias", "must", "declined", reason="no biases")
    lines = [line for line in to_text(report(*PASSED_CASES, *late, other)).splitlines() if "never ran" in line]
    assert lines == [
        f"never ran: 31 families (f0, f1, f2, f3 and 27 more): 31 cases not judged, {reason}",
        "never ran: bias: 1 case not judged, no biases",
    ]


def test_what_was_judged_again_closes_no_gap() -> None:
    declined = CaseResult("bias 1", "bias", "must", "declined", reason="no biases")
    before = CaseResult("again: bias 2", "bias", "must", "passed")
    assert [gap.family for gap in report(*PASSED_CASES, before, declined).incomplete] == ["bias"]


def test_what_failed_without_a_ratio_is_counted_beside_the_worst_error() -> None:
    assert "3 failed (1 raised, 1 non-finite), " in verdict_line(FAILED)
    assert "worst 2.5e+05 tolerances" in verdict_line(FAILED)
    assert re.search(r"^mask +1 +1 +raised$", to_text(FAILED), re.MULTILINE)


def test_failure_tells_input_element_interval_error_family_and_reproducer() -> None:
    text = to_text(FAILED)
    for fact in (
        "behaves like: causal mask aligned bottom-right",
        ERROR.sentence,
        f"input    {ERROR.description}",
        "element  output[0, 0, 1, 2] = 0.5",
        "exact    in [0.25, 0.2500000000000001], tolerance 1e-06",
        "error    2.5e+05 tolerances",
        "wrong    4 of 12 elements: output[0, 0, 1, :]",
        "before   5 of 40 elements: within output[0, 0:2, 1, :] (before the input was made smaller)",
        "saved    /tmp/a/causal.npz",
        "family: causal, made for: a causal mask off by one (seen in example/project#1)",
        f"replay: {REPRODUCER}",
        "not judged: 2 skipped: lacks window (2); 1 outside the domain",
        "note: repeated calls: same bits",
    ):
        assert fact in text
    assert text.index(ERROR.sentence) < text.index(RAISED.sentence)  # the one that can be replayed first


def test_many_sets_of_lacking_capabilities_are_one_line_that_counts_each() -> None:
    lacking = [", ".join(f"c{k}" for k in range(12) if k <= n) for n in range(12)]
    cases = [
        CaseResult(f"w{n}", "window", "must", "skipped", reason=f"lacks {words}") for n, words in enumerate(lacking)
    ]
    (line,) = (line for line in to_text(report(*cases)).splitlines() if "skipped: " in line)
    assert line.startswith("not judged: 12 skipped: lacks c0 (12), c1 (11), c2 (10)")
    assert line.endswith("and 4 more (--json tells of every case)")


def test_all_that_was_not_judged_is_one_line_whose_counts_are_those_of_the_verdict() -> None:
    made = report(
        *PASSED_CASES,
        CaseResult("mask 1", "mask", "must", "declined", reason="no masks"),
        CaseResult("layout 1", "layouts", "must", "skipped", reason="layout gap changes nothing"),
        *(CaseResult(f"normal {n}", "normal", "must", "skipped", reason="time budget") for n in range(2)),
    )
    (line,) = (line for line in to_text(made).splitlines() if line.startswith("not judged"))
    assert line == (
        "not judged: 3 skipped: lacks window (2), layout gap changes nothing (1); 1 declined: no masks (1); "
        "1 outside the domain; 2 OUT OF TIME"
    )
    assert "2 judged, 3 skipped, 1 declined, 1 outside the domain, 2 OUT OF TIME, worst" in verdict_line(made)


def test_the_families_the_list_and_the_verdict_agree_on_how_many_failed() -> None:
    assert "3 failed (1 raised, 1 non-finite), 1 failed that binds nobody" in verdict_line(FAILED)
    rows = families(FAILED)
    assert sum(row.failed for row in rows if row.level == "must") == 3
    assert sum(row.failed for row in rows if row.level != "must") == 1
    assert sum(group.count for group in alike(FAILED.failures)) == 3


def test_where_an_error_has_no_ratio_none_is_printed() -> None:
    exact = replace(ERROR, kind="error", tolerance=0.0, ratio=float("inf"), sentence="output[0] is 3, expected 5")
    text = to_text(report(CaseResult("causal 3x5", "causal", "must", "failed", float("inf"), finding=exact)))
    assert "exact    in [0.25, 0.2500000000000001], no error is allowed there" in text
    for word in ("tolerances,", "worst 2", "tolerance 0", "inf", "worst  inf"):
        assert word not in text
    assert re.search(r"^causal +1 +1  no error allowed$", text, re.MULTILINE)
    assert "1 failed (1 no error allowed)" in text
    assert "inf" not in summary(FAILED)
    assert "inf" not in verdict_line(FAILED)
    assert "inf tolerances" not in to_html(FAILED) + to_junit(FAILED)


def test_two_hundred_and_thirty_equal_findings_are_one_with_a_count() -> None:
    findings = [
        replace(RAISED, sentence=f"raised ValueError: bad shape ({n}, 3)", case=f"c{n}", family=f"f{n % 5}", size=n)
        for n in range(230)
    ]
    lawful = replace(findings[0], sentence="under the law 'scale' (it is linear): raised ValueError: bad shape (7, 3)")
    cases = [CaseResult(f.case, f.family, "must", "failed", float("inf"), finding=f) for f in (*findings, lawful)]
    text = to_text(report(*cases))
    assert "1. in 231 cases: raised ValueError: bad shape (0, 3)" in text
    assert "case     c0, and 230 more in 5 families" in text
    assert "\n2. " not in text
    assert "more finding" not in text
    assert "231 judged, 231 failed" in text
    assert to_html(report(*cases)).count("<article") == 1


def test_wrong_numbers_of_two_families_are_two_findings() -> None:
    other = replace(ERROR, family="mask", case="mask 3")
    assert [group.count for group in alike([ERROR, other, replace(ERROR, case="causal 4")])] == [2, 1]


def test_findings_that_are_not_shown_are_counted_in_their_families() -> None:
    names = ("one", "two", "three", "four", "four", "five")
    made = [replace(ERROR, family=name, case=f"{name} {k}") for k, name in enumerate(names)]
    text = to_text(report(*(CaseResult(f.case, f.family, "must", "failed", 2.0, finding=f) for f in made)))
    assert "\n\nand 3 more findings (four 2, five 1): --json or --html lists every one\n\nFAILED" in text


def test_what_most_findings_say_is_shown() -> None:
    names = ("one", "two", "three", "four", *(f"raised {k}" for k in range(9)))
    made = [replace(ERROR, family=name, case=name) for name in names[:4]]
    made += [
        replace(ERROR, family=name, case=name, kind="raised", sentence="raised TypeError: no") for name in names[4:]
    ]
    text = to_text(report(*(CaseResult(f.case, f.family, "must", "failed", 2.0, finding=f) for f in made)))
    assert "\n\n3. in 9 cases: raised TypeError: no" in text
    assert "\n\nand 2 more findings (three 1, four 1)" in text


def test_unexplained_failure_behaves_like_nothing() -> None:
    text = to_text(report(*FAILED_CASES, diagnosis=["no known wrong semantics matches"]))
    assert "\nno known wrong semantics matches" in text
    assert "behaves like" not in text


def test_few_findings_are_shown_one_of_a_kind() -> None:
    many = [
        CaseResult(f"c{n}", "causal", "must", "failed", 2.0, finding=replace(ERROR, case=f"c{n}")) for n in range(9)
    ]
    text = to_text(report(*many))
    assert f"\n1. in 9 cases: {ERROR.sentence}" in text
    assert "\n2. " not in text
    assert "case     c0, and 8 more\n" in text


def test_running_out_of_time_is_in_the_verdict() -> None:
    late = CaseResult("normal 9", "normal", "must", "skipped", reason="time budget")
    assert "2 skipped, 1 outside the domain, 1 OUT OF TIME, worst" in verdict_line(report(*PASSED_CASES, late))
    assert summary(report(*PASSED_CASES, late)).splitlines()[1].split()[3:7] == ["2", "0", "4", "1"]


def test_families_count_what_was_judged() -> None:
    rows = {row.id: row for row in families(FAILED)}
    assert (rows["normal"].judged, rows["normal"].failed, rows["normal"].worst_ratio) == (2, 0, 0.31)
    assert (rows["causal"].judged, rows["causal"].failed) == (1, 1)
    assert (rows["window"].judged, rows["other"].level) == (0, "convention")


def test_colour_adds_nothing_but_colour() -> None:
    coloured = to_text(PASSED, colour=True)
    assert coloured.splitlines()[-1].startswith("\x1b[32mPASSED\x1b[0m my:kernel")
    assert coloured.replace("\x1b[32m", "").replace("\x1b[0m", "") == to_text(PASSED)


def test_summary_has_one_line_a_report() -> None:
    lines = summary(PASSED, FAILED, NOTHING).splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == ["PASSED", "FAILED", "INCOMPLETE"]
    assert len({line.index("float32") for line in lines[1:]}) == 1


# --- JSON -------------------------------------------------------------------------------------------------------------


def schema() -> Any:
    return json.loads((files("assay.conformance.report") / "report.schema.json").read_text(encoding="utf-8"))


def strict(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@every_report
def test_json_follows_its_schema(each: Report) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    document = strict(each.to_json())
    jsonschema.validate(document, schema(), cls=jsonschema.Draft202012Validator)
    assert document["schema"] == 3
    assert document["passed"] is each.passed
    verdict = document["reports"][0]["verdict"]
    assert verdict["word"] == verdict_line(each).split()[0]
    assert [gap["family"] for gap in verdict["incomplete"]] == [gap.family for gap in each.incomplete]


def test_schema_refuses_what_is_not_in_it() -> None:
    document = strict(to_json(FAILED))
    document["reports"][0]["cases"][0]["ratio"] = "big"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema(), cls=jsonschema.Draft202012Validator)


def test_json_has_infinities_as_strings_and_no_instance() -> None:
    finding = next(
        case["finding"] for case in strict(to_json(FAILED))["reports"][0]["cases"] if case["name"] == "sink 1"
    )
    assert (finding["ratio"], finding["got"]) == ("inf", "nan")
    assert "instance" not in finding
    assert finding["instance_path"] == "/tmp/a/causal.npz"


def test_json_of_several_reports_reads_back() -> None:
    back = from_json(to_json(*ALL.values()))
    assert to_json(*back) == to_json(*ALL.values())
    assert back[0] == PASSED  # findings with NaN never compare equal
    assert to_text(*back) == to_text(*ALL.values())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2, "reports": []}', '{"schema": 3, "reports": [{}]}'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        from_json(text)
    assert "\n" not in str(caught.value)


# --- JUnit ------------------------------------------------------------------------------------------------------------


def test_junit_counts_and_contents() -> None:
    root = ElementTree.fromstring(to_junit(PASSED, FAILED, NOTHING))
    assert [(s.get("tests"), s.get("failures"), s.get("skipped")) for s in root] == [
        ("5", "0", "3"),
        ("9", "3", "3"),
        ("2", "1", "1"),
    ]
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("16", "4", "7")
    failure = root.find(".//testcase[@name='causal 3x5']/failure")
    assert failure is not None
    assert (failure.get("message"), failure.get("type")) == (ERROR.sentence, "error")
    assert REPRODUCER in str(failure.text)
    assert root.find(".//testcase[@name='other 1']/failure") is None  # a convention binds nobody
    gap = root.find(".//testcase[@name='window was judged']/failure")
    assert gap is not None
    assert (gap.get("message"), gap.get("type")) == (
        "INCOMPLETE: never ran: window: 1 case not judged, too long",
        "incomplete",
    )


@every_report
def test_junit_has_valid_characters_only(each: Report) -> None:
    ElementTree.fromstring(each.to_junit())
    assert "\x00" not in each.to_junit()
