"""A level of one kernel, judged a family at a time, as tests do it: what the families have in common is shared.

The kernel is loaded once, the sizes that it takes are learned once, and the budget of the level is that of all families
together.  A family is judged on the cases that it has in a run of the whole level.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from assay.conformance.interface.suite import COMBINATIONS, DRAWN, LEVELS, OPTIONS
from assay.conformance.judge.level import BUDGETS, LAWS, REPEATED, Chosen, Run
from assay.conformance.judge.sizes import Sizes

if TYPE_CHECKING:
    from assay.conformance.interface.suite import Case, Suite
    from assay.conformance.judge.judge import Judge
    from assay.conformance.report.report import Report

__all__ = ["ByFamily", "family_names"]

_QUARTER = 4
_DIAGNOSIS_SECONDS = 24.0  # the most that a diagnosis takes on a machine that is not busy


def family_names(suite: Suite, level: str) -> tuple[str, ...]:
    """The families that have cases at a level, in the order of the table, then what is judged beside families.

    >>> from assay.conformance.interface.suite import suite
    >>> family_names(suite("rope"), "smoke")[-3:]
    ('drawn', 'repeated', 'laws')
    """
    levels = LEVELS[: LEVELS.index(level) + 1]
    names = [family.id for family, rows in suite.table if any(row.level in levels for row in rows)]
    if suite.covering is not None:
        names += [OPTIONS.id] * (len(levels) > 1) + [COMBINATIONS.id]
    return (*names, DRAWN.id, REPEATED, *([LAWS] if suite.spec.LAWS else []))


@dataclass
class ByFamily:
    """The families of one level for one kernel, each judged when it is asked for.

    budget: seconds after which no new case of any family is taken; those of the level if left out.
    """

    judge: Judge
    level: str
    seed: int
    budget: float | None = None
    used: float = field(init=False, default=0.0)
    sizes: Sizes = field(init=False)
    costly: dict[str, int] = field(init=False, default_factory=dict)
    passes: list[Case] = field(init=False, default_factory=list)
    told: dict[str, None] = field(init=False, default_factory=dict)
    diagnosing: float | None = field(init=False, default=None)  # seconds that are left for diagnoses

    def __post_init__(self) -> None:
        self.sizes = Sizes(self.judge)

    def report(self, family: str, *, left: int = 1) -> Report:
        """Judge one family.

        left: how many families are still to be judged, this one included.  It may take an equal share of the time that
        is left, or a quarter if that is more: most families need little of it.

        The first diagnosis has as long as that of a run has.  Those of further families that fail in another way have
        together as long as the first one took, and where that is used up, a report has none.
        """
        total = BUDGETS[self.level] if self.budget is None else self.budget
        share = max(total - self.used, 0.0) / min(left, _QUARTER)
        run = Run(
            self.judge, self.level, self.seed,
            budget=total, chosen=Chosen((family,)), share=share, told=tuple(self.told),
        )  # fmt: skip
        run.sizes, run.costly, run.passes = self.sizes, self.costly, self.passes
        known = self.judge.explained
        if self.diagnosing is not None:
            self.judge.diagnosing = max(self.diagnosing, 0.0) / _DIAGNOSIS_SECONDS
        report = run.report()
        took = self.judge.explained - known
        if self.diagnosing is not None:
            self.diagnosing -= took
        elif took:
            self.diagnosing = took
        self.used += run.used
        self.told |= dict.fromkeys(report.diagnosis)
        return report
