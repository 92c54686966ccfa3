"""Run one saved instance again: the reproducer of a finding."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from assay.conformance.call.call import CALL_SECONDS
from assay.conformance.call.isolation import Limits, isolated
from assay.conformance.interface.suite import LAYOUTS, Case, Family
from assay.conformance.interface.targets import UsageError, load
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.level import LEAK_SECONDS
from assay.conformance.report.report import CaseResult, Report
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
    isolate: bool = False,
    call_seconds: float = CALL_SECONDS,
    memory: int = Limits.memory,
) -> Report:
    """Judge ``target`` on the instance saved at ``path``, laid out as ``layout``, among canaries of both kinds.

    after, beside: instances that it is called with before, or by other threads at the same time.
    isolate: in a process of its own, where it is also called again and again to see whether its memory grows.

    Raises :class:`~assay.spec.problem.InvalidInstance` or :class:`~assay.conformance.interface.targets.UsageError` in one line.
    """
    name = problem_of(path)
    if name not in PROBLEMS:
        raise InvalidInstance(f"{path}: an instance of {name!r}, expected one of {', '.join(PROBLEMS)}")
    if layout not in LAYOUTS:
        raise UsageError(f"unknown layout {layout!r}: expected one of {', '.join(LAYOUTS)}")
    load_instance = problem_named(name).Instance.load
    instance, earlier, others = load_instance(path), tuple(map(load_instance, after)), tuple(map(load_instance, beside))
    limits = Limits(call_seconds, memory)
    try:
        chosen = precision_named(precision)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if isolate:
        with isolated(target, name, framework=framework, options=options, limits=limits) as process:
            judge = Judge(process.kernel, name, chosen, options or {}, limits=limits, process=process)
            return _replayed(judge, path, instance, layout, earlier, others)
    kernel = load(target, problem=name, framework=framework, options=options)
    judge = Judge(kernel, name, chosen, options or {}, limits=limits)
    return _replayed(judge, path, instance, layout, earlier, others)


def _replayed(
    judge: Judge, path: str | Path, instance: Any, layout: str, earlier: tuple[Any, ...], others: tuple[Any, ...]
) -> Report:
    unknown = Family("replay", "what was found before", "")
    family = next((each for each in judge.suite.families if each.id == instance.provenance.family), unknown)
    case = Case("replay", family, instance, LAYOUTS[layout], earlier, others)
    begun = time.monotonic()
    outcome = judge.outcome(case)
    if outcome.status == "passed":
        outcome = judge.outcome(case, huge_canaries=True)
    if outcome.status == "passed":
        leak = judge.leak(case, LEAK_SECONDS)
        outcome = leak if leak is not None and leak.failed else outcome
    seconds = time.monotonic() - begun
    finding = None
    diagnosis: list[str] = []
    if outcome.failed:
        finding = judge.finding(case, outcome, str(path))
        diagnosis = judge.diagnosis([(instance, outcome)])
    result = CaseResult("replay", family.id, "must", outcome.status, outcome.ratio, seconds, outcome.sentence, finding)
    return judge.assembled("replay", 0, (result,), diagnosis, outcome.notes, seconds)
