"""A report, or several, as text for a terminal: what matters most is last, where a reader's eyes are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.conformance.report.alike import alike
from assay.conformance.report.table import table
from assay.conformance.report.words import (
    behaviour,
    facts,
    families,
    family_of,
    headline,
    never_ran,
    not_judged,
    out_of_time,
    ratio,
    verdict,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from assay.conformance.report.alike import Alike
    from assay.conformance.report.report import Report

__all__ = ["missed", "only_known", "summary", "to_text", "verdict_line"]

_SHOWN = 3  # findings
_COLOURS = {"PASSED": "32", "FAILED": "1;31", "INCOMPLETE": "1;33", "INTERRUPTED": "1;33"}
_KNOWN = "KNOWN FAILURES"  # the verdict on a kernel that fails where that is known, and nowhere else
#: The facts of a finding that stand at the end of the report instead, once.
_AT_THE_END = frozenset({"family", "replay"})


def to_text(*reports: Report, colour: bool = False, known: Mapping[str, str] | None = None) -> str:
    """The text for a terminal.

    known: families that are known to fail → why.  Findings of others come first.

    It begins with the families, what was not judged, notes and findings, and ends with the verdict, what never ran, the
    diagnosis, and of the first finding the family and the line that replays it.
    """
    return "\n\n".join(_text(report, colour, known or {}) for report in reports)


def verdict_line(report: Report, *, colour: bool = False, known: Mapping[str, str] | None = None) -> str:
    """One line: verdict, kernel, problem, class, level, seed, and the numbers of cases."""
    word = verdict(report)
    said = _KNOWN if only_known(report, known or {}) else word
    return _painted(said, report, colour and said == word) + headline(report).removeprefix(word)


def only_known(report: Report, known: Mapping[str, str]) -> bool:
    """Whether a report is no pass for families alone of which it is known: they failed, or never ran."""
    families = missed(report)
    return bool(families) and families <= known.keys() and not report.interrupted


def missed(report: Report) -> set[str]:
    """The families that failed or never ran; the level as a whole has no name."""
    return {finding.family for finding in report.failures} | {gap.family for gap in report.incomplete}


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
            ratio(report.worst_ratio),
            f"{report.seconds:.1f}",
        )
        for report in reports
    ]
    top, *lines = table([header, *rows])
    return "\n".join([top, *(_painted(line, report, colour) for line, report in zip(lines, reports, strict=True))])


def _text(report: Report, colour: bool, known: Mapping[str, str]) -> str:
    groups = sorted(alike(report.failures), key=lambda group: known.keys() >= set(group.families))
    if _uncallable(report):  # one finding is as good as all
        return "\n\n".join([*(_finding(1, group) for group in groups[:1]), _end(report, groups, colour, known)])
    parts = [_families(report)] if report.ran and report.level != "replay" else []
    if remarks := [line for line in (not_judged(report), *(f"note: {note}" for note in report.notes)) if line]:
        parts.append("\n".join(remarks))
    shown = _shown(groups)
    parts += [_finding(place, group) for place, group in enumerate(shown, start=1)]
    if hidden := [group for group in groups if group not in shown]:
        parts.append(_hidden(hidden))
    return "\n\n".join([*parts, _end(report, groups, colour, known)])


def _uncallable(report: Report) -> bool:
    """Whether the run ended because the kernel cannot be called as it was."""
    return bool(report.ended and not report.interrupted and not report.diagnosis)


def _end(report: Report, groups: Sequence[Alike], colour: bool, known: Mapping[str, str]) -> str:
    """The last lines of a report."""
    lines = [verdict_line(report, colour=colour, known=known)]
    if known.keys() & missed(report):
        new = sorted(missed(report) - known.keys() - {""})
        lines += [f"not known: {', '.join(new)}"] * bool(new)
    if report.ended and not report.interrupted:
        lines.append(report.ended)
    elif not report.interrupted:
        lines += never_ran(report)
    lines += map(behaviour, report.diagnosis)
    if groups:
        first, others = groups[0].first, len(groups[0].families) - 1
        if others or first.hunts:
            lines.append(f"family: {first.family}, and {others} more" if others else f"family: {family_of(first)}")
        if first.reproducer:
            lines.append(f"replay: {first.reproducer}")
    return "\n".join(lines)


def _painted(line: str, report: Report, colour: bool) -> str:
    if not colour:
        return line
    return f"\x1b[{_COLOURS[verdict(report)]}m{line}\x1b[0m"


def _shown(groups: Sequence[Alike]) -> list[Alike]:
    """A few findings: the first of each family and kind; one that most failures say is among them."""
    chosen: dict[tuple[str, str], Alike] = {}
    for group in groups:
        chosen.setdefault((group.first.family, group.first.kind), group)
    shown = list(chosen.values())[:_SHOWN]
    most = max(groups, key=lambda group: group.count, default=None)
    if most is None or most in shown or 2 * most.count <= sum(group.count for group in groups):
        return shown
    return [*shown[: _SHOWN - 1], most]


def _finding(place: int, group: Alike) -> str:
    told = {"case": group.named, "saved": group.first.instance_path}
    told = {**{name: fact for name, fact in facts(group.first).items() if name not in _AT_THE_END}, **told}
    lines = [f"   {name:<8} {fact}" for name, fact in told.items() if fact]
    return "\n".join([f"{place}. {group.sentence}", *lines])


def _hidden(groups: Sequence[Alike]) -> str:
    """A line on the findings that are not shown, with their number in each family."""
    count = sum(group.count for group in groups)
    named: dict[str, int] = {}
    for group in groups:
        for finding in group.findings:
            named[finding.family] = named.get(finding.family, 0) + 1
    told = ", ".join(f"{family} {number}" for family, number in named.items())
    return f"and {count} more finding{'s' * (count > 1)} ({told}): --json or --html lists every one"


def _families(report: Report) -> str:
    header = ("family", "judged", "failed", "worst", "")
    rows = [
        (row.id, str(row.judged), str(row.failed), row.worst, "" if row.level == "must" else row.level)
        for row in families(report)
        if row.judged
    ]
    return "\n".join(table([header, *rows]))
