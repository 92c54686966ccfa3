"""A report, or several, as text for a terminal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from assay.conformance.report.table import table
from assay.conformance.report.words import (
    behaviour,
    counted,
    facts,
    families,
    never_ran,
    not_judged,
    number,
    out_of_time,
    verdict,
)

if TYPE_CHECKING:
    from assay.conformance.report.finding import Finding
    from assay.conformance.report.report import Report

__all__ = ["summary", "to_text"]

_SHOWN_FINDINGS = 3
_SHOWN_REASONS = 8  # of which cases were skipped because the kernel lacks something
_LACKS = "lacks "
_COLOURS = {"PASSED": "32", "FAILED": "1;31", "INCOMPLETE": "1;33", "INTERRUPTED": "1;33"}


def to_text(*reports: Report, colour: bool = False) -> str:
    """The text for a terminal: verdict, what never ran, diagnosis, findings, families, skipped cases, and notes."""
    return "\n\n".join(_text(report, colour) for report in reports)


def summary(*reports: Report, colour: bool = False) -> str:
    """One line for each report: verdict, kernel, class, cases, worst error in tolerances, seconds."""
    header = ("", "kernel", "class", "judged", "failed", "not judged", "out of time", "worst", "seconds")
    rows = [
        (
            verdict(report),
            report.kernel,
            report.precision,
            str(report.ran),
            str(len(report.failures)),
            str(len(report.cases) - report.ran),
            str(out_of_time(report)),
            number(report.worst_ratio),
            f"{report.seconds:.1f}",
        )
        for report in reports
    ]
    top, *lines = table([header, *rows])
    return "\n".join([top, *(_painted(line, report, colour) for line, report in zip(lines, reports, strict=True))])


def _text(report: Report, colour: bool) -> str:
    parts = [_first(report, colour)]
    if report.ended and not report.interrupted:
        parts.append(report.ended)
        if not report.diagnosis:  # the kernel cannot be called as it was: one finding is as good as all
            return "\n\n".join([*parts, *(_finding(1, finding) for finding in _shown(report)[:1])])
    if report.incomplete and not report.interrupted:
        parts.append("\n".join(never_ran(report)))
    if report.diagnosis:
        parts.append("\n".join(behaviour(sentence) for sentence in report.diagnosis))
    parts += [_finding(number, finding) for number, finding in enumerate(_shown(report), start=1)]
    hidden = len(report.failures) - len(_shown(report))
    if hidden > 0:
        parts.append(f"and {hidden} more findings: --json or --html lists every one")
    if report.ran:
        parts.append(_families_text(report))
    remarks = [*_not_judged_text(report), *(f"note: {note}" for note in report.notes)]
    if remarks:
        parts.append("\n".join(remarks))
    return "\n\n".join(parts)


def _not_judged_text(report: Report) -> list[str]:
    """A line a reason; many sets of lacking capabilities are one line, with the cases that need each capability."""
    reasons = not_judged(report)
    lacking = {key: count for key, count in reasons.items() if key[1].startswith(_LACKS)}
    if len(lacking) <= _SHOWN_REASONS:
        lacking = {}
    lines = [
        f"{status} {count}: {reason}"
        for (status, reason), count in reasons.most_common()
        if (status, reason) not in lacking
    ]
    if not lacking:
        return lines
    needed = Counter[str]()
    for (_, reason), count in lacking.items():
        needed.update(dict.fromkeys(reason.removeprefix(_LACKS).split(", "), count))
    shown = ", ".join(f"{name} ({count})" for name, count in needed.most_common(_SHOWN_REASONS))
    more = (
        f", and {len(needed) - _SHOWN_REASONS} more: --json tells of every case" if len(needed) > _SHOWN_REASONS else ""
    )
    return [f"skipped {sum(lacking.values())}: lacks {shown}{more}", *lines]


def _first(report: Report, colour: bool) -> str:
    named = f"{_painted(verdict(report), report, colour)} {report.kernel}  {report.problem}  {report.precision}"
    return f"{named}  {report.level}  seed {report.seed}   {counted(report)}"


def _painted(line: str, report: Report, colour: bool) -> str:
    if not colour:
        return line
    return f"\x1b[{_COLOURS[verdict(report)]}m{line}\x1b[0m"


def _shown(report: Report) -> list[Finding]:
    """A few findings: the first of each family and kind, and before all others those that were shrunk and saved."""
    chosen: dict[tuple[str, str], Finding] = {}
    for finding in sorted(report.failures, key=lambda finding: not finding.reproducer):
        chosen.setdefault((finding.family, finding.kind), finding)
    return list(chosen.values())[:_SHOWN_FINDINGS]


def _finding(number: int, finding: Finding) -> str:
    lines = [f"   {name:<8} {fact}" for name, fact in facts(finding).items()]
    return "\n".join([f"{number}. {finding.sentence}", *lines])


def _families_text(report: Report) -> str:
    header = ("family", "judged", "failed", "worst", "")
    rows = [
        (row.id, str(row.judged), str(row.failed), number(row.worst_ratio), "" if row.level == "must" else row.level)
        for row in families(report)
        if row.judged
    ]
    return "\n".join(table([header, *rows]))
