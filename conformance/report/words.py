"""What every form of a report has in common: verdict, counts, facts of findings, and rows of families."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.conformance.report.finding import JUDGED, OUT_OF_TIME

if TYPE_CHECKING:
    from assay.conformance.report.finding import CaseResult, Finding
    from assay.conformance.report.report import Report

__all__ = [
    "NOT_JUDGED",
    "FamilyRow",
    "behaviour",
    "counted",
    "facts",
    "families",
    "never_ran",
    "not_judged",
    "number",
    "out_of_time",
    "verdict",
]

#: The statuses of cases that were not judged, in words.
NOT_JUDGED = {"skipped": "skipped", "declined": "declined", "outside": "outside the domain"}


_SAID_AS_IT_IS = (
    "as if", "calls:", "changes", "every", "fails", "lost precision", "no known", "raises", "returns", "shape:",
    "weights:", "where:", "writes",
)  # fmt: skip


@dataclass(frozen=True)
class FamilyRow:
    """The results of one family."""

    id: str
    level: str
    judged: int
    failed: int
    worst_ratio: float


def families(report: Report) -> list[FamilyRow]:
    """One row for each family, in the order in which they were judged."""
    grouped: dict[str, list[CaseResult]] = {}
    for case in report.cases:
        grouped.setdefault(case.family, []).append(case)
    return [
        FamilyRow(
            id=name,
            level=cases[0].level,
            judged=sum(case.status in JUDGED for case in cases),
            failed=sum(case.status == "failed" for case in cases),
            worst_ratio=max(case.ratio for case in cases),
        )
        for name, cases in grouped.items()
    ]


def verdict(report: Report) -> str:
    """The verdict in a word."""
    if report.passed:
        return "PASSED"
    if report.interrupted:
        return "INTERRUPTED"
    return "FAILED" if report.failures else "INCOMPLETE"


def never_ran(report: Report) -> list[str]:
    """A sentence for everything that should have been judged and was not."""
    return [f"never ran: {gap.sentence}" for gap in report.incomplete]


def counted(report: Report) -> str:
    """``212 judged, 30 skipped, worst 0.31 tolerances, 12.3 s``."""
    cases = Counter(case.status for case in report.cases)
    words = [f"{report.ran} judged"]
    if report.failures:
        words.append(f"{len(report.failures)} failed")
    late = out_of_time(report)
    cases["skipped"] -= late
    words += [f"{cases[status]} {word}" for status, word in NOT_JUDGED.items() if cases[status]]
    if late:
        words.append(f"{late} OUT OF TIME")
    if report.ran:
        words.append(f"worst {number(report.worst_ratio)} tolerances")
    return ", ".join([*words, f"{report.seconds:.1f} s"])


def out_of_time(report: Report) -> int:
    """The number of cases that were skipped because the time of the level had run out."""
    return sum(case.reason == OUT_OF_TIME for case in report.cases)


def behaviour(sentence: str) -> str:
    """A sentence of the diagnosis, as reports show it."""
    return sentence if sentence.startswith(_SAID_AS_IT_IS) else f"behaves like: {sentence}"


def facts(finding: Finding) -> dict[str, str]:
    """What a report says of a finding, as name → line, without empty lines."""
    lines = {"input": finding.description, "case": f"{finding.case} (family {finding.family})"}
    if finding.index is not None:
        got = "" if finding.got is None else f" = {finding.got!r}"
        place = f"[{', '.join(map(str, finding.index))}]" if finding.index else ""
        lines["element"] = f"{finding.output}{place}{got}"
    allowed = "" if finding.tolerance is None else f", tolerance {finding.tolerance:.3g}"
    if finding.interval is not None:
        lines["exact"] = f"in [{finding.interval[0]!r}, {finding.interval[1]!r}]{allowed}"
        lines["error"] = f"{number(finding.ratio)} tolerances"
    elif finding.expected:
        lines["expected"] = f"{finding.expected}{allowed}"
        lines["error"] = f"{number(finding.ratio)} tolerances"
    seen = f" (seen in {finding.source})" if finding.source else ""
    lines["hunts"] = f"{finding.hunts}{seen}" if finding.hunts else ""
    lines["replay"] = finding.reproducer
    return {name: line for name, line in lines.items() if line}


def not_judged(report: Report) -> Counter[tuple[str, str]]:
    """The (status, reason) of the cases that were not judged, each with the number of its cases."""
    return Counter((case.status, case.reason) for case in report.cases if case.reason and case.finding is None)


def number(value: float) -> str:
    """A number with three digits."""
    return f"{value:.3g}"
