"""What a judgement has not seen: the families that a kernel should have been judged on and was not."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from assay.conformance.report.finding import JUDGED, NOT_CALLED_AGAIN, OUT_OF_TIME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from assay.conformance.report.finding import CaseResult

__all__ = ["Gap", "enough", "gaps", "missing", "rounded_up"]

_LATE = "cases out of time"
_STEPS = ((60.0, 10), (600.0, 30), (math.inf, 300))  # seconds below which a number of them is told to so many


@dataclass(frozen=True)
class Gap:
    """Something that never ran: a family, or more of the level than a pass allows.

    family: its name; empty where the level as a whole is meant.  cases: how many of its cases were not judged.
    reason: the most frequent one.
    """

    family: str
    cases: int
    reason: str

    @property
    def sentence(self) -> str:
        """The gap in words."""
        named = f"{self.family}: {self.cases} case{'s' * (self.cases != 1)} not judged"
        return f"{named}, {self.reason}" if self.family else self.reason

    @property
    def late(self) -> bool:
        """Whether more time is all that it needs."""
        return self.reason.startswith(OUT_OF_TIME) or _LATE in self.reason


def missing(cases: Sequence[CaseResult]) -> float | None:
    """About how many seconds the cases of a run would take that ran out of time; ``None`` where it is not known.

    A case takes as long as those of its family that were judged, or as all that were.
    """
    took: dict[str, list[float]] = {}
    for case in cases:
        if case.status in JUDGED:
            took.setdefault(case.family, []).append(case.seconds)
    whole = [seconds for family in took.values() for seconds in family]
    typical = [took.get(case.family, whole) for case in cases if case.reason == OUT_OF_TIME]
    return sum(sum(alike) / len(alike) for alike in typical) if sum(whole) else None


def enough(cases: Sequence[CaseResult], spent: float = 0.0) -> int:
    """About how many seconds would judge every case of a run; 0 where it is not known.

    spent: the seconds of the run.  What it takes beside its cases grows with them.
    """
    took = sum(case.seconds for case in cases if case.status in JUDGED)
    more = missing(cases)
    return 0 if not more else rounded_up((took + more) * max(1.0, spent / took))


def rounded_up(seconds: float) -> int:
    """Seconds as they are told, a number that is easy to type.

    >>> rounded_up(48.0), rounded_up(96.0), rounded_up(700.0)
    (50, 120, 900)
    """
    step = next(step for most, step in _STEPS if seconds < most)
    return math.ceil(seconds / step) * step


def gaps(cases: Sequence[CaseResult], spent: float = 0.0) -> tuple[Gap, ...]:
    """What never ran of what the kernel should have been judged on.

    A family is a gap if none of its cases was judged, and some case was not because the kernel declined it, because
    time had run out, or because the kernel was not called any more.  What was
    judged again because it failed in an earlier run closes no gap.  A case that needs what the kernel says it lacks,
    that cannot be made here, or that is outside of the domain of the class leaves no gap.  The level as a whole is a
    gap if more cases ran out of time than were judged, or if nothing was judged.

    spent: the seconds of the run, by which it is told how many would do.
    """
    judged = {case.family for case in cases if case.status in JUDGED and not case.again}
    missing: dict[str, list[CaseResult]] = {}
    for case in cases:
        if case.level == "must" and case.family not in judged and _is_missed(case):
            missing.setdefault(case.family, []).append(case)
    found = [
        Gap(family, len(missed), _most_frequent(case.reason for case in missed)) for family, missed in missing.items()
    ]
    seconds = enough(cases, spent)
    more = f"about --seconds {seconds} would judge all" if seconds else ""
    found = [replace(gap, reason=f"{gap.reason}: {more}") if gap.late and more else gap for gap in found]
    ran = sum(case.status in JUDGED for case in cases)
    late = sum(case.reason == OUT_OF_TIME for case in cases)
    if late > ran:
        found.append(Gap("", late, f"{late} {_LATE}, {ran} judged: {more or '--seconds gives more'}"))
    if ran == 0 and not found:
        found.append(Gap("", len(cases), "nothing was judged"))
    return tuple(found)


def _is_missed(case: CaseResult) -> bool:
    late = case.reason == OUT_OF_TIME or case.reason.startswith(NOT_CALLED_AGAIN)
    return case.status == "declined" or (case.status == "skipped" and late)


def _most_frequent(reasons: Iterable[str]) -> str:
    return Counter(reasons).most_common(1)[0][0]
