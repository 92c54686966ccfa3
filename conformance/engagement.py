"""The one door to a judge, from what a caller names to a kernel under judgement, and :func:`check` behind it."""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from assay.conformance.call.isolation import isolated
from assay.conformance.call.outcome import Outcome
from assay.conformance.call.process import Limits
from assay.conformance.call.surroundings import kept_alive
from assay.conformance.interface.suite import DRAWN, LEVELS, Case, suite
from assay.conformance.interface.targets import importable, kernel_of
from assay.conformance.interface.usage import UsageError, did_you_mean
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.level import LAWS, REPEATED, Chosen, Progress, Run
from assay.conformance.report.report import Report
from assay.spec.floating_point import changes
from assay.spec.instances.extra import how_to_install
from assay.spec.precision import Precision
from assay.spec.precision import precision as precision_named
from assay.spec.problem import PROBLEMS

Handed = tuple[tuple[Case, bool], ...]
Engine = Callable[[Callable[[Handed], Any], Iterable[Handed]], Iterator[Any]]

_TOGETHER = 4  # cases that are handed over as one piece of work

__all__ = [
    "check",
    "engaged",
    "require_installed",
    "require_level",
    "require_precision",
    "require_problem",
    "require_seconds",
]

#: How NumPy treats overflows and their like unless somebody says otherwise, so that no ``np.seterr`` of a caller or of
#: a kernel moves a verdict.
_USUAL: Any = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


@contextmanager
def engaged(
    kernel: Any,
    problem: str | None = None,
    precision: str | Precision = "float32",
    *,
    framework: str | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "",
    reproducers: str | Path | None = None,
    limits: Limits | None = None,
    isolate: bool = False,
) -> Iterator[Judge]:
    """A judge of ``kernel`` in one class.  An isolated kernel has its process inside the block.

    The arguments are those of :func:`check`.  Raises :class:`~assay.conformance.interface.usage.UsageError` in one line
    for an argument that names nothing, or does not fit the others.

    >>> with engaged("numpy:attention", "attention", "float64") as judge:
    ...     judge.kernel.problem, judge.precision.name
    ('attention', 'float64')
    """
    limits = limits or Limits()
    if problem is not None:
        require_precision(precision, problem)
    if unusual := changes():
        raise UsageError(f"the floating-point environment {unusual}: expected a kernel that sets its own in its call")
    if not isolate:
        with np.errstate(**_USUAL), kept_alive():
            loaded = kernel_of(kernel, problem, framework=framework, options=options, device=device)
            yield Judge(loaded, require_precision(precision, loaded.problem), options or {}, reproducers, limits=limits)
        return
    with (
        np.errstate(**_USUAL),
        isolated(kernel, problem, framework=framework, options=options, device=device, limits=limits) as process,
    ):
        chosen = require_precision(precision, process.kernel.problem)
        yield Judge(process.kernel, chosen, options or {}, reproducers, limits=limits, process=process)


def require_installed() -> None:
    """Raise :class:`~assay.conformance.interface.usage.UsageError` unless what a level needs is installed."""
    absent = [name for name in ("numba", "hypothesis", "covertable") if not importable(name)]
    if absent:
        raise UsageError(f"{', '.join(absent)} not installed: a check needs them, {how_to_install('check')}")


def require_problem(problem: str) -> None:
    """Raise :class:`~assay.conformance.interface.usage.UsageError` unless there is such a problem."""
    suite(problem)


def require_level(level: str) -> None:
    """Raise :class:`~assay.conformance.interface.usage.UsageError` unless there is such a level."""
    if level not in LEVELS:
        raise UsageError(f"unknown level {level!r}: expected one of {', '.join(LEVELS)}{did_you_mean(level, LEVELS)}")


def require_seconds(seconds: float | None) -> None:
    """Raise :class:`~assay.conformance.interface.usage.UsageError` unless a budget of a level is a positive number."""
    if seconds is not None and not 0.0 < seconds < math.inf:
        raise UsageError(f"seconds {seconds:g}: expected a positive number")


def require_precision(precision: str | Precision, problem: str | None = None) -> Precision:
    """The class of that name among those that make sense for a problem, or for any problem if none is named.

    Raises :class:`~assay.conformance.interface.usage.UsageError` if there is none.
    """
    problems = PROBLEMS if problem is None else (problem,)
    classes = {name: machine for one in problems for name, machine in suite(one).spec.PRECISIONS.items()}
    try:
        return precision_named(precision, classes)
    except ValueError as error:
        raise UsageError(str(error)) from None


