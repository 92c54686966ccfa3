"""Reports as text, JSON, JUnit XML and HTML: the first line says the verdict, and no character breaks a format."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree

import jsonschema  # type: ignore[import-untyped]
import pytest

from assay.conformance.interface.usage import UsageError
from assay.conformance.report.data import to_json
from assay.conformance.report.finding import CaseResult, Finding
from assay.conformance.report.heatmap import Heatmap
from assay.conformance.report.junit import to_junit
from assay.conformance.report.page import to_html
from assay.conformance.report.reading import from_json
from assay.conformance.report.report import ConformanceError, Report
from assay.conformance.report.text import summary, to_text
from assay.conformance.report.words import families

REPRODUCER = "assay replay /tmp/a/causal.npz --target my:kernel --precision float32"

ERROR = Finding(
    kind="error",
    sentence="output[0, 0, 1, 2] is 0.5, the exact value 0.25 (tolerance 1e-06): off by 2.5e+05 tolerances",
    case="causal 3x5",
    family="causal",
    description="batch 1, heads 1, 3 queries, 5 keys, dim 2, float32, causal top-left",
    output="output",
    index=(0, 0, 1, 2),
    got=0.5,
    interval=(0.25, 0.2500000000000001),
    tolerance=1e-6,
    ratio=2.5e5,
    instance=object(),
    instance_path="/tmp/a/causal.npz",
    reproducer=REPRODUCER,
    hunts="a causal mask off by one",
    source="example/project#1",
)
RAISED = Finding(
    "raised", "raised ValueError: <b>\x00\ud800 & 'no' ]]>", "mask 1", "mask", "batch 1", hunts="a mask inverted"
)
INFINITE = replace(
    ERROR, kind="non-finite", case="sink 1", family="sink", got=float("nan"), ratio=float("inf"), reproducer=""
)

PASSED_CASES = (
    CaseResult("normal 3", "normal", "must", "passed", 0.31, 0.01),
    CaseResult("normal 4", "normal", "must", "passed", 0.25, 0.01),
    CaseResult("window 4", "window", "must", "skipped", reason="lacks window"),
    CaseResult("window 5", "window", "must", "skipped", reason="lacks window"),
    CaseResult("huge 1", "huge", "must", "outside"),
)
FAILED_CASES = (
    CaseResult("causal 3x5", "causal", "must", "failed", 2.5e5, 0.2, finding=ERROR),
    CaseResult("mask 1", "mask", "must", "failed", float("inf"), 0.2, finding=RAISED),
    CaseResult("sink 1", "sink", "must", "failed", float("inf"), 0.2, finding=INFINITE),
    CaseResult("other 1", "other", "convention", "failed", 2.0, 0.2, finding=replace(ERROR, family="other", ratio=2.0)),
)


def report(*cases: CaseResult, **changes: Any) -> Report:
    made = Report("my:kernel", "numpy", "2.0", "attention", "float32", "standard", 0, cases, seconds=12.34)
    return replace(made, environment={"python": "3.11"}, notes=("repeated calls: same bits",), **changes)


PASSED = report(*PASSED_CASES)
FAILED = report(*PASSED_CASES, *FAILED_CASES, diagnosis=["causal mask aligned bottom-right"])
NOTHING = report(CaseResult("window 4", "window", "must", "declined", reason="too long"))
EMPTY = report()
ALL = {"passed": PASSED, "failed": FAILED, "nothing": NOTHING, "empty": EMPTY}

every_report = pytest.mark.parametrize("each", ALL.values(), ids=ALL.keys())


WEIGHTS = Heatmap("causal 3x5: batch 1; batch 0, heads 0", "queries", "keys", (0, 2), ((0.5, 0.5),), ((1.0, 0.0),))


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
    ["where: only heads 1 are wrong", "fails when dim is odd: 12 of 12 fresh cases", "weights: hidden keys get weight"],
)
def test_what_is_no_meaning_is_not_called_a_behaviour(sentence: str) -> None:
    text = to_text(report(*FAILED_CASES, diagnosis=[sentence]))
    assert f"\n{sentence}" in text
    assert "behaves like" not in text


# --- text -------------------------------------------------------------------------------------------------------------


def test_first_line_is_the_verdict() -> None:
    assert to_text(PASSED).splitlines()[0] == (
        "PASSED my:kernel  attention  float32  standard  seed 0   "
        "2 judged, 2 skipped, 1 outside the domain, worst 0.31 tolerances, 12.3 s"
    )
    assert to_text(FAILED).startswith("FAILED my:kernel")
    assert "6 judged, 3 failed" in to_text(FAILED).splitlines()[0]


@pytest.mark.parametrize("each", [NOTHING, EMPTY], ids=["declined", "empty"])
def test_nothing_judged_is_said_and_is_no_pass(each: Report) -> None:
    assert not each.passed
    assert to_text(each).startswith("INCOMPLETE my:kernel")
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
    assert text.startswith("FAILED")
    assert "never ran: bias: 1 case not judged, no biases" in text


def test_failure_tells_input_element_interval_error_hunt_and_reproducer() -> None:
    text = to_text(FAILED)
    for fact in (
        "behaves like: causal mask aligned bottom-right",
        ERROR.sentence,
        f"input    {ERROR.description}",
        "element  output[0, 0, 1, 2] = 0.5",
        "exact    in [0.25, 0.2500000000000001], tolerance 1e-06",
        "error    2.5e+05 tolerances",
        "hunts    a causal mask off by one (seen in example/project#1)",
        f"replay   {REPRODUCER}",
        "skipped 2: lacks window",
        "note: repeated calls: same bits",
    ):
        assert fact in text
    assert text.index(ERROR.sentence) < text.index(RAISED.sentence)  # the one that can be replayed first


def test_many_sets_of_lacking_capabilities_are_one_line_that_counts_each() -> None:
    lacking = [", ".join(f"c{k}" for k in range(12) if k <= n) for n in range(12)]
    cases = [
        CaseResult(f"w{n}", "window", "must", "skipped", reason=f"lacks {words}") for n, words in enumerate(lacking)
    ]
    (line,) = (line for line in to_text(report(*cases)).splitlines() if line.startswith("skipped"))
    assert line.startswith("skipped 12: lacks c0 (12), c1 (11), c2 (10)")
    assert line.endswith("and 4 more: --json tells of every case")
    few = to_text(report(*cases[:8])).splitlines()
    assert "skipped 1: lacks c0, c1" in few


def test_unexplained_failure_behaves_like_nothing() -> None:
    text = to_text(report(*FAILED_CASES, diagnosis=["no known wrong semantics matches"]))
    assert "\nno known wrong semantics matches" in text
    assert "behaves like" not in text


def test_few_findings_are_shown_one_of_a_kind() -> None:
    many = [
        CaseResult(f"c{n}", "causal", "must", "failed", 2.0, finding=replace(ERROR, case=f"c{n}")) for n in range(9)
    ]
    text = to_text(report(*many))
    assert "\n1. " in text
    assert "\n2. " not in text
    assert "and 8 more findings" in text


def test_running_out_of_time_is_in_the_first_line() -> None:
    late = CaseResult("normal 9", "normal", "must", "skipped", reason="time budget")
    assert (
        "2 skipped, 1 outside the domain, 1 OUT OF TIME, worst" in to_text(report(*PASSED_CASES, late)).splitlines()[0]
    )
    assert summary(report(*PASSED_CASES, late)).splitlines()[1].split()[3:7] == ["2", "0", "4", "1"]


def test_families_count_what_was_judged() -> None:
    rows = {row.id: row for row in families(FAILED)}
    assert (rows["normal"].judged, rows["normal"].failed, rows["normal"].worst_ratio) == (2, 0, 0.31)
    assert (rows["causal"].judged, rows["causal"].failed) == (1, 1)
    assert (rows["window"].judged, rows["other"].level) == (0, "convention")


def test_colour_adds_nothing_but_colour() -> None:
    coloured = to_text(PASSED, colour=True)
    assert coloured.startswith("\x1b[32mPASSED\x1b[0m")
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
    assert document["schema"] == 2
    assert document["passed"] is each.passed
    verdict = document["reports"][0]["verdict"]
    assert verdict["word"] == to_text(each).split()[0]
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


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1, "reports": []}', '{"schema": 2, "reports": [{}]}'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        from_json(text)
    assert "\n" not in str(caught.value)


# --- JUnit and HTML ---------------------------------------------------------------------------------------------------


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


class Page(HTMLParser):
    """Counts tags, and what would be loaded from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attributes if name in ("src", "href")]


@every_report
def test_html_is_one_page_that_loads_nothing(each: Report) -> None:
    page = Page(each.to_html())
    assert page.tags.count("section") == 1
    assert all(link.startswith("#") for link in page.links)
    assert not {"script", "link", "img"} & set(page.tags)


def test_html_escapes_what_kernels_say() -> None:
    text = to_html(FAILED)
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    assert REPRODUCER in text


def test_html_of_several_reports() -> None:
    page = Page(to_html(*ALL.values()))
    assert page.tags.count("section") == 4
    assert page.links == [f"#report-{number}" for number in range(1, 5)]


def test_html_without_jinja2_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match=r"^--html needs jinja2: pip install -e '\.\[report\]'"):
        to_html(PASSED)
