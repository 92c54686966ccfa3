"""The verdict: what was run, what was found, and the same as text, JSON, JUnit XML and HTML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from assay.conformance.report import data, junit, page, text
from assay.conformance.report.coverage import Gap, gaps
from assay.conformance.report.finding import JUDGED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.conformance.report.finding import CaseResult, Finding

__all__ = ["ConformanceError", "Report"]


class ConformanceError(AssertionError):
    """Raised by :meth:`Report.raise_if_failed` unless a kernel passed; its text is the report's."""


@dataclass(frozen=True)
class Report:
    """The judgement of one kernel in one class."""

    kernel: str
    framework: str
    version: str
    problem: str
    precision: str
    level: str
    seed: int
    cases: tuple[CaseResult, ...]
    diagnosis: list[str] = field(default_factory=list)  # best first, empty if passed
    notes: tuple[str, ...] = ()  # determinism observed, conventions seen, retries
    seconds: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> list[Finding]:
        """Findings at level ``must``, the smallest instance first."""
        found = [case.finding for case in self.cases if case.finding is not None and case.level == "must"]
        return sorted(found, key=lambda finding: finding.size)

    @property
    def ran(self) -> int:
        """Cases that were judged."""
        return sum(case.status in JUDGED for case in self.cases)

    @property
    def incomplete(self) -> tuple[Gap, ...]:
        """What never ran of what the kernel should have been judged on: a pass leaves no such gap."""
        return gaps(self.cases)

    @property
    def passed(self) -> bool:
        """No failure, and every family that the kernel's capabilities allow was judged: a pass means coverage."""
        return not self.failures and not self.incomplete

    @property
    def worst_ratio(self) -> float:
        """The largest error / tolerance seen at level ``must``: ≤ 1 for a kernel that passed."""
        return max((case.ratio for case in self.cases if case.level == "must"), default=0.0)

    def raise_if_failed(self) -> None:
        """Raise :class:`ConformanceError` with the text of the report unless it passed."""
        if not self.passed:
            raise ConformanceError(self.to_text())

    def to_text(self, *, colour: bool = False) -> str:
        return text.to_text(self, colour=colour)

    def to_json(self) -> str:
        """JSON of the published schema (``report.schema.json``)."""
        return data.to_json(self)

    def to_junit(self) -> str:
        return junit.to_junit(self)

    def to_html(self) -> str:
        """One self-contained page.  Needs the extra ``report``."""
        return page.to_html(self)
