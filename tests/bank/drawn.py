"""What Hypothesis draws at a level for a kernel that can do everything: made once, and judged for many kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis

from assay.conformance.judge.drawn import drawn_cases
from assay.conformance.judge.level import EXAMPLES

if TYPE_CHECKING:
    from assay.conformance.interface.suite import Case, Suite
    from assay.spec.precision import Precision

__all__ = ["drawn"]


def drawn(suite: Suite, precision: Precision, level: str, seed: int) -> list[Case]:
    """The cases that are drawn for a class at a level, the same for one seed."""
    cases: list[Case] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=EXAMPLES[level],
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.generate,),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(drawn_cases(suite, precision, frozenset(c.name for c in suite.interface.capabilities)))
    def collect(case: Case) -> None:
        cases.append(case)

    collect()
    return cases
