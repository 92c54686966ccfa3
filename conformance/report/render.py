"""A report, or several, as text, JSON, JUnit XML and HTML: pure functions of :class:`~assay.conformance.report.Report`.

The JSON follows ``report.schema.json`` beside this file and is strict: infinities and NaN are the strings ``"inf"``,
``"-inf"`` and ``"nan"``.  Instances are not in it, only the paths where they were saved.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree

from assay.conformance.interface.targets import UsageError
from assay.conformance.report.report import OUT_OF_TIME, CaseResult, Finding, Report

__all__ = [
    "SCHEMA_VERSION",
    "FamilyRow",
    "families",
    "from_json",
    "summary",
    "table",
    "to_html",
    "to_json",
    "to_junit",
    "to_text",
]

SCHEMA_VERSION = 1
_SHOWN_FINDINGS = 3
_OTHER_STATUSES = {"skipped": "skipped", "declined": "declined", "outside": "outside the domain"}


@dataclass(frozen=True)
class FamilyRow:
    """What became of the cases of one family."""

    id: str
    level: str
    judged: int
    failed: int
    worst_ratio: float


def families(report: Report) -> list[FamilyRow]:
    """One row a family, in the order in which they were judged."""
    grouped: dict[str, list[CaseResult]] = {}
    for case in report.cases:
        grouped.setdefault(case.family, []).append(case)
    return [
        FamilyRow(
            id=name,
            level=cases[0].level,
            judged=sum(case.status in ("passed", "failed") for case in cases),
            failed=sum(case.status == "failed" for case in cases),
            worst_ratio=max(case.ratio for case in cases),
        )
        for name, cases in grouped.items()
    ]


# --- text -------------------------------------------------------------------------------------------------------------


def to_text(*reports: Report, colour: bool = False) -> str:
    """What a terminal shows: the verdict in one line, then diagnosis, findings, families, what was skipped, notes."""
    return "\n\n".join(_text(report, colour) for report in reports)


def summary(*reports: Report, colour: bool = False) -> str:
    """One line a report: verdict, kernel, class, cases, worst error in tolerances, seconds."""
    header = ("", "kernel", "class", "judged", "failed", "not judged", "out of time", "worst", "seconds")
    rows = [
        (
            _word(report),
            report.kernel,
            report.precision,
            str(report.ran),
            str(len(report.failures)),
            str(len(report.cases) - report.ran),
            str(_out_of_time(report)),
            _number(report.worst_ratio),
            f"{report.seconds:.1f}",
        )
        for report in reports
    ]
    top, *lines = table([header, *rows])
    return "\n".join([top, *(_painted(line, report, colour) for line, report in zip(lines, reports, strict=True))])


def _text(report: Report, colour: bool) -> str:
    parts = [_verdict(report, colour)]
    if report.diagnosis:
        parts.append("\n".join(_behaviour(sentence) for sentence in report.diagnosis))
    parts += [_finding(number, finding) for number, finding in enumerate(_shown(report), start=1)]
    hidden = len(report.failures) - len(_shown(report))
    if hidden > 0:
        parts.append(f"and {hidden} more findings: --json or --html lists every one")
    if report.ran:
        parts.append(_families_text(report))
    remarks = [f"{status} {count}: {reason}" for (status, reason), count in _not_judged(report).most_common()]
    remarks += [f"note: {note}" for note in report.notes]
    if remarks:
        parts.append("\n".join(remarks))
    return "\n\n".join(parts)


def _verdict(report: Report, colour: bool) -> str:
    named = f"{_painted(_word(report), report, colour)} {report.kernel}  {report.problem}  {report.precision}"
    return f"{named}  {report.level}  seed {report.seed}   {_counted(report)}"


def _counted(report: Report) -> str:
    """``212 judged, 30 skipped, worst 0.31 tolerances, 12.3 s``."""
    number = Counter(case.status for case in report.cases)
    words = [f"{report.ran} judged"]
    if report.failures:
        words.append(f"{len(report.failures)} failed")
    late = _out_of_time(report)
    number["skipped"] -= late
    words += [f"{number[status]} {word}" for status, word in _OTHER_STATUSES.items() if number[status]]
    if late:
        words.append(f"{late} OUT OF TIME")
    if report.ran:
        words.append(f"worst {_number(report.worst_ratio)} tolerances")
    return ", ".join([*words, f"{report.seconds:.1f} s"])


def _out_of_time(report: Report) -> int:
    return sum(case.reason == OUT_OF_TIME for case in report.cases)


def _word(report: Report) -> str:
    if report.passed:
        return "PASSED"
    return "FAILED" if report.failures else "NOTHING JUDGED"


def _painted(line: str, report: Report, colour: bool) -> str:
    if not colour:
        return line
    return f"\x1b[{'32' if report.passed else '1;31'}m{line}\x1b[0m"


def _behaviour(sentence: str) -> str:
    return sentence if sentence.startswith(("no known", "lost precision")) else f"behaves like: {sentence}"


def _shown(report: Report) -> list[Finding]:
    """A few findings worth reading: the worst of each family and kind, those first that were shrunk and saved."""
    chosen: dict[tuple[str, str], Finding] = {}
    for finding in sorted(report.failures, key=lambda finding: not finding.reproducer):
        chosen.setdefault((finding.family, finding.kind), finding)
    return list(chosen.values())[:_SHOWN_FINDINGS]


def _facts(finding: Finding) -> dict[str, str]:
    """What there is to say of a finding, by name; the empty ones left out."""
    facts = {"input": finding.description, "case": f"{finding.case} (family {finding.family})"}
    if finding.index is not None:
        got = "" if finding.got is None else f" = {finding.got!r}"
        facts["element"] = f"{finding.output}[{', '.join(map(str, finding.index))}]{got}"
    if finding.interval is not None:
        allowed = "" if finding.tolerance is None else f", tolerance {finding.tolerance:.3g}"
        facts["exact"] = f"in [{finding.interval[0]!r}, {finding.interval[1]!r}]{allowed}"
        facts["error"] = f"{_number(finding.ratio)} tolerances"
    seen = f" (seen in {finding.source})" if finding.source else ""
    facts["hunts"] = f"{finding.hunts}{seen}" if finding.hunts else ""
    facts["replay"] = finding.reproducer
    return {name: fact for name, fact in facts.items() if fact}


def _finding(number: int, finding: Finding) -> str:
    lines = [f"   {name:<8} {fact}" for name, fact in _facts(finding).items()]
    return "\n".join([f"{number}. {finding.sentence}", *lines])


def _families_text(report: Report) -> str:
    header = ("family", "judged", "failed", "worst", "")
    rows = [
        (row.id, str(row.judged), str(row.failed), _number(row.worst_ratio), "" if row.level == "must" else row.level)
        for row in families(report)
        if row.judged
    ]
    return "\n".join(table([header, *rows]))


def _not_judged(report: Report) -> Counter[tuple[str, str]]:
    return Counter((case.status, case.reason) for case in report.cases if case.reason and case.finding is None)


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns aligned: numbers (and the headings over them) to the right, words to the left."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [all(_NUMERIC.match(cell) for cell in column[1:]) for column in columns]
    lines = (
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        for row in rows
    )
    return [line.rstrip() for line in lines]


_NUMERIC = re.compile(r"^(-?[\d.]+(e[+-]?\d+)?|inf|nan)$")


def _number(value: float) -> str:
    return f"{value:.3g}"


# --- JSON -------------------------------------------------------------------------------------------------------------


def to_json(*reports: Report) -> str:
    """Strict JSON of the published schema (``report.schema.json``, ``"schema": 1``)."""
    document = {
        "schema": SCHEMA_VERSION,
        "passed": _all_passed(reports),
        "reports": [_report_data(report) for report in reports],
    }
    return json.dumps(document, allow_nan=False, indent=1) + "\n"


def from_json(text: str) -> tuple[Report, ...]:
    """The reports that :func:`to_json` wrote, without instances.  Raises ``ValueError`` for anything else."""
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA_VERSION:
            raise ValueError(f"schema {document['schema']!r}, expected {SCHEMA_VERSION}")
        return tuple(_report_of(data) for data in document["reports"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a report of assay ({type(error).__name__}: {error})") from None


def _all_passed(reports: Sequence[Report]) -> bool:
    return bool(reports) and all(report.passed for report in reports)


def _report_data(report: Report) -> dict[str, Any]:
    data = _fields(report)
    data["verdict"] = {"passed": report.passed, "judged": report.ran, "worst_ratio": report.worst_ratio}
    data["cases"] = [_case_data(case) for case in report.cases]
    return _strict(data)  # type: ignore[no-any-return]


def _case_data(case: CaseResult) -> dict[str, Any]:
    data = _fields(case)
    if case.finding is not None:
        data["finding"] = _fields(case.finding)
        del data["finding"]["instance"]
    return data


def _fields(record: Any) -> dict[str, Any]:
    return {item.name: getattr(record, item.name) for item in dataclasses.fields(record)}


def _strict(value: Any) -> Any:
    """The same with numbers that JSON lacks as strings."""
    if isinstance(value, Mapping):
        return {key: _strict(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _report_of(data: dict[str, Any]) -> Report:
    fields = {name: value for name, value in data.items() if name != "verdict"}
    fields["cases"] = tuple(_case_of(case) for case in data["cases"])
    fields["notes"] = tuple(data["notes"])
    return Report(**fields)


def _case_of(data: dict[str, Any]) -> CaseResult:
    finding = data["finding"]
    return CaseResult(
        **{**data, "ratio": float(data["ratio"]), "finding": None if finding is None else _finding_of(finding)}
    )


def _finding_of(data: dict[str, Any]) -> Finding:
    def number(name: str) -> float | None:
        return None if data[name] is None else float(data[name])

    return Finding(
        **{
            **data,
            "index": None if data["index"] is None else tuple(data["index"]),
            "interval": None if data["interval"] is None else tuple(map(float, data["interval"])),
            "got": number("got"),
            "tolerance": number("tolerance"),
            "ratio": float(data["ratio"]),
            "size": float(data["size"]),
        }
    )


# --- JUnit XML --------------------------------------------------------------------------------------------------------


def to_junit(*reports: Report) -> str:
    """JUnit XML: a test suite a report, a test case a case, and one that fails where nothing was judged."""
    root = ElementTree.Element("testsuites", name="assay")
    root.extend(_suite_element(report) for report in reports)
    for count in ("tests", "failures", "skipped"):
        root.set(count, str(sum(int(element.get(count, "0")) for element in root)))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite_element(report: Report) -> ElementTree.Element:
    cases = [_case_element(report, case) for case in report.cases]
    if not report.passed and not report.failures:
        cases.append(_nothing_judged_element(report))
    suite = _element(
        "testsuite",
        name=f"{report.kernel} {report.problem} {report.precision}",
        tests=len(cases),
        failures=sum(case.find("failure") is not None for case in cases),
        errors=0,
        skipped=sum(case.find("skipped") is not None for case in cases),
        time=f"{report.seconds:.3f}",
    )
    properties = ElementTree.SubElement(suite, "properties")
    told = {"level": report.level, "seed": report.seed, "framework": f"{report.framework} {report.version}".strip()}
    properties.extend(
        _element("property", name=name, value=value) for name, value in (told | dict(report.environment)).items()
    )
    suite.extend(cases)
    remarks = [*(_behaviour(sentence) for sentence in report.diagnosis), *report.notes]
    if remarks:
        suite.append(_element("system-out", "\n".join(remarks)))
    return suite


def _case_element(report: Report, case: CaseResult) -> ElementTree.Element:
    element = _element(
        "testcase", classname=_class_name(report, case.family), name=case.name, time=f"{case.seconds:.3f}"
    )
    if case.finding is not None:
        told = "\n".join(f"{name}: {fact}" for name, fact in _facts(case.finding).items())
        if case.level == "must":
            element.append(_element("failure", told, message=case.finding.sentence, type=case.finding.kind))
        else:  # seen, but binding on nobody
            element.append(_element("system-out", f"{case.level}: {case.finding.sentence}\n{told}"))
    elif case.status in _OTHER_STATUSES:
        element.append(_element("skipped", message=case.reason or _OTHER_STATUSES[case.status]))
    return element


def _nothing_judged_element(report: Report) -> ElementTree.Element:
    element = _element("testcase", classname=_class_name(report, "judged"), name="something was judged", time="0.000")
    element.append(_element("failure", message="NOTHING JUDGED", type="nothing-judged"))
    return element


def _class_name(report: Report, family: str) -> str:
    return f"{report.problem}.{report.kernel}.{report.precision}.{family}"


def _element(tag: str, text: str = "", **attributes: object) -> ElementTree.Element:
    element = ElementTree.Element(tag, {name: _valid(str(value)) for name, value in attributes.items()})
    element.text = _valid(text) or None
    return element


def _valid(text: str) -> str:
    """Characters that XML 1.0 does not have, replaced."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


# --- HTML -------------------------------------------------------------------------------------------------------------


def to_html(*reports: Report) -> str:
    """One self-contained page.  Raises :class:`~assay.conformance.interface.targets.UsageError` where jinja2 is not installed."""
    try:
        import jinja2
    except ModuleNotFoundError:
        raise UsageError("--html needs jinja2: pip install 'assay[report]'") from None
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    helpers: dict[str, Callable[..., Any]] = {
        "word": _word,
        "counted": _counted,
        "behaviour": _behaviour,
        "facts": _facts,
        "families": families,
        "not_judged": lambda report: _not_judged(report).most_common(),
        "number": _number,
        "share": _share,
    }
    template = environment.from_string((files("assay.conformance.report") / "report.html").read_text(encoding="utf-8"))
    page: str = template.render(reports=reports, passed=_all_passed(reports), **helpers)
    return page


def _share(ratio: float) -> int:
    """How long a bar for an error is, in percent: the whole for a tolerance and beyond."""
    return 100 if math.isnan(ratio) else round(100 * min(ratio, 1.0))
