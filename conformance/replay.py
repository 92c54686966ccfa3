"""Judge a kernel on one saved instance again: what the reproducer of a finding does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.conformance.call.process import Limits
from assay.conformance.diagnosis.diagnosis import Diagnosis
from assay.conformance.diagnosis.evidence import Judged
from assay.conformance.engagement import engaged
from assay.conformance.interface.layouts import LAYOUTS
from assay.conformance.interface.suite import Case, Family, suite
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.level import LEAK_SECONDS, assembled
from assay.conformance.report.finding import CaseResult
from assay.conformance.report.report import Report
from assay.conformance.report.script import script
from assay.spec.memory import require_evaluable
from assay.spec.problem import named
from assay.spec.saved import known_problem_of

if TYPE_CHECKING:
    from assay.conformance.judge.judge import Judge

__all__ = ["replay", "script_of"]


def replay(
    path: str | Path,
    target: Any,
    *,
    problem: str | None = None,
    precision: str = "float32",
    layout: str = "contiguous",
    framework: str | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "",
    after: Sequence[str | Path] = (),
    beside: Sequence[str | Path] = (),
    isolate: bool = False,
    call_seconds: float = Limits.seconds,
    memory: int = Limits.memory,
) -> Report:
    """Judge ``target`` on the instance that is saved at ``path``, among canaries of both kinds.

    target: a callable with the documented signature, or the name of a kernel as the command line takes it.
    problem: needed only for a problem of your own, since the file names the problems that are built in.
    layout: how the arrays lie in memory; in C order where it changes nothing for these arrays.
    after, beside: saved instances with which the kernel is called before, or by other threads at the same time.
    isolate: the kernel runs in a process of its own.  There it is also called again and again, to see whether its
    memory grows.
    The other arguments are those of :func:`assay.check`.

    Raises :class:`~assay.spec.problem.InvalidInstance` or :class:`~assay.conformance.interface.usage.UsageError` in one
    line.
    """
    name = problem or known_problem_of(path)
    if layout not in LAYOUTS:
        raise UsageError(f"unknown layout {layout!r}: expected one of {', '.join(LAYOUTS)}")

    def load(one: str | Path) -> Any:
        """The instance in a file, if it can be judged: a kernel of ours would take as much memory as its scores do."""
        instance = suite(name).spec.Instance.load(one)
        with named(one):
            require_evaluable(instance)
        return instance

    case = Case(
        "replay",
        Family("replay", "", ""),
        load(path),
        replace(LAYOUTS[layout], by_the_way=True),  # a small input may lie as it would without it
        tuple(map(load, after)),
        tuple(map(load, beside)),
    )
    limits = Limits(call_seconds, memory)
    with (
        named(path),
        engaged(
            target,
            name,
            precision,
            framework=framework,
            options=options,
            device=device,
            limits=limits,
            isolate=isolate,
        ) as judge,
    ):
        return _replayed(judge, path, case)


def script_of(
    path: str | Path,
    target: Any,
    *,
    problem: str | None = None,
    precision: str = "float32",
    framework: str | None = None,
    options: Mapping[str, Any] | None = None,
    isolate: bool = False,
    call_seconds: float = Limits.seconds,
    memory: int = Limits.memory,
) -> str:
    """A script without assay that shows what :func:`replay` finds: the wrong element beside the certified value.

    It is of plain NumPy, PyTorch or JAX, as the kernel is, and calls it once.  The arguments are those of
    :func:`replay`.

    Raises :class:`~assay.conformance.interface.usage.UsageError` in one line also where the kernel is right, and where
    no such script shows what is wrong.
    """
    name = problem or known_problem_of(path)
    case = Case("replay", Family("replay", "", ""), suite(name).spec.Instance.load(path))
    limits = Limits(call_seconds, memory)
    with engaged(
        target, name, precision, framework=framework, options=options, limits=limits, isolate=isolate
    ) as judge:
        if str(target) in judge.suite.targets and not judge.kernel.plain:
            raise UsageError(
                f"--script: assay calls {target} through code of its own, which no script of a few lines repeats"
            )
        outcome = judge.outcome(case)
        if not outcome.failed:
            raise UsageError(f"--script: there is nothing to show, {target} {outcome.status} on {path}")
        steps = judge.suite.interface.script(case.instance, judge.kernel, judge.precision)
        return script(judge.kernel, judge.framework, steps, case.instance, str(path), outcome)


def _replayed(judge: Judge, path: str | Path, case: Case) -> Report:
    family = next((f for f in judge.suite.families if f.id == case.instance.provenance.family), case.family)
    case = Case(case.name, family, case.instance, case.layout, case.after, case.beside)
    begun = time.monotonic()
    outcome = judge.outcome(case)
    if outcome.status == "passed":
        outcome = judge.outcome(case, huge_canaries=True)
    if outcome.status == "passed":
        leak = judge.leak(case, LEAK_SECONDS)
        outcome = leak if leak is not None and leak.failed else outcome
    seconds = time.monotonic() - begun
    finding = None
    diagnosis = Diagnosis()
    if outcome.failed:
        finding = judge.finding(case, outcome, str(path))
        diagnosis = judge.diagnosis([Judged(case, outcome)])
    result = CaseResult(
        "replay", family.id, "must", outcome.status, outcome.ratio, seconds, outcome.sentence, finding, outcome.proved
    )
    return assembled(judge, "replay", 0, (result,), diagnosis, outcome.notes, seconds)
