"""Run one saved instance again: the reproducer of a finding."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from assay.conformance.judge import Judge
from assay.conformance.report import CaseResult, Report
from assay.conformance.suite import LAYOUTS, Case, Family
from assay.conformance.targets import UsageError, load
from assay.spec.precision import precision as precision_named
from assay.spec.problem import PROBLEMS, InvalidInstance
from assay.spec.problem import problem as problem_named
from assay.spec.storage import problem_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["replay"]


def replay(
    path: str | Path,
    target: str,
    *,
    precision: str = "float32",
    layout: str = "contiguous",
    framework: str | None = None,
    options: Mapping[str, Any] | None = None,
    after: Sequence[str | Path] = (),
    beside: Sequence[str | Path] = (),
) -> Report:
    """Judge ``target`` on the instance saved at ``path``, laid out as ``layout``, among canaries of both kinds.

    after, beside: instances that it is called with before, or by other threads at the same time.

    Raises :class:`~assay.spec.problem.InvalidInstance` or :class:`~assay.conformance.targets.UsageError` in one line.
    """
    name = problem_of(path)
    if name not in PROBLEMS:
        raise InvalidInstance(f"{path}: an instance of {name!r}, expected one of {', '.join(PROBLEMS)}")
    if layout not in LAYOUTS:
        raise UsageError(f"unknown layout {layout!r}: expected one of {', '.join(LAYOUTS)}")
    load_instance = problem_named(name).Instance.load
    instance = load_instance(path)
    kernel = load(target, problem=name, framework=framework, options=options)
    try:
        judge = Judge(kernel, name, precision_named(precision), options=options or {})
    except ValueError as error:
        raise UsageError(str(error)) from None
    unknown = Family("replay", "what was found before", "")
    family = next((each for each in judge.suite.families if each.id == instance.provenance.family), unknown)
    case = Case(
        "replay", family, instance, LAYOUTS[layout], tuple(map(load_instance, after)), tuple(map(load_instance, beside))
    )
    begun = time.monotonic()
    outcome = judge.outcome(case)
    if outcome.status == "passed":
        outcome = judge.outcome(case, huge_canaries=True)
    seconds = time.monotonic() - begun
    finding = None
    diagnosis: list[str] = []
    if outcome.failed:
        finding = judge.finding(case, outcome, str(path))
        diagnosis = judge.diagnosis([(instance, outcome)])
    result = CaseResult("replay", family.id, "must", outcome.status, outcome.ratio, seconds, outcome.sentence, finding)
    return judge.assembled("replay", 0, (result,), diagnosis, outcome.notes, seconds)
