"""The judge: one kernel in one class; verdicts, findings, a report.

Knows no problem: everything it needs of one is its :class:`~assay.conformance.suite.Suite` and its spec module.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis import diagnose
from assay.conformance.frameworks import Framework
from assay.conformance.frameworks import framework as framework_named
from assay.conformance.isolation import Isolated, Limits, isolated
from assay.conformance.level import Progress, Run
from assay.conformance.recall import digest
from assay.conformance.report import CaseResult, Finding, Report
from assay.conformance.suite import LEVELS, Case, Layout, Suite
from assay.conformance.suite import suite as suite_of
from assay.conformance.targets import UsageError, load, wrap
from assay.conformance.trial import CALL_SECONDS, Outcome, lacking, run
from assay.spec.precision import Precision
from assay.spec.precision import precision as precision_named
from assay.spec.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.conformance.kernel import Kernel
    from assay.conformance.trial import Reference

__all__ = ["Judge", "check"]


def check(
    kernel: Any,
    problem: str = PROBLEMS[0],
    *,
    precision: str | Precision = "float32",
    level: str = "standard",
    seed: int = 0,
    framework: str | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    reproducers: str | Path | None = None,
    isolate: bool = False,
    call_seconds: float = CALL_SECONDS,
    memory: int = Limits.memory,
) -> Report:
    """Judge a kernel against the specification of ``problem``.

    kernel: a callable with the documented signature, a target (``"module:function"``, ``"torch:sdpa"``) or a Kernel.
    precision: the class of arithmetic that it claims; level: ``smoke``, ``standard`` or ``thorough``.
    framework: what kind of arrays a callable takes (default NumPy).  options: conventions that it declares.
    progress: called as (done, total, sentence) between cases.  reproducers: a folder for failing instances.
    isolate: run the kernel in a process of its own (a callable must be one that can be imported by its name): crashes,
    output on stdout, leaks and hangs that Python cannot interrupt become findings.
    call_seconds: the limit of one call; memory: that of an isolated kernel, in MiB beyond what it has when loaded.

    Same seed, same cases, on any machine.  Raises :class:`~assay.conformance.targets.UsageError`, a ``ValueError``
    of one line.

    >>> check("assay:cpu", precision="float64", level="smoke").passed
    True
    """
    if problem not in PROBLEMS:
        raise UsageError(f"unknown problem {problem!r}: expected one of {', '.join(PROBLEMS)}")
    if level not in LEVELS:
        raise UsageError(f"unknown level {level!r}: expected one of {', '.join(LEVELS)}")
    try:
        chosen = precision_named(precision)
    except ValueError as error:
        raise UsageError(str(error)) from None
    limits = Limits(call_seconds, memory)
    if isolate:
        with isolated(kernel, problem, framework=framework, options=options, limits=limits) as process:
            judge = Judge(process.kernel, problem, chosen, options or {}, reproducers, limits=limits, process=process)
            return judge.report(level, seed, progress)
    if isinstance(kernel, str):
        loaded = load(kernel, problem=problem, framework=framework, options=options)
    else:
        loaded = wrap(kernel, problem=problem, framework=framework, options=options)
    judge = Judge(loaded, problem, chosen, options=options or {}, reproducers=reproducers, limits=limits)
    return judge.report(level, seed, progress)


@dataclass
class Judge:
    """One kernel, one class: judges cases one by one, or a whole level."""

    kernel: Kernel
    problem: str
    precision: Precision
    options: Mapping[str, Any] = field(default_factory=dict)
    reproducers: str | Path | None = None
    references: dict[Any, Reference] | None = None  # kept here where given: judges of many kernels share one
    limits: Limits = field(default_factory=Limits)
    process: Isolated | None = None  # where the kernel runs, if not here
    suite: Suite = field(init=False)
    framework: Framework = field(init=False)

    def __post_init__(self) -> None:
        self.suite = suite_of(self.problem)
        if self.reproducers is not None:  # now, not after an hour
            try:
                Path(self.reproducers).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"{self.reproducers}: cannot be made a folder ({error.strerror})") from None
        if self.process is not None:
            self.framework = self.process.framework
            return
        try:
            self.framework = framework_named(self.kernel.framework)
        except ImportError as error:
            raise UsageError(
                f"{self.kernel.name}: framework {self.kernel.framework!r} is not available ({error})"
            ) from None

    # --- one case -------------------------------------------------------------------------------------------------

    def reference(self, instance: Any) -> Reference:
        """Enclosure and tolerance of every output of an instance."""
        return self._reference(instance, self.precision)

    def _reference(self, instance: Any, precision: Precision) -> Reference:
        if self.references is None:
            return self.suite.reference(instance, self.kernel, precision)
        key = (precision, tuple(sorted(self.kernel.conventions.items())), digest(instance))
        if key not in self.references:
            self.references[key] = self.suite.reference(instance, self.kernel, precision)
        return self.references[key]

    def outcome(
        self, case: Case, reference: Reference | None = None, *, huge_canaries: bool = False, held: bool = False
    ) -> Outcome:
        """Run one case.  ``reference`` may come from another judge of the same class and conventions.

        ``held``: look also whether the kernel keeps its inputs.
        """
        reason = lacking(self.kernel, self.suite.needs(case.instance), self.suite)
        if reason:
            return Outcome("skipped", sentence=reason)
        if reference is None:
            reference = self.reference(case.instance)
        known = (case.instance, self.precision, self.suite, reference, case.layout)
        if self.process is not None:
            return self.process.outcome(*known, huge_canaries=huge_canaries, held=held)
        return run(
            self.kernel,
            self.framework,
            *known,
            huge_canaries=huge_canaries,
            held=held,
            seconds=self.limits.seconds,
        )

    def leak(self, case: Case, seconds: float) -> Outcome | None:
        """Whether an isolated kernel grows in memory with every call that is like ``case``; None if nobody knows."""
        if self.process is None:
            return None
        sentence = self.process.leak(self.suite.call(case.instance, self.kernel, self.precision), seconds)
        if sentence is None:
            return None
        return Outcome("failed", np.inf, "leak", sentence) if sentence else Outcome("passed")

    # --- a level --------------------------------------------------------------------------------------------------

    def report(self, level: str, seed: int, progress: Progress | None = None) -> Report:
        """Judge every case of a level."""
        return Run(self, level, seed, progress).report()

    def assembled(
        self,
        level: str,
        seed: int,
        results: tuple[CaseResult, ...],
        diagnosis: list[str],
        notes: tuple[str, ...],
        seconds: float,
    ) -> Report:
        return Report(
            kernel=self.kernel.name,
            framework=self.framework.name,
            version=self.kernel.version or self.framework.version,
            problem=self.problem,
            precision=self.precision.name,
            level=level,
            seed=seed,
            cases=results,
            diagnosis=diagnosis,
            notes=notes,
            seconds=seconds,
            environment=_environment(self.framework),
        )

    def known_reference(self, instance: Any, precision: Precision | None = None) -> Reference | None:
        """The reference, in another class if one is given; None where there is none."""
        try:
            return self._reference(instance, precision or self.precision)
        except (ValueError, ArithmeticError):
            return None

    def diagnosis(self, failures: list[tuple[Any, Outcome]]) -> list[str]:
        """What the kernel behaves like: sentences, best first."""
        return diagnose(failures, self.known_reference, self.suite, self.precision)

    # --- findings -------------------------------------------------------------------------------------------------

    def finding(self, case: Case, outcome: Outcome, path: str = "") -> Finding:
        """What a failed outcome says in a report; ``path`` is where the instance is saved (default: now)."""
        path = path or self._saved(case.instance, case.name)
        return Finding(
            kind=outcome.kind,
            sentence=outcome.sentence,
            case=case.name,
            family=case.family.id,
            description=self.suite.describe(case.instance),
            output=outcome.output,
            index=outcome.index,
            got=outcome.got,
            interval=outcome.interval,
            tolerance=outcome.tolerance,
            ratio=outcome.ratio,
            size=self.suite.size(case.instance),
            instance=case.instance,
            instance_path=path,
            reproducer=self._reproducer(path, case.layout),
            hunts=case.family.hunts,
            source=case.family.source,
        )

    def _saved(self, instance: Any, name: str) -> str:
        if self.reproducers is None:
            self.reproducers = tempfile.mkdtemp(prefix="assay-")
        folder = Path(self.reproducers)
        stem = "".join(c if c.isalnum() else "-" for c in name).strip("-")[:60]
        path = folder / f"{stem}.npz"
        number = 1
        while path.exists():
            number += 1
            path = folder / f"{stem}-{number}.npz"
        instance.save(path)
        return str(path)

    def _reproducer(self, path: str, layout: Layout) -> str:
        words = ["assay", "replay", path, "--target", self.kernel.name, "--precision", self.precision.name]
        if self.framework.name != "numpy" and ":" in self.kernel.name and self.kernel.name not in self.suite.targets:
            words += ["--framework", self.framework.name]
        if layout.name != "contiguous":
            words += ["--layout", layout.name]
        for name, value in self.options.items():
            words += ["--option", f"{name}={value}"]
        words += self.limits.words() if self.process is None else self.process.words()
        if ":" not in self.kernel.name:
            return f"{shlex.join(words)}  # {self.kernel.name} must be importable: give --target module:function"
        return shlex.join(words)


def _environment(framework: Framework) -> dict[str, str]:
    found = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": str(os.cpu_count()),
    }
    if framework.name != "numpy":
        found[framework.name] = framework.version
    try:
        found["assay"] = importlib.metadata.version("assay")
    except importlib.metadata.PackageNotFoundError:
        found["assay"] = "not installed"
    return found