def check(
    kernel: Any,
    problem: str | None = None,
    *,
    precision: str | Precision = "float32",
    level: str = "standard",
    seed: int = 0,
    framework: str | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "",
    progress: Progress | None = None,
    reproducers: str | Path | None = None,
    isolate: bool = False,
    call_seconds: float = Limits.seconds,
    memory: int = Limits.memory,
    seconds: float | None = None,
    engine: Engine | None = None,
    chosen: Chosen | None = None,
) -> Report:
    """Judge a kernel against the specification of ``problem``.

    kernel: a callable with the documented signature, a target (``"module:function"``, ``"torch:sdpa"``) or a Kernel.
    problem: what the kernel is to solve.  If it is left out, the names of the kernel's arrays tell it.
    precision: the class of arithmetic that the kernel claims.
    level: ``smoke``, ``standard`` or ``thorough``.
    framework: what kind of arrays a callable takes (default NumPy).
    options: the conventions that the kernel declares.
    device: where the arrays are laid, as the framework names it (``cuda``, ``cuda:1``); empty for its own choice.
    progress: called as ``progress(done, total, sentence)`` between cases.
    reproducers: a folder for failing instances (default ``.assay/failures`` in the project of the current folder).
    isolate: the kernel runs in a process of its own, so that crashes, output on stdout, leaks and hangs that Python
    cannot interrupt become findings.  A callable must be one that can be imported by its name.
    call_seconds: the seconds that one call may take; the first one of a shape may take three times as long.
    memory: the memory that an isolated kernel may take, in MiB beyond what it has when it is loaded.
    seconds: the time after which no new case is taken; a family that had no turn yet has one, for as long again.
    engine: judges the cases of families elsewhere: called as ``map`` is, with a function and pieces of work, it returns
    the results in their order.  ``assay check --scheduler`` passes a cluster of Dask.  The verdict is that of one
    process, but for a kernel that keeps something from one case for the next.
    chosen: what of the level is judged (default all of it), and whether what failed is remembered and tried first.

    The kernel passes if nothing failed and every family that its capabilities allow was judged: ``report.incomplete``
    says which were not.

    The same seed gives the same cases on any machine.  Raises
    :class:`~assay.conformance.interface.usage.UsageError`, a ``ValueError`` of one line.  Where the user interrupts it,
    the exception is a :class:`~assay.conformance.judge.level.Interrupted`, whose ``report`` holds what was found.

    >>> check("assay:cpu", "attention", precision="float64", level="smoke").passed
    True
    """
    require_installed()
    require_level(level)
    require_seconds(seconds)
    limits = Limits(call_seconds, memory)
    with engaged(
        kernel, problem, precision,
        framework=framework, options=options, device=device, reproducers=reproducers, limits=limits, isolate=isolate,
    ) as judge:  # fmt: skip
        elsewhere = None
        if engine is not None:
            arguments: dict[str, Any] = {"framework": framework, "options": options, "device": device}
            arguments |= {"limits": limits, "isolate": isolate}
            judged = functools.partial(_judged, kernel, judge.kernel.problem, judge.precision, arguments)
            elsewhere = functools.partial(_elsewhere, engine, judged)
        chosen = chosen or Chosen()
        _require_chosen(judge, chosen)
        judge.remembering = chosen.remembered
        return Run(judge, level, seed, progress, seconds, chosen=chosen, elsewhere=elsewhere).report()


def _require_chosen(judge: Judge, chosen: Chosen) -> None:
    """Raise ``UsageError`` for a family that the problem does not have, and where nothing is left to judge."""
    known = [*(family.id for family in judge.suite.families), DRAWN.id, REPEATED, LAWS]
    for name in chosen.families or ():
        if name not in known:
            raise UsageError(f"unknown family {name!r} of {judge.kernel.problem}{did_you_mean(name, known)}")
    kernel = judge.kernel
    before = judge.failures.of(kernel.name, kernel.problem, judge.precision.name) if chosen.again else []
    if chosen.again and not any(chosen.families is None or each.family in chosen.families for each in before):
        raise UsageError(f"--again: no failure of {kernel.name} in {judge.precision.name} is remembered")


def _judged(
    kernel: Any, problem: str, precision: Precision, arguments: Mapping[str, Any], handed: Handed
) -> list[tuple[Outcome, float]]:
    """What some cases come to, in a process that has to load the kernel first."""
    found = []
    with engaged(kernel, problem, precision, **arguments) as judge:
        for case, huge_canaries in handed:
            begun = time.monotonic()
            found.append((judge.outcome(case, huge_canaries=huge_canaries), time.monotonic() - begun))
    return found


def _elsewhere(
    engine: Engine, judged: Callable[[Handed], list[tuple[Outcome, float]]], cases: Iterator[tuple[Case, bool]]
) -> Iterator[tuple[Outcome, float]]:
    """What cases come to, in their order, a few in every piece of work."""
    pieces = iter(lambda: tuple(itertools.islice(cases, _TOGETHER)), ())
    return itertools.chain.from_iterable(engine(judged, pieces))
