"""What every form of a report has in common: verdict, counts, facts of findings, and rows of families."""

from __future__ import annotations

import decimal
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.conformance.report.finding import JUDGED, OUT_OF_TIME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from assay.conformance.call.wrong import Wrong
    from assay.conformance.report.coverage import Gap
    from assay.conformance.report.finding import CaseResult, Finding
    from assay.conformance.report.report import Report

__all__ = [
    "NOT_JUDGED",
    "FamilyRow",
    "behaviour",
    "counted",
    "facts",
    "families",
    "family_of",
    "headline",
    "never_ran",
    "not_judged",
    "number",
    "out_of_time",
    "proof",
    "proved",
    "ratio",
    "verdict",
]

#: The statuses of cases that were not judged, in words.
NOT_JUDGED = {"skipped": "skipped", "declined": "declined", "outside": "outside the domain"}

_LATE = "OUT OF TIME"
_LACKS = "lacks "
_NAMED = 4  # families of which one sentence says that they never ran
_REASONS = 8  # that are told of the cases that were not judged; --json has the others
_LONGEST_REASON = 100  # letters

_SAID_AS_IT_IS = (
    "as if", "calls:", "changes", "every", "fails", "it rounds", "lost precision", "no known", "raises", "returns",
    "shape:", "weights:", "where:", "writes",
)  # fmt: skip


@dataclass(frozen=True)
class FamilyRow:
    """The results of one family."""

    id: str
    level: str
    judged: int
    failed: int
    worst_ratio: float
    without_ratio: str = ""  # what the first failure is that has no ratio

    @property
    def worst(self) -> str:
        """The largest error in tolerances, or what there is in its place."""
        return number(self.worst_ratio) if math.isfinite(self.worst_ratio) else self.without_ratio or "-"


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
            without_ratio=next(iter(_without_ratio(cases)), ""),
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


def headline(report: Report) -> str:
    """One line: the verdict, what was judged as what, and :func:`counted`."""
    named = f"{verdict(report)} {report.kernel}  {report.problem}  {report.precision}"
    return f"{named}  {report.level}  seed {report.seed}   {counted(report)}"


def never_ran(report: Report) -> list[str]:
    """A sentence for everything that should have been judged and was not: one for families with the same reason."""
    alike: dict[str, list[Gap]] = {}
    for gap in report.incomplete:
        alike.setdefault(gap.reason, []).append(gap)
    return [f"never ran: {_of_families(gaps)}" for gaps in alike.values()]


def _of_families(gaps: Sequence[Gap]) -> str:
    """Gaps with one reason in words."""
    if len(gaps) == 1:
        return gaps[0].sentence
    named = ", ".join(gap.family for gap in gaps[:_NAMED])
    more = f" and {len(gaps) - _NAMED} more" if len(gaps) > _NAMED else ""
    return f"{len(gaps)} families ({named}{more}): {sum(gap.cases for gap in gaps)} cases not judged, {gaps[0].reason}"


def _without_ratio(cases: Iterable[CaseResult]) -> Counter[str]:
    """What the failures are that have no ratio, with their numbers."""
    found = (case.finding for case in cases if case.finding is not None and math.isinf(case.ratio))
    return Counter("no error allowed" if finding.kind == "error" else finding.kind for finding in found)


def counted(report: Report) -> str:
    """``212 judged, 30 skipped, worst 0.31 tolerances, 12.3 s``.

    The worst is that of the errors that have a ratio.  Failures that have none, as an exception or an error where none
    is allowed, are counted beside those that failed.
    """
    words = [f"{report.ran} judged"]
    if report.failures:
        apart = _without_ratio(case for case in report.cases if case.level == "must")
        told = ", ".join(f"{count} {kind}" for kind, count in apart.items())
        words.append(f"{len(report.failures)} failed{f' ({told})' if told else ''}")
    beside = sum(case.status == "failed" and case.level != "must" for case in report.cases)
    if beside:
        words.append(f"{beside} failed that bind{'s' * (beside == 1)} nobody")
    words += [f"{count} {word}" for word, count in _missed(report).items()]
    ratios = [case.ratio for case in report.cases if case.level == "must" and case.status in JUDGED]
    if finite := [value for value in ratios if math.isfinite(value)]:
        words.append(f"worst {number(max(finite))} tolerances")
    return ", ".join([*words, f"{report.seconds:.1f} s"])


def _missed(report: Report) -> Counter[str]:
    """The number of cases that were not judged, by the word for it, in the order of :data:`NOT_JUDGED`."""
    cases = Counter(_word(case) for case in report.cases if case.status in NOT_JUDGED)
    return Counter({word: cases[word] for word in (*NOT_JUDGED.values(), _LATE) if cases[word]})


def _word(case: CaseResult) -> str:
    return _LATE if case.reason == OUT_OF_TIME else NOT_JUDGED[case.status]


