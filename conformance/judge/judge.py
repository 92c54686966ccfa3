"""The judge of one kernel in one class: it runs cases one by one and describes each failure.

The judge knows no problem.  Everything that it needs to know of one is in the problem's
:class:`~assay.conformance.interface.suite.Suite`.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call.arrays import framework_of
from assay.conformance.call.call import answered
from assay.conformance.call.memory import Memory
from assay.conformance.call.outcome import Outcome, compared, is_right_for
from assay.conformance.call.process import Limits
from assay.conformance.call.stdout import captured
from assay.conformance.call.threads import together
from assay.conformance.diagnosis.diagnosis import Diagnosis, diagnosed
from assay.conformance.diagnosis.evidence import NUMERIC, Evidence, Judged
from assay.conformance.diagnosis.meanings import contradictions, explaining
from assay.conformance.diagnosis.precision import losses, sentences
from assay.conformance.interface.folders import from_here, kernel_from_here
from assay.conformance.interface.kernel import Declined
from assay.conformance.interface.steps import outputs_of
from assay.conformance.interface.suite import CONCURRENT_CALLS, FRESH_OUTPUTS, Case, Family, Suite
from assay.conformance.interface.suite import suite as suite_of
from assay.conformance.interface.targets import first_line
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.cases import again
from assay.conformance.judge.references import References, engaged_here
from assay.conformance.judge.remembered import Failure, Failures
from assay.conformance.report.finding import AGAIN, Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from assay.conformance.call.call import Answer, Kept
    from assay.conformance.call.isolation import Isolated
    from assay.conformance.call.outcome import Criteria
    from assay.conformance.diagnosis.precision import Loss
    from assay.conformance.frameworks import Framework
    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.layouts import Layout
    from assay.conformance.interface.lengths import Lengths
    from assay.conformance.interface.steps import Output, Script
    from assay.spec.precision import Precision

__all__ = ["FIRST_CALL", "Judge"]

#: How many times the limit of a call the first one of its kind may take: a kernel may be compiled in it.
FIRST_CALL = 3.0
#: Findings after which an isolated kernel gets another process.
_FATAL = frozenset({"crashed", "exited", "hung", "memory"})
_DIAGNOSIS_SECONDS = 24.0
_AGAIN_SECONDS = 3.0  # to see whether an earlier diagnosis holds for further failures
_LOSS_SECONDS = 20.0  # the probes take a third of a second on an idle machine
_SLOWEST = 3.0
_STAGES = Family("stages", "a stage that loses precision", "")


@dataclass
class Judge:
    """One kernel in one class.  It judges cases one by one.

    options: what the user declared; reproducers repeat it.
    reproducers: a folder for failing instances; that of ``failures`` where there is none.
    references: where the criteria of instances are kept, by default those that are shared here.
    limits: what one call may take.
    process: where an isolated kernel runs.
    diagnosing: how many times as long as usual a diagnosis may take; at 0 there is none.
    failures: the folder of the project in which failing instances are kept.
    remembering: whether what fails is also put into the list there, to be tried first the next time.
    unsaved: why instances were not kept; empty if they were.

    Raises :class:`~assay.conformance.interface.usage.UsageError` if the folder cannot be made, or if the framework of
    the kernel is not installed or lacks its device.
    """

    kernel: Kernel
    precision: Precision
    options: Mapping[str, Any] = field(default_factory=dict)
    reproducers: str | Path | None = None
    references: References = field(default_factory=engaged_here)
    limits: Limits = field(default_factory=Limits)
    process: Isolated | None = None
    diagnosing: float = 1.0
    failures: Failures = field(default_factory=Failures)
    remembering: bool = False
    unsaved: str = field(init=False, default="")
    suite: Suite = field(init=False)
    framework: Framework = field(init=False)
    lengths: Mapping[str, Lengths] = field(init=False)  # that the kernel declares to take, by axis
    called: set[Any] = field(init=False, default_factory=set)  # kinds of scripts that the process has played
    patient: bool = field(init=False, default=True)  # until a call hangs, first ones may take longer
    begun: tuple[float, float] = field(init=False, default_factory=lambda: (time.monotonic(), time.process_time()))
    compiling: float = field(init=False, default=0.0)  # seconds of first calls of their kind
    starting: float = field(init=False, default=0.0)  # seconds of the first call of all
    explained: float = field(init=False, default=0.0)  # seconds of diagnoses

    def __post_init__(self) -> None:
        self.suite = suite_of(self.kernel.problem)
        self.lengths = self.suite.lengths_of(self.kernel)
        if self.reproducers is not None:  # made now, so that it does not fail after an hour
            try:
                Path(self.reproducers).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"{self.reproducers}: cannot be made a folder ({error.strerror})") from None
        if self.process is not None:
            self.framework = self.process.framework
            return
        self.framework = framework_of(self.kernel)

    # --- criteria -----------------------------------------------------------------------------------------------------

    def criteria(self, instance: Any, precision: Precision | None = None) -> Criteria:
        """What the outputs of an instance are held to, in the class of the judge or in another class."""
        precision, evaluate = precision or self.precision, self.suite.criteria
        kind = (self.kernel.positional, self.kernel.lacks, tuple(sorted(self.kernel.conventions.items())))
        size = sum(array.size for array in instance.arrays().values())
        key = (evaluate, precision, kind, instance.digest())
        return self.references.of(key, size, lambda: evaluate(instance, self.kernel, precision))

    def criteria_if_known(self, instance: Any, precision: Precision | None = None) -> Criteria | None:
        """The criteria of an instance; ``None`` if the instance cannot be evaluated."""
        try:
            return self.criteria(instance, precision)
        except (ValueError, ArithmeticError):
            return None

    # --- one case -----------------------------------------------------------------------------------------------------

    def outcome(
        self, case: Case, criteria: Criteria | None = None, *, huge_canaries: bool = False, held: bool = False
    ) -> Outcome:
        """Run one case.

        criteria: the criteria of the instance, if the caller has them already.
        huge_canaries: the canaries around the inputs are huge numbers, and not NaN.
        held: also look whether the kernel keeps references to its inputs.
        """
        if reason := self.lacking(case):
            return Outcome("skipped", sentence=reason)
        outcome = self._outcome(case, criteria, huge_canaries, held)
        if outcome.status == "declined" and case.family.id in self.kernel.declines:
            return replace(outcome, status="skipped", sentence=f"declares that it declines: {outcome.sentence}")
        return outcome

    def lacking(self, case: Case) -> str:
        """What the kernel says by its keywords and options that it lacks for a case; empty where nothing."""
        interface = self.suite.interface
        for instance in (case.instance, *case.after, *case.beside):
            if reason := interface.lacking(self.kernel, interface.needs(instance) | case.needs):
                return reason
            for axis, length in instance.lengths().items() if self.lengths else ():
                if axis in self.lengths and length not in self.lengths[axis]:
                    return f"lacks {axis.replace('_', ' ')} {length}"
        if self.kernel.layouts and case.layout.name not in self.kernel.layouts:
            return f"lacks layout {case.layout.name}"
        return ""

    def declined(self, case: Case) -> str:
        """What the kernel says where it declines a case; empty where it takes it, rightly or wrongly."""
        for instance in (*case.after, *case.beside, case.instance):
            outcome = self._run(instance, {}, case.layout, huge=False)
            if outcome.status == "declined":
                return outcome.sentence
        return ""

    def _outcome(self, case: Case, criteria: Criteria | None, huge_canaries: bool, held: bool) -> Outcome:
        """Run a case that the kernel lacks nothing for."""
        if case.beside:
            return self._beside(case, self.criteria(case.instance) if criteria is None else criteria, huge_canaries)
        if not case.after:
            return self._run(case.instance, criteria, case.layout, huge_canaries, held=held)
        calls = len(case.after) + 1
        apart = [Memory() for _ in range(calls)]  # kept until the end, so that no address comes again by chance
        outcome = Outcome("passed")
        for memories in (apart, [Memory()] * calls):  # earlier inputs first stay as they are, then are replaced
            answers: list[Kept] = []
            for earlier, memory in zip(case.after, memories, strict=False):
                kept = answers if memories is apart else None
                outcome = self._run(earlier, {}, case.layout, huge_canaries, memory, kept=kept)
                if outcome.status != "passed":
                    return outcome
            outcome = self._run(case.instance, criteria, case.layout, huge_canaries, memories[-1])
            if not outcome.failed and self._overwrites(answers):
                allowed = f"(a kernel that is documented to do so declares {FRESH_OUTPUTS}=no)"
                return Outcome("failed", np.inf, "overwritten", f"overwrote its answer to an earlier call {allowed}")
            if outcome.failed:
                answer = ": it is the answer to an earlier call" if self._answers(case.after, outcome) else ""
                others = f"{len(case.after)} other call" + "s" * (len(case.after) > 1)
                return replace(outcome, sentence=f"after {others}: {outcome.sentence}{answer}")
        return outcome

    def _overwrites(self, answers: Iterable[Kept]) -> bool:
        """Whether answers to earlier calls are no longer what they were, in a kernel that does not declare that."""
        declared = FRESH_OUTPUTS not in self.suite.interface.has(self.kernel)
        return not declared and any(answer.overwritten() for answer in answers)

    def _run(
        self,
        instance: Any,
        criteria: Criteria | None,
        layout: Layout,
        huge: bool,
        memory: Memory | None = None,
        kernel: Kernel | None = None,
        held: bool = False,
        kept: list[Kept] | None = None,
    ) -> Outcome:
        """Play the script of an instance, and compare the answer with the criteria.

        criteria: what the outputs are held to.  If they are left out, they are those of the instance, which are
        certified only where there are outputs to compare.
        kept: takes what the kernel returned, as its own arrays; nothing of a kernel in another process.
        """
        try:
            script = self.suite.interface.script(instance, self.kernel, self.precision)
        except Declined as reason:
            return Outcome("declined", sentence=first_line(reason) or "declined")
        first = self._is_first(script)
        seconds = self.limits.seconds * (FIRST_CALL if first and self.patient else 1.0)
        begun = time.monotonic()
        if self.process is not None:
            answer = self.process.answer(script, layout, huge=huge, held=held, memory=memory, seconds=seconds)
            self._note(first, time.monotonic() - begun)
            if answer.kind in _FATAL:
                self.called.clear()  # the next call is the first one of another process
            self.patient &= answer.kind != "hung"
            outcome = compared(answer, self._held_to(answer, instance, criteria))
            if answer.printed and outcome.status in ("passed", "outside"):
                sentence = f"printed to stdout: {answer.printed!r}"
                outcome = replace(outcome, status="failed", kind="printed", sentence=sentence)
            return outcome
        answer = answered(
            kernel or self.kernel, self.framework, script, layout,
            huge=huge, seconds=seconds, held=held, memory=memory, kept=kept,
        )  # fmt: skip
        self._note(first, time.monotonic() - begun)
        self.patient &= answer.kind != "hung"
        if answer.printed:
            answer = replace(answer, notes=(*answer.notes, "prints to stdout"))
        return compared(answer, self._held_to(answer, instance, criteria))

    def _held_to(self, answer: Answer, instance: Any, criteria: Criteria | None) -> Criteria:
        """The criteria of an answer; none where it has no outputs."""
        if answer.kind:
            return {}
        return self.criteria(instance) if criteria is None else criteria

    def _note(self, first: bool, seconds: float) -> None:
        """Note the seconds of a call, of which a kernel may have been compiled in the first of its kind."""
        self.compiling += first * seconds
        self.starting = self.starting or seconds

    def _is_first(self, script: Script) -> bool:
        """Whether a script is the first of its kind, for which a kernel may be compiled; it is noted.

        Of one kind are scripts of the same methods, with arrays of the same shapes and types and the same keywords.
        """
        kind = tuple(
            (
                step.method,
                tuple((array.shape, array.dtype) for _, array in step.arrays),
                tuple(
                    (name, (value.shape, value.dtype) if isinstance(value, np.ndarray) else type(value).__name__)
                    for name, value in sorted(step.keywords.items())
                ),
            )
            for step in script
        )
        first = kind not in self.called
        self.called.add(kind)
        return first

    def _beside(self, case: Case, criteria: Criteria, huge: bool) -> Outcome:
        """Run the case and the calls beside it at the same time.

        Returns the first outcome that failed, the case itself before the others, or else the outcome of the case.
        """
        if self.process is not None:
            return Outcome("skipped", sentence="calls at the same time are not made in an isolated process")
        calls = [(case.instance, criteria), *((other, self.criteria(other)) for other in case.beside)]

        def trial(instance: Any, held_to: Criteria) -> Callable[[Kernel], Outcome]:
            return lambda kernel: self._run(instance, held_to, case.layout, huge, kernel=kernel)

        with captured() as printed:
            seconds = FIRST_CALL * self.limits.seconds
            outcomes = together(self.kernel, [trial(*call) for call in calls], seconds)
        wrong = next((outcome for outcome in outcomes if outcome.failed), None)
        if wrong is None:
            notes = (*outcomes[0].notes, *(("prints to stdout",) if printed.kept else ()))
            return replace(outcomes[0], notes=notes)
        others = [instance for (instance, _), outcome in zip(calls, outcomes, strict=True) if outcome is not wrong]
        answer = ": it is the answer to another call" if self._answers(others, wrong) else ""
        allowed = f" (a kernel that is documented as not reentrant declares {CONCURRENT_CALLS}=no)"
        return replace(wrong, sentence=f"called by {len(calls)} threads at once: {wrong.sentence}{answer}{allowed}")

    def _answers(self, instances: Iterable[Any], outcome: Outcome) -> bool:
        """Whether the outputs are right for one of these instances."""
        candidates = (self.criteria_if_known(instance) for instance in instances)
        return any(criteria is not None and is_right_for(criteria, outcome.values) for criteria in candidates)

    def leak(self, case: Case, seconds: float) -> Outcome | None:
        """Whether the memory of an isolated kernel grows with every call that is like ``case``.

        Returns ``None`` if the kernel is not isolated, or if there was no time to see it.
        """
        if self.process is None:
            return None
        script = self.suite.interface.script(case.instance, self.kernel, self.precision)
        sentence = self.process.leak(script, seconds)
        if sentence is None:
            return None
        return Outcome("failed", np.inf, "leak", sentence) if sentence else Outcome("passed")

    # --- why ----------------------------------------------------------------------------------------------------------

    def diagnosis(
        self,
        failures: Sequence[Judged],
        passes: Sequence[Case] = (),
        every: Sequence[Judged] = (),
        told: Sequence[str] = (),
    ) -> Diagnosis:
        """Sentences on what the kernel behaves like, the best first, and the weights that it used where they are wrong.

        failures: those to explain.
        passes: cases that the kernel passed, which show when it fails.
        every: all failures of the run, of which ``failures`` are some; empty where they are all.
        told: sentences on other failures of the kernel: what they say of these too is not looked for again.
        """
        begun = time.monotonic()
        try:
            if known := self._explained(told, every or failures, passes):
                return Diagnosis(known)
            return self._diagnosis(failures, passes, every) if self.diagnosing > 0 else Diagnosis()
        finally:
            self.explained += time.monotonic() - begun

    def _diagnosis(self, failures: Sequence[Judged], passes: Sequence[Case], every: Sequence[Judged]) -> Diagnosis:
        """A diagnosis that knows nothing of an earlier one."""
        own = self.precision
        others = [
            other
            for other in self.suite.spec.PRECISIONS.values()
            if other.name != own.name and (other.storage, other.result) == (own.storage, own.result)
        ]
        evidence = Evidence(
            failures,
            passes,
            self.criteria_if_known,
            self._outputs,
            self._attempt,
            lambda case, seed: again(self.suite, own, case, seed),
            time.monotonic() + _DIAGNOSIS_SECONDS * self.slowness,
            self.slowness,
            every,
        )
        return diagnosed(evidence, self.suite, others, lambda: sentences(self.losses()))

    def _explained(self, told: Sequence[str], failures: Sequence[Judged], passes: Sequence[Case]) -> list[str]:
        """The wrong meanings among some sentences that explain every failure and that no passing case contradicts."""
        named = [one for one in self.suite.meanings if any(said.startswith(one.sentence) for said in told)]
        if not named or any(f.outcome.kind not in NUMERIC or not f.outcome.values for f in failures):
            return []
        known, end = self.criteria_if_known, time.monotonic() + _AGAIN_SECONDS * max(self.slowness, 1.0)
        left, compared = explaining(named, failures, known, end)
        left = left if compared == len(failures) else []
        return [m.sentence for m in left if not contradictions(m, passes, known, end, 1) and time.monotonic() < end]

    @property
    def slowness(self) -> float:
        """How many times as long as on an idle machine everything has taken so far, up to three, for a diagnosis."""
        wall, processor = time.monotonic() - self.begun[0], time.process_time() - self.begun[1]
        return min(max(wall / max(processor, 1e-3), 1.0), _SLOWEST) * self.diagnosing

    def _outputs(self, instance: Any) -> dict[str, Output]:
        script = self.suite.interface.script(instance, self.kernel, self.precision)
        return {output.name: output for output in outputs_of(script)}

    def _attempt(self, case: Case) -> Outcome | None:
        """What becomes of a further case; ``None`` where there is nothing to compare with."""
        criteria = self.criteria_if_known(case.instance)
        return None if criteria is None else self.outcome(case, criteria)

    def losses(self) -> list[Loss]:
        """The stages in which the kernel loses precision beyond its class; none if there is no time to look."""
        begun = time.monotonic()

        def outcome(instance: Any) -> tuple[Outcome, Criteria] | None:
            if time.monotonic() - begun > _LOSS_SECONDS * self.slowness:
                raise TimeoutError
            criteria = self.criteria_if_known(instance)
            return None if criteria is None else (self.outcome(Case("stages", _STAGES, instance), criteria), criteria)

        try:
            return losses(self.suite.stages(self.precision), outcome)
        except TimeoutError:
            return []

    # --- findings -----------------------------------------------------------------------------------------------------

    def finding(self, case: Case, outcome: Outcome, path: str = "") -> Finding:
        """The finding of a failed outcome.

        path: where the instance is saved already.  If it is left out, the instance is saved now.
        """
        path = path or self._saved(case.instance, case.name.removeprefix(AGAIN))
        if self.remembering and not case.name.startswith(AGAIN):  # those are in the list
            self._remember(case)
        return Finding(
            kind=outcome.kind,
            sentence=outcome.sentence,
            case=case.name,
            family=case.family.id,
            description=case.instance.describe(),
            output=outcome.output,
            index=outcome.index,
            got=outcome.got,
            expected=outcome.expected,
            interval=outcome.interval,
            tolerance=outcome.allowed,
            ratio=outcome.ratio,
            size=case.instance.size(),
            instance=case.instance,
            instance_path=path,
            reproducer=self._reproducer(path, case),
            hunts=case.family.hunts,
            source=case.family.source,
            wrong=outcome.wrong,
        )

    def _saved(self, instance: Any, name: str) -> str:
        """Where an instance was saved; empty, with a remark in ``unsaved``, if it could not be."""
        try:
            if self.reproducers is None:
                return self.failures.save(instance, name)
            folder = Path(self.reproducers)
            stem = "".join(c if c.isalnum() else "-" for c in name).strip("-")[:60]
            path = folder / f"{stem}.npz"
            number = 1
            while path.exists():
                number += 1
                path = folder / f"{stem}-{number}.npz"
            instance.save(path)
        except OSError as error:
            folder = self.failures.folder if self.reproducers is None else Path(self.reproducers)
            self.unsaved = f"failing inputs are not kept: {folder} cannot be written ({error.strerror})"
            return ""
        return from_here(path)

    def _remember(self, case: Case) -> None:
        """Put a failing case into the list of the project."""
        try:
            groups = {"": (case.instance,), " after": case.after, " beside": case.beside}
            (instance,), after, beside = (
                tuple(Path(self.failures.save(one, f"{case.name}{tail}")).name for one in instances)
                for tail, instances in groups.items()
            )
            self.failures.remember(
                Failure(
                    self.failures.named(self.kernel.name), self.kernel.problem, self.precision.name, case.name,
                    case.family.id, case.layout.name, instance, after, beside,
                )
            )  # fmt: skip
        except OSError as error:
            self.unsaved = f"some failures are not remembered in {self.failures.folder}: {error.strerror}"

    def _reproducer(self, path: str, case: Case) -> str:
        """A shell line that judges the case again; empty where its instance is not saved."""
        if not path:
            return ""
        name = kernel_from_here(self.kernel.name)
        words = ["assay", "replay", path, "--target", name, "--precision", self.precision.name]
        if ":" in self.kernel.problem:  # a problem that a file of its instances cannot name
            words += ["--problem", self.kernel.problem]
        if self.framework.name != "numpy" and ":" in self.kernel.name and self.kernel.name not in self.suite.targets:
            words += ["--framework", self.framework.name]
        if self.kernel.device:
            words += ["--device", self.kernel.device]
        if case.layout.name != "contiguous":
            words += ["--layout", case.layout.name]
        for word, instances in (("--after", case.after), ("--beside", case.beside)):
            for number, instance in enumerate(instances, 1):
                other = self._saved(instance, f"{case.name} {word[2:]} {number}")
                if not other:
                    return ""
                words += [word, other]
        for name, value in self.options.items():
            words += ["--option", f"{name}={value}"]
        words += self.limits.words() if self.process is None else self.process.words()
        if ":" not in self.kernel.name:
            return f"{shlex.join(words)}  # {self.kernel.name} must be importable: give --target module:function"
        return shlex.join(words)
