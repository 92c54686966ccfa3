"""Findings that say the same, as one with a count: 230 exceptions of one sentence are one finding to read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from assay.conformance.report.finding import Finding

__all__ = ["Alike", "alike"]

#: Kinds of findings whose sentence is about numbers: such findings are alike only within one family of inputs.
_NUMERIC = frozenset({"error", "non-finite"})
_LAW = re.compile(r"^under the law .*?\): ")  # what raises everywhere raises in the cases of laws too
_NUMBER = re.compile(r"[-+]?\b(?:\d[\d.]*(?:e[-+]?\d+)?|inf|nan)\b")


@dataclass(frozen=True)
class Alike:
    """Findings that say the same.

    first: the smallest of them, one that was saved before one that was not.  findings: all of them, ``first`` too.
    """

    first: Finding
    findings: tuple[Finding, ...]

    @property
    def count(self) -> int:
        return len(self.findings)

    @property
    def families(self) -> tuple[str, ...]:
        """The families of inputs on which it was found, in the order of the findings."""
        return tuple(dict.fromkeys(finding.family for finding in self.findings))

    @property
    def sentence(self) -> str:
        """The sentence of the first, with the number of all."""
        return self.first.sentence if self.count == 1 else f"in {self.count} cases: {self.first.sentence}"

    @property
    def named(self) -> str:
        """The case of the first, and how many more there are in which families."""
        if self.count == 1:
            return self.first.case
        families = f" in {len(self.families)} families" if len(self.families) > 1 else ""
        return f"{self.first.case}, and {self.count - 1} more{families}"


def alike(findings: Iterable[Finding]) -> tuple[Alike, ...]:
    """Findings by what they say: of one kind, with one sentence but for its numbers.

    Wrong numbers are alike only within one family, since every wrong number is told in the same words.  The groups, and
    the findings of each, keep their order, but for those that were saved: these come first.
    """
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in sorted(findings, key=lambda finding: not finding.reproducer):
        numeric = finding.kind in _NUMERIC
        said = finding.sentence if numeric else _LAW.sub("", finding.sentence)
        key = (finding.kind, finding.family if numeric else "", _NUMBER.sub("#", said))
        groups.setdefault(key, []).append(finding)
    return tuple(Alike(members[0], tuple(members)) for members in groups.values())
