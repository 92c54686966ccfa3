"""The report of a judgement: what was run and what failed, as text, JSON, JUnit XML and HTML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from assay.conformance.report import data, junit, page, text, words
from assay.conformance.report.coverage import Gap, gaps
from assay.conformance.report.finding import INTERRUPTED, JUDGED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.conformance.report.finding import AboutFamily, CaseResult, Finding
    from assay.conformance.report.heatmap import Heatmap

__all__ = ["ConformanceError", "Report"]


class ConformanceError(AssertionError):
    """A kernel did not pass.  :meth:`Report.raise_if_failed` raises it, with the text of the report."""


@dataclass(frozen=True)
class Report:
    """The judgement of one kernel in one class.

    cases: the result of every case.
    diagnosis: sentences on what a failed kernel behaves like, the best first.
    notes: what was observed and is no failure.
    seconds: how long it took.
    environment: the versions of what took part, and the machine.
    ended: why the run ended before its level was done, ``interrupted`` where the user ended it; empty if it did not.
    date: when it ended, as ISO 8601 in UTC.
    command: the command line that asked for it; empty if a program did.
    families: what the families of its cases are about, by name.
    """

    kernel: str
    framework: str
    version: str
    problem: str
    precision: str
    level: str
    seed: int
    cases: tuple[CaseResult, ...]
    diagnosis: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)
    date: str = ""
    command: str = ""
    families: Mapping[str, AboutFamily] = field(default_factory=dict)
    weights: Heatmap | None = None  # those that a kernel used that is linear in its values, where they are wrong
    ended: str = ""

    @property
    def failures(self) -> list[Finding]:
        """The findings of families at level ``must``, the smallest instance first."""
        findings = [case.finding for case in self.cases if case.finding is not None and case.level == "must"]
        return sorted(findings, key=lambda finding: finding.size)

    @property
    def ran(self) -> int:
        """The number of cases that were judged."""
        return sum(case.status in JUDGED for case in self.cases)

    @property
    def incomplete(self) -> tuple[Gap, ...]:
        """What never ran of what the kernel should have been judged on: a pass leaves no such gap."""
        return gaps(
            self.cases, self.seconds if not self.failures else 0.0
        )  # shrinking and diagnosing them take time too

    @property
    def interrupted(self) -> bool:
        """Whether the user ended the run: what was found until then is here."""
        return self.ended == INTERRUPTED

    @property
    def passed(self) -> bool:
        """Whether nothing failed and every family that the kernel's capabilities allow was judged, to the end."""
        return not self.failures and not self.incomplete and not self.interrupted

    @property
    def worst_ratio(self) -> float:
        """The largest error / tolerance of families at level ``must``.  It is at most 1 if the kernel passed."""
        return max((case.ratio for case in self.cases if case.level == "must"), default=0.0)

    def raise_if_failed(self) -> None:
        """Raise :class:`ConformanceError`, with the verdict and the text of the report, unless the kernel passed."""
        if not self.passed:
            raise ConformanceError(f"{words.headline(self)}\n\n{self.to_text()}")

    def to_text(self, *, colour: bool = False) -> str:
        """Text for a terminal."""
        return text.to_text(self, colour=colour)

    def to_json(self) -> str:
        """JSON of the published schema, ``report.schema.json``."""
        return data.to_json(self)

    def to_junit(self) -> str:
        """JUnit XML."""
        return junit.to_junit(self)

    def to_html(self) -> str:
        """One self-contained page of HTML.  It needs the extra ``report``."""
        return page.to_html(self)
