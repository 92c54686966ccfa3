"""A report, or several, as JUnit XML."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from assay.conformance.report.words import NOT_JUDGED, behaviour, facts, proved

if TYPE_CHECKING:
    from assay.conformance.report.coverage import Gap
    from assay.conformance.report.finding import CaseResult
    from assay.conformance.report.report import Report

__all__ = ["to_junit"]


def to_junit(*reports: Report) -> str:
    """JUnit XML: a report becomes a test suite, and a case a test case.

    One more case fails for everything that never ran.
    """
    root = ElementTree.Element("testsuites", name="assay")
    root.extend(_suite_element(report) for report in reports)
    for count in ("tests", "failures", "skipped"):
        root.set(count, str(sum(int(element.get(count, "0")) for element in root)))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite_element(report: Report) -> ElementTree.Element:
    cases = [_case_element(report, case) for case in report.cases]
    cases += [_gap_element(report, gap) for gap in report.incomplete if not report.interrupted]
    if report.interrupted:
        cases.append(_interruption_element(report))
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
    run = {"level": report.level, "seed": report.seed, "framework": f"{report.framework} {report.version}".strip()}
    properties.extend(
        _element("property", name=name, value=value) for name, value in (run | dict(report.environment)).items()
    )
    suite.extend(cases)
    remarks = [*filter(None, [proved(report)]), *(behaviour(sentence) for sentence in report.diagnosis), *report.notes]
    if remarks:
        suite.append(_element("system-out", "\n".join(remarks)))
    return suite


def _case_element(report: Report, case: CaseResult) -> ElementTree.Element:
    element = _element(
        "testcase", classname=_class_name(report, case.family), name=case.name, time=f"{case.seconds:.3f}"
    )
    if case.finding is not None:
        lines = "\n".join(f"{name}: {fact}" for name, fact in facts(case.finding).items())
        if case.level == "must":
            element.append(_element("failure", lines, message=case.finding.sentence, type=case.finding.kind))
        else:  # it is reported, but binds nobody
            element.append(_element("system-out", f"{case.level}: {case.finding.sentence}\n{lines}"))
    elif case.status in NOT_JUDGED:
        element.append(_element("skipped", message=case.reason or NOT_JUDGED[case.status]))
    return element


def _gap_element(report: Report, gap: Gap) -> ElementTree.Element:
    """A test case that fails because something never ran."""
    name = f"{gap.family or 'the level'} was judged"
    element = _element("testcase", classname=_class_name(report, gap.family or "level"), name=name, time="0.000")
    element.append(_element("failure", message=f"INCOMPLETE: never ran: {gap.sentence}", type="incomplete"))
    return element


def _interruption_element(report: Report) -> ElementTree.Element:
    """A test case that fails because the user ended the run."""
    element = _element("testcase", classname=_class_name(report, "level"), name="the level was judged", time="0.000")
    element.append(_element("failure", message="INTERRUPTED: the user ended the run", type="interrupted"))
    return element


def _class_name(report: Report, family: str) -> str:
    return f"{report.problem}.{report.kernel}.{report.precision}.{family}"


def _element(tag: str, text: str = "", **attributes: object) -> ElementTree.Element:
    element = ElementTree.Element(tag, {name: _valid(str(value)) for name, value in attributes.items()})
    element.text = _valid(text) or None
    return element


def _valid(text: str) -> str:
    """The text, with a replacement for characters that XML 1.0 does not have."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
