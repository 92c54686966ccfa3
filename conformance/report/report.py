"""The verdict: what was run, what was found, and the same as text, JSON, JUnit XML and HTML (see ``render``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OUT_OF_TIME", "CaseResult", "ConformanceError", "Finding", "Report"]

#: The reason of a case that was skipped because its level had used up its time.
OUT_OF_TIME = "time budget"


class ConformanceError(AssertionError):
    """Raised by :meth:`Report.raise_if_failed`; its text is the report's."""


@dataclass(frozen=True)
class Finding:
    """One failure, shrunk where there was time.

    kind: ``error`` (beyond the tolerance), ``non-finite``, ``raised``, ``hung``, ``type``, ``shape``, ``dtype``,
    ``mutated``, ``out-of-bounds``, ``memory``, ``exited`` (it ended the program); of an isolated kernel also
    ``crashed``, ``printed`` (to stdout), ``leak``.
    """

    kind: str
    sentence: str
    case: str
    family: str
    description: str  # shape and options of the shrunk instance, one line
    output: str = ""
    index: tuple[int, ...] | None = None
    got: float | None = None
    interval: tuple[float, float] | None = None  # the certified reference
    tolerance: float | None = None
    ratio: float = float("inf")  # error / tolerance
    size: float = float("inf")  # of the instance, as the suite measures it
    instance: Any = field(default=None, repr=False, compare=False)
    instance_path: str = ""
    reproducer: str = ""  # one shell line
    hunts: str = ""
    source: str = ""


@dataclass(frozen=True)
class CaseResult:
    """What became of one case.

    status: ``passed``, ``failed``, ``skipped`` (the kernel lacks a capability, or time ran out), ``declined`` (the
    kernel said so), ``outside`` (beyond the domain of the class).
    """

    name: str
    family: str
    level: str
    status: str
    ratio: float = 0.0  # largest error / tolerance over the outputs
    seconds: float = 0.0
    reason: str = ""
    finding: Finding | None = None


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
        return sum(case.status in ("passed", "failed") for case in self.cases)

    @property
    def passed(self) -> bool:
        """No failure, and something was judged: a kernel that declines everything has shown nothing."""
        return not self.failures and self.ran > 0

    @property
    def worst_ratio(self) -> float:
        """The largest error / tolerance seen at level ``must``: ≤ 1 for a kernel that passed."""
        return max((case.ratio for case in self.cases if case.level == "must"), default=0.0)

    def raise_if_failed(self) -> None:
        """Raise :class:`ConformanceError` with the text of the report unless it passed."""
        if not self.passed:
            raise ConformanceError(self.to_text())

    def to_text(self, *, colour: bool = False) -> str:
        from assay.conformance.report.render import to_text

        return to_text(self, colour=colour)

    def to_json(self) -> str:
        """JSON of the published schema (``report.schema.json``)."""
        from assay.conformance.report.render import to_json

        return to_json(self)

    def to_junit(self) -> str:
        from assay.conformance.report.render import to_junit

        return to_junit(self)

    def to_html(self) -> str:
        """One self-contained page.  Needs the extra ``report``."""
        from assay.conformance.report.render import to_html

        return to_html(self)