def out_of_time(report: Report) -> int:
    """The number of cases that were skipped because the time of the level had run out."""
    return sum(case.reason == OUT_OF_TIME for case in report.cases)


def not_judged(report: Report) -> str:
    """One line on all that was not judged: how many cases for which reasons, the most frequent first; empty if nothing.

    Of a case that lacks several capabilities each is counted.
    """
    missed = _missed(report)
    if not missed:
        return ""
    parts = []
    for word, count in missed.items():
        reasons = [
            case.reason for case in report.cases if case.status in NOT_JUDGED and _word(case) == word and case.reason
        ]
        parts.append(f"{count} {word}{_because(reasons) if word != _LATE else ''}")
    return f"not judged: {'; '.join(parts)}"


def _because(reasons: Iterable[str]) -> str:
    """The reasons of several cases, each with the number of its cases: first what the kernel lacks."""
    lacking, others = Counter[str](), Counter[str]()
    for reason in reasons:
        if reason.startswith(_LACKS):
            lacking.update(reason.removeprefix(_LACKS).split(", "))
        else:
            others[reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 1]}…"] += 1
    told = [words for words in (_most(lacking, _LACKS), _most(others, "")) if words]
    return f": {', '.join(told)}" if told else ""


def _most(reasons: Counter[str], prefix: str) -> str:
    """The most frequent reasons, and how many more there are."""
    told = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common(_REASONS))
    more = len(reasons) - _REASONS
    return f"{prefix if told else ''}{told}" + (f", and {more} more (--json tells of every case)" if more > 0 else "")


def proof(case: CaseResult) -> str:
    """What is proved of the outputs of a case; empty where nothing is."""
    found = case.proved
    if found is None:
        return ""
    lower, upper = _outward(found.lower, decimal.ROUND_FLOOR), _outward(found.upper, decimal.ROUND_CEILING)
    return f"{found.what} is proved in [{lower}, {upper}], allowed [{found.least:.6g}, {found.most:.6g}]"


def _outward(value: float, rounding: str) -> str:
    """A number with six digits, rounded as an end of an interval must be."""
    return f"{float(decimal.Context(prec=6, rounding=rounding).create_decimal_from_float(value)):.6g}"


def proved(report: Report) -> str:
    """One line on what is proved of the cases that passed, with the one that comes nearest to what is allowed.

    It is empty where the problem proves nothing of an output.
    """
    cases = [case for case in report.cases if case.proved is not None]
    if not cases:
        return ""
    holding = [case for case in cases if case.proved is not None and case.proved.holds]
    told = f"proved of {len(holding)} of {len(cases)} cases"
    if not holding:
        return told
    nearest = max(holding, key=lambda case: 0.0 if case.proved is None else case.proved.share)
    return f"{told}, nearest to the limit {nearest.name}: {proof(nearest)}"


def behaviour(sentence: str) -> str:
    """A sentence of the diagnosis, as reports show it."""
    return sentence if sentence.startswith(_SAID_AS_IT_IS) else f"behaves like: {sentence}"


def family_of(finding: Finding) -> str:
    """The family of a finding: its name, the bug for which its inputs are made, and where that was seen."""
    seen = f" (seen in {finding.source})" if finding.source else ""
    return f"{finding.family}, made for: {finding.hunts}{seen}" if finding.hunts else finding.family


def facts(finding: Finding) -> dict[str, str]:
    """What a report says of a finding, as name → line, without empty lines.

    Where no error is allowed, or nothing was returned, there is no ratio and so no line of it.
    """
    lines = {"input": finding.description, "case": finding.case}
    if finding.index is not None:
        got = "" if finding.got is None else f" = {finding.got!r}"
        place = f"[{', '.join(map(str, finding.index))}]" if finding.index else ""
        lines["element"] = f"{finding.output}{place}{got}"
    allowed = ""
    if finding.tolerance is not None:
        allowed = f", tolerance {finding.tolerance:.3g}" if finding.tolerance else ", no error is allowed there"
    if finding.interval is not None:
        lines["exact"] = f"in [{finding.interval[0]!r}, {finding.interval[1]!r}]{allowed}"
    elif finding.expected:
        lines["expected"] = f"{finding.expected}{allowed}"
    if math.isfinite(finding.ratio):
        lines["error"] = f"{number(finding.ratio)} tolerances"
    lines["wrong"] = _counts(finding.wrong)
    if finding.before:
        lines["before"] = f"{_counts(finding.before)} (before the input was made smaller)"
    lines["family"] = family_of(finding)
    lines["replay"] = finding.reproducer
    return {name: line for name, line in lines.items() if line}


def _counts(parts: Iterable[Wrong]) -> str:
    return "; ".join(wrong.sentence for wrong in parts)


def number(value: float) -> str:
    """A number with three digits."""
    return f"{value:.3g}"


def ratio(value: float) -> str:
    """An error in tolerances with three digits; a dash where it has no ratio."""
    return number(value) if math.isfinite(value) else "-"
