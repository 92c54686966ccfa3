"""What a judgement has not seen: the families that a kernel should have been judged on and was not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.conformance.report.finding import JUDGED, NOT_CALLED_AGAIN, OUT_OF_TIME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from assay.conformance.report.finding import CaseResult

__all__ = ["Gap", "gaps"]


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


def gaps(cases: Sequence[CaseResult]) -> tuple[Gap, ...]:
    """What never ran of what the kernel should have been judged on.

    A family is a gap if none of its cases was judged, and some case was not because the kernel declined it, because
    time had run out, or because the kernel was not called any more.  What was
    judged again because it failed in an earlier run closes no gap.  A case that needs what the kernel says it lacks,
    that cannot be made here, or that is outside of the domain of the class leaves no gap.  The level as a whole is a
    gap if more cases ran out of time than were judged, or if nothing was judged.
    """
    judged = {case.family for case in cases if case.status in JUDGED and not case.again}
    missing: dict[str, list[CaseResult]] = {}
    for case in cases:
        if case.level == "must" and case.family not in judged and _is_missed(case):
            missing.setdefault(case.family, []).append(case)
    found = [
        Gap(family, len(missed), _most_frequent(case.reason for case in missed)) for family, missed in missing.items()
    ]
    ran = sum(case.status in JUDGED for case in cases)
    late = sum(case.reason == OUT_OF_TIME for case in cases)
    if late > ran:
        found.append(Gap("", late, f"{late} cases out of time, {ran} judged: --seconds gives more"))
    if ran == 0 and not found:
        found.append(Gap("", len(cases), "nothing was judged"))
    return tuple(found)


def _is_missed(case: CaseResult) -> bool:
    late = case.reason == OUT_OF_TIME or case.reason.startswith(NOT_CALLED_AGAIN)
    return case.status == "declined" or (case.status == "skipped" and late)


def _most_frequent(reasons: Iterable[str]) -> str:
    return Counter(reasons).most_common(1)[0][0]
