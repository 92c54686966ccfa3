"""Run one saved instance again: the reproducer of a finding."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from assay.conformance.judge import Judge
from assay.conformance.report import CaseResult, Report
from assay.conformance.suite import Case, Family
from assay.conformance.targets import load
from assay.spec.precision import precision as precision_named
from assay.spec.problem import problem as problem_named
from assay.spec.storage import problem_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["replay"]


def replay(
    path: str | Path,
    target: str,
    *,
    precision: str = "float32",
    framework: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Report:
    """Judge ``target`` on the instance saved at ``path``.  Raises ``InvalidInstance`` or ``UsageError`` in one line."""
    name = problem_of(path)
    instance = problem_named(name).Instance.load(path)
    kernel = load(target, problem=name, framework=framework, options=options)
    judge = Judge(kernel, name, precision_named(precision), options=options or {})
    case = Case("replay", Family("replay", "what was found before", str(path)), instance)
    begun = time.monotonic()
    outcome = judge.outcome(case)
    seconds = time.monotonic() - begun
    finding = None
    diagnosis: list[str] = []
    if outcome.failed:
        finding = judge.finding(case, outcome, str(path))
        diagnosis = judge.diagnosis([(instance, outcome)])
    result = CaseResult("replay", "replay", "must", outcome.status, outcome.ratio, seconds, outcome.sentence, finding)
    return judge.assembled("replay", 0, (result,), diagnosis, outcome.notes, seconds)
