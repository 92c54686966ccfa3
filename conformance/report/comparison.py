"""Two reports of one problem and class beside each other: what became better, and what became worse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.conformance.report.finding import AGAIN, JUDGED
from assay.conformance.report.words import behaviour, families, headline, ratio, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from assay.conformance.report.finding import CaseResult
    from assay.conformance.report.report import Report

__all__ = ["Comparison", "Pairs", "compared", "paired", "to_text"]

_SHOWN = 6  # cases and families that are named
_LARGER = 2.0  # times the worst error of a family, from which on that is told
_SMALL = 0.01  # tolerances, below which an error is not worth a word
_VERDICTS = ("PASSED", "INTERRUPTED", "INCOMPLETE", "FAILED")
_Key = tuple[str, str, int]


@dataclass(frozen=True)
class Comparison:
    """What two reports say of the same cases.

    failing, mended: cases that fail now and did not before, and the reverse, by name.  A case that was not judged
    before, or is not judged now, is among neither, but for one that fails now and did not exist, at the same level and
    seed.  A case that only one of the runs tried again, because it had failed, is beside the level's own of that name.
    fewer, more: the numbers of cases that were judged only before, and only now.
    lost, closed: the families, or the level as a whole, that never ran now, or before.
    larger, smaller: (family, worst error before, now), in tolerances, where these differ at least by a factor of two.
    gone, new: sentences of the diagnosis that are only in the first, or only in the second.
    """

    before: Report
    after: Report
    failing: tuple[str, ...]
    mended: tuple[str, ...]
    fewer: int
    more: int
    lost: tuple[str, ...]
    closed: tuple[str, ...]
    larger: tuple[tuple[str, float, float], ...]
    smaller: tuple[tuple[str, float, float], ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """Whether some case fails now that did not, some family never ran now that did, or the verdict is a worse one.

        Sizes of errors decide nothing: within its tolerance every error is right.  Nor do verdicts of unlike levels.
        """
        return bool(self.failing or self.lost) or self._fall > 0

    @property
    def better(self) -> bool:
        """Whether some case is mended, some family ran now that did not, or the verdict is a better one."""
        return bool(self.mended or self.closed) or self._fall < 0

    @property
    def _fall(self) -> int:
        """By how much the verdict is worse now; 0 where the two are of unlike levels or seeds."""
        ranks = [_VERDICTS.index(verdict(report)) for report in (self.before, self.after)]
        return ranks[1] - ranks[0] if _run(self.before) == _run(self.after) else 0

    @property
    def word(self) -> str:
        """``worse``, ``better``, both, or ``same``."""
        words = [word for word, so in (("better", self.better), ("worse", self.worse)) if so]
        return " and ".join(words) or "same"


def compared(before: Report, after: Report) -> Comparison:
    """Compare two reports of one problem and class."""
    earlier, later = _cases(before), _cases(after)
    same_cases = _run(before) == _run(after)
    failing = _once(
        later,
        lambda case, key: _fails(case) and (same_cases if (was := _beside(earlier, key)) is None else _passes(was)),
    )
    mended = _once(earlier, lambda case, key: _fails(case) and _passes(_beside(later, key)))
    was, now = _judged(earlier), _judged(later)
    gaps_before, gaps_after = ([gap.family or "the level" for gap in one.incomplete] for one in (before, after))
    errors = _errors(before, after)
    return Comparison(
        before=before,
        after=after,
        failing=tuple(later[key].name for key in failing),
        mended=tuple(earlier[key].name for key in mended),
        fewer=sum(_beside(now, key) is None for key in was),
        more=sum(_beside(was, key) is None for key in now),
        lost=tuple(name for name in gaps_after if name not in gaps_before),
        closed=tuple(name for name in gaps_before if name not in gaps_after),
        larger=tuple(error for error in errors if error[2] > error[1]),
        smaller=tuple(error for error in errors if error[2] < error[1]),
        gone=tuple(sentence for sentence in before.diagnosis if sentence not in after.diagnosis),
        new=tuple(sentence for sentence in after.diagnosis if sentence not in before.diagnosis),
    )


@dataclass(frozen=True)
class Pairs:
    """Reports of two files that belong together, and those that have no partner."""

    both: tuple[tuple[Report, Report], ...]
    only_before: tuple[Report, ...]
    only_after: tuple[Report, ...]


def paired(before: Sequence[Report], after: Sequence[Report]) -> Pairs:
    """Reports of one kernel, problem and class; then those of one problem and class, of which each file has one left.

    So two kernels can be compared with each other.
    """
    both, left, right = [], list(before), list(after)
    for name in (_whole_name, _short_name):
        for report in list(left):
            mine = [other for other in left if name(other) == name(report)]
            others = [other for other in right if name(other) == name(report)]
            if len(mine) == len(others) == 1:
                both.append((report, others[0]))
                left.remove(report)
                right.remove(others[0])
    return Pairs(tuple(both), tuple(left), tuple(right))


def _whole_name(report: Report) -> tuple[str, ...]:
    return report.kernel, report.problem, report.precision


def _short_name(report: Report) -> tuple[str, ...]:
    return report.problem, report.precision


def _cases(report: Report) -> dict[_Key, CaseResult]:
    """The cases of families that bind, by family, name, and place among those of one name."""
    cases: dict[_Key, CaseResult] = {}
    for case in report.cases:
        if case.level == "must":
            place = 0
            while (case.family, case.name, place) in cases:
                place += 1
            cases[case.family, case.name, place] = case
    return cases


def _otherwise(key: _Key) -> _Key:
    """The key of the case of the level that a case was again, and the reverse."""
    family, name, place = key
    return family, name.removeprefix(AGAIN) if name.startswith(AGAIN) else f"{AGAIN}{name}", place


def _beside(cases: Mapping[_Key, CaseResult], key: _Key) -> CaseResult | None:
    """The case that another run's is compared with: that of its name, or else the one that it was again, or again is.

    What failed in the first of two runs is remembered, so that only the second tries it again.
    """
    return cases.get(key) or cases.get(_otherwise(key))


def _once(cases: Mapping[_Key, CaseResult], holds: Callable[[CaseResult, _Key], bool]) -> list[_Key]:
    """The keys of the cases of which something holds; of one that was also tried again only its own."""
    found = [key for key, case in cases.items() if holds(case, key)]
    return [key for key in found if not (cases[key].again and _otherwise(key) in found)]


def _run(report: Report) -> tuple[str, int]:
    """What says which cases there are."""
    return report.level, report.seed


def _fails(case: CaseResult) -> bool:
    return case.status == "failed"


def _passes(case: CaseResult | None) -> bool:
    return case is not None and case.status == "passed"


def _judged(cases: Mapping[_Key, CaseResult]) -> dict[_Key, CaseResult]:
    return {key: case for key, case in cases.items() if case.status in JUDGED}


def _errors(before: Report, after: Report) -> list[tuple[str, float, float]]:
    """The families whose worst errors differ, with these, where both are numbers."""
    was = {row.id: row.worst_ratio for row in families(before) if row.judged}
    now = {row.id: row.worst_ratio for row in families(after) if row.judged}
    found = []
    for name in now:
        if name in was and math.isfinite(was[name]) and math.isfinite(now[name]):
            less, most = sorted((was[name], now[name]))
            if most > _SMALL and most >= _LARGER * less:
                found.append((name, was[name], now[name]))
    return found


# --- text -------------------------------------------------------------------------------------------------------------


def to_text(comparisons: Sequence[Comparison], pairs: Pairs, names: tuple[str, str]) -> str:
    """What became of each pair, and last how many became better and worse.

    names: of the two files.
    """
    parts = ["\n".join(_lines(comparison)) for comparison in comparisons]
    alone = [
        f"only in {name}: {headline(report)}"
        for name, reports in zip(names, (pairs.only_before, pairs.only_after), strict=True)
        for report in reports
    ]
    counts = {
        word: sum(one.word == word for one in comparisons) for word in ("worse", "better and worse", "better", "same")
    }
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    end = f"{names[0]} → {names[1]}: {told} of {len(comparisons)} pair{'s' * (len(comparisons) != 1)} of reports"
    return "\n\n".join([*parts, *(["\n".join(alone)] if alone else []), end])


def _lines(comparison: Comparison) -> list[str]:
    before, after = comparison.before, comparison.after
    kernel = after.kernel if after.kernel == before.kernel else f"{before.kernel} → {after.kernel}"
    verdicts = dict.fromkeys((verdict(before), verdict(after)))
    lines = [f"{comparison.word}: {kernel}  {after.problem}  {after.precision}  {' → '.join(verdicts)}"]
    runs = [f"{report.level} seed {report.seed}" for report in (before, after)]
    if runs[0] != runs[1]:
        lines.append(f"  {runs[0]} beside {runs[1]}: only cases of both are compared")
    told = {
        "fail now": _named(comparison.failing),
        "mended": _named(comparison.mended),
        "never ran now": ", ".join(comparison.lost),
        "never ran before": ", ".join(comparison.closed),
        "larger errors": _errors_named(comparison.larger),
        "smaller errors": _errors_named(comparison.smaller),
    }
    lines += [f"  {name}: {words}" for name, words in told.items() if words]
    if comparison.fewer or comparison.more:
        lines.append(f"  judged only before: {comparison.fewer} cases, only now: {comparison.more}")
    lines += [f"  no longer: {behaviour(sentence)}" for sentence in comparison.gone]
    lines += [f"  now: {behaviour(sentence)}" for sentence in comparison.new]
    return lines


def _named(cases: Sequence[str]) -> str:
    """The number of cases and the first of their names."""
    if not cases:
        return ""
    more = f"; and {len(cases) - _SHOWN} more" if len(cases) > _SHOWN else ""
    return f"{len(cases)} case{'s' * (len(cases) != 1)}: {'; '.join(cases[:_SHOWN])}{more}"


def _errors_named(errors: Iterable[tuple[str, float, float]]) -> str:
    """The families of the largest changes, with their worst errors in tolerances."""
    ordered = sorted(errors, key=lambda error: -abs(math.log(max(error[1], 1e-300) / max(error[2], 1e-300))))
    more = f", and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(f"{name} {ratio(was)} → {ratio(now)}" for name, was, now in ordered[:_SHOWN]) + more
