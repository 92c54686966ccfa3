"""The judge: one kernel in one class; verdicts, findings, a report.

Knows no problem: everything it needs of one is its :class:`~assay.conformance.interface.suite.Suite` and its spec module.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call.call import CALL_SECONDS, Outcome, lacking, run, within
from assay.conformance.call.isolation import Isolated, Limits, isolated
from assay.conformance.call.memory import Memory
from assay.conformance.call.stdout import captured
from assay.conformance.call.threads import together
from assay.conformance.diagnosis.meanings import diagnose
from assay.conformance.diagnosis.precision import losses, sentences
from assay.conformance.frameworks import Framework
from assay.conformance.frameworks import framework as framework_named
from assay.conformance.interface.suite import LEVELS, Case, Family, Layout, Suite
from assay.conformance.interface.suite import suite as suite_of
from assay.conformance.interface.targets import UsageError, load, wrap
from assay.conformance.judge.level import Progress, Run
from assay.conformance.report.report import CaseResult, Finding, Report
from assay.spec.precision import Precision
from assay.spec.precision import precision as precision_named
from assay.spec.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from assay.conformance.call.call import Reference
    from assay.conformance.diagnosis.precision import Loss
    from assay.conformance.interface.kernel import Kernel

__all__ = ["Judge", "check"]

_LOSS_SECONDS = 20.0  # a third of a second of work, on a machine with time


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

    Same seed, same cases, on any machine.  Raises :class:`~assay.conformance.interface.targets.UsageError`, a ``ValueError``
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
        key = (precision, tuple(sorted(self.kernel.conventions.items())), instance.digest())
        if key not in self.references:
            self.references[key] = self.suite.reference(instance, self.kernel, precision)
        return self.references[key]

    def outcome(
        self, case: Case, reference: Reference | None = None, *, huge_canaries: bool = False, held: bool = False
    ) -> Outcome:
        """Run one case.  ``reference`` may come from another judge of the same class and conventions.

        ``held``: look also whether the kernel keeps its inputs.
        """
        for instance in (case.instance, *case.after, *case.beside):
            reason = lacking(self.kernel, self.suite.needs(instance) | case.needs, self.suite)
            if reason:
                return Outcome("skipped", sentence=reason)
        reference = self.reference(case.instance) if reference is None else reference
        if case.beside:
            return self._beside(case, reference, huge_canaries)
        if not case.after:
            return self._run(case.instance, reference, case.layout, huge_canaries, held=held)
        calls = len(case.after) + 1
        apart = [Memory() for _ in range(calls)]  # kept until the end: no address comes again by chance
        outcome = Outcome("passed")
        for memories in (apart, [Memory()] * calls):  # what was given before stays as it was; then it is written over
            for earlier, memory in zip(case.after, memories, strict=False):
                outcome = self._run(earlier, {}, case.layout, huge_canaries, memory)
                if outcome.status != "passed":
                    return outcome
            outcome = self._run(case.instance, reference, case.layout, huge_canaries, memories[-1])
            if outcome.failed:
                answer = ": it is the answer to an earlier call" if self._answers(case.after, outcome) else ""
                others = f"{len(case.after)} other call" + "s" * (len(case.after) > 1)
                return replace(outcome, sentence=f"after {others}: {outcome.sentence}{answer}")
        return outcome

    def _run(
        self,
        instance: Any,
        reference: Reference,
        layout: Layout,
        huge_canaries: bool,
        memory: Memory | None = None,
        kernel: Kernel | None = None,
        held: bool = False,
    ) -> Outcome:
        known = (instance, self.precision, self.suite, reference, layout)
        if self.process is not None:
            return self.process.outcome(*known, huge_canaries=huge_canaries, held=held, memory=memory)
        return run(
            kernel or self.kernel,
            self.framework,
            *known,
            huge_canaries=huge_canaries,
            held=held,
            seconds=self.limits.seconds,
            memory=memory,
        )

    def _beside(self, case: Case, reference: Reference, huge_canaries: bool) -> Outcome:
        """The case and what is beside it, at the same time: the first that fails, the case itself before the others."""
        if self.process is not None:
            return Outcome("skipped", sentence="calls at the same time are not made in an isolated process")
        everyone = [(case.instance, reference), *((other, self.reference(other)) for other in case.beside)]

        def trial(instance: Any, known: Reference) -> Callable[[Kernel], Outcome]:
            return lambda kernel: self._run(instance, known, case.layout, huge_canaries, kernel=kernel)

        with captured() as printed:
            outcomes = together(self.kernel, [trial(*each) for each in everyone], self.limits.seconds)
        wrong = next((outcome for outcome in outcomes if outcome.failed), None)
        if wrong is None:
            notes = (*outcomes[0].notes, *(("prints to stdout",) if printed.kept else ()))
            return replace(outcomes[0], notes=notes)
        others = [instance for (instance, _), outcome in zip(everyone, outcomes, strict=True) if outcome is not wrong]
        answer = ": it is the answer to another call" if self._answers(others, wrong) else ""
        allowed = " (a kernel that is documented as not reentrant declares concurrent_calls=no)"
        return replace(wrong, sentence=f"called by {len(everyone)} threads at once: {wrong.sentence}{answer}{allowed}")

    def _answers(self, instances: Iterable[Any], outcome: Outcome) -> bool:
        """Whether an output is right for one of these instances."""
        known = (self.known_reference(instance) for instance in instances)
        return any(reference is not None and within(reference, outcome) for reference in known)

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
        return diagnose(failures, self.known_reference, self.suite, self.precision, lambda: sentences(self.losses()))

    def losses(self) -> list[Loss]:
        """The stages in which the kernel loses precision beyond its class; none where there is no time to look."""
        begun = time.monotonic()
        family = Family("stages", "a stage that loses precision", "")

        def outcome(instance: Any) -> tuple[Outcome, Reference] | None:
            if time.monotonic() - begun > _LOSS_SECONDS:
                raise TimeoutError
            reference = self.known_reference(instance)
            return None if reference is None else (self.outcome(Case("stages", family, instance), reference), reference)

        try:
            return losses(self.suite.stages(self.precision), outcome)
        except TimeoutError:
            return []

    # --- findings -------------------------------------------------------------------------------------------------

    def finding(self, case: Case, outcome: Outcome, path: str = "") -> Finding:
        """What a failed outcome says in a report; ``path`` is where the instance is saved (default: now)."""
        path = path or self._saved(case.instance, case.name)
        return Finding(
            kind=outcome.kind,
            sentence=outcome.sentence,
            case=case.name,
            family=case.family.id,
            description=case.instance.describe(),
            output=outcome.output,
            index=outcome.index,
            got=outcome.got,
            interval=outcome.interval,
            tolerance=outcome.tolerance,
            ratio=outcome.ratio,
            size=case.instance.size(),
            instance=case.instance,
            instance_path=path,
            reproducer=self._reproducer(path, case),
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

    def _reproducer(self, path: str, case: Case) -> str:
        words = ["assay", "replay", path, "--target", self.kernel.name, "--precision", self.precision.name]
        if self.framework.name != "numpy" and ":" in self.kernel.name and self.kernel.name not in self.suite.targets:
            words += ["--framework", self.framework.name]
        if case.layout.name != "contiguous":
            words += ["--layout", case.layout.name]
        for word, instances in (("--after", case.after), ("--beside", case.beside)):
            for number, instance in enumerate(instances, 1):
                words += [word, self._saved(instance, f"{case.name} {word[2:]} {number}")]
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
