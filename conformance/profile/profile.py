"""The data sheet of a kernel: the classes that it keeps, how accurate it is within them, and what it does elsewhere.

A profile is no verdict: nothing passes or fails, and a kernel that raises has given an answer.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call.call import entered
from assay.conformance.call.deadline import Hung, deadline
from assay.conformance.diagnosis.diagnosis import Diagnosis
from assay.conformance.engagement import engaged, require_installed, require_level, require_precision
from assay.conformance.interface.kernel import Declined
from assay.conformance.interface.suite import LEVELS, suite
from assay.conformance.interface.targets import first_line, kernel_of
from assay.conformance.judge.cases import typical_cases
from assay.conformance.judge.level import Run, assembled
from assay.conformance.profile import datasheet
from assay.conformance.profile.questions import Ask, NoAnswer
from assay.conformance.report.words import never_ran
from assay.spec.enclosure import in_units_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from assay.conformance.interface.steps import Script, Step
    from assay.conformance.judge.judge import Judge
    from assay.conformance.judge.level import Progress
    from assay.conformance.profile.questions import Question
    from assay.spec.precision import Precision

__all__ = ["GRADES", "Answer", "ClassRow", "Profile", "answers", "profile"]

#: Grade → the largest error with this grade, in units of the quality level.
GRADES: Mapping[str, float] = {"A": 0.5, "B": 1.0, "C": float("inf")}
_ASK_SECONDS = 20.0
_FIRST = ("float32", "bfloat16", "float16", "float64")  # the type in which questions are asked, if there is a choice


@dataclass(frozen=True)
class ClassRow:
    """A kernel in one class.

    status: ``passed``, ``failed``, ``not taken`` (it refuses the types), or ``incomplete`` (some family never ran).
    worst_ratio: the largest error / tolerance over all cases of the level.
    quality: for a kernel that passed, the largest error on typical inputs in units of the quality level.
    grade: the grade of that quality (``GRADES``).
    reason: why the class is not taken, or the first failure.
    """

    precision: str
    storage: str
    status: str
    worst_ratio: float | None = None
    judged: int = 0
    failed: int = 0
    quality: float | None = None
    grade: str = ""
    reason: str = ""
    diagnosis: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What a kernel was observed to do."""

    id: str
    section: str
    question: str
    answer: str


@dataclass(frozen=True)
class Profile:
    """The data sheet.

    asked_in: the storage type in which the questions were asked.
    """

    kernel: str
    framework: str
    version: str
    problem: str
    level: str
    seed: int
    classes: tuple[ClassRow, ...]
    asked_in: str
    answers: tuple[Answer, ...]
    seconds: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def tightest(self) -> dict[str, str]:
        """Storage type → the tightest class that the kernel passed.  Problems list their tighter classes first."""
        order = list(suite(self.problem).spec.PRECISIONS)
        tightest: dict[str, str] = {}
        for row in sorted(self.classes, key=lambda row: order.index(row.precision)):
            if row.status == "passed":
                tightest.setdefault(row.storage, row.precision)
        return tightest

    def to_text(self) -> str:
        """One page of text."""
        return datasheet.to_text(self)

    def to_json(self) -> str:
        """JSON of the published schema, ``profile.schema.json``."""
        return datasheet.to_json(self)


def profile(
    kernel: Any,
    problem: str | None = None,
    *,
    precisions: Sequence[str | Precision] = (),
    level: str = "smoke",
    seed: int = 0,
    framework: str | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "",
    progress: Progress | None = None,
) -> Profile:
    """Judge ``kernel`` in every class of its problem, measure its quality, and ask what its conventions are.

    precisions: the classes, if not all of them.  The other arguments are those of :func:`assay.check`.

    Raises :class:`~assay.conformance.interface.usage.UsageError` in one line.
    """
    require_installed()
    require_level(level)
    begun = time.monotonic()
    loaded = kernel_of(kernel, problem, framework=framework, options=options, device=device)
    classes = precisions or tuple(suite(loaded.problem).spec.PRECISIONS)
    chosen = [require_precision(name, loaded.problem) for name in classes]
    with engaged(loaded, loaded.problem, chosen[0], options=options) as judge:
        rows = []
        for number, precision in enumerate(chosen):

            def tell(done: int, total: int, sentence: str, number: int = number, name: str = precision.name) -> None:
                if progress is not None:
                    share = 1000 * number + 1000 * done // max(total, 1)
                    progress(share, 1000 * (len(chosen) + 1), f"{name}: {sentence}")

            tell(0, 1, "starting")
            rows.append(_row(dataclasses.replace(judge, precision=precision), level, seed, tell))
        judge = dataclasses.replace(judge, precision=_asked_in(rows, chosen))
        asked = answers(judge) if any(row.status != "not taken" for row in rows) else ()
        report = assembled(judge, level, seed, (), Diagnosis(), (), time.monotonic() - begun)
    return Profile(
        kernel=report.kernel,
        framework=report.framework,
        version=report.version,
        problem=report.problem,
        level=level,
        seed=seed,
        classes=tuple(rows),
        asked_in=judge.precision.storage,
        answers=asked,
        seconds=report.seconds,
        environment=report.environment,
    )


# --- classes ----------------------------------------------------------------------------------------------------------


def _asked_in(rows: Sequence[ClassRow], chosen: Sequence[Precision]) -> Precision:
    """The class in whose types the questions are asked: one that was passed or, failing that, one that was taken."""
    for status in ("passed", "failed", "incomplete", "not taken"):
        classes = {row.storage: row.precision for row in reversed(rows) if row.status == status}
        for storage in (*_FIRST, *classes):
            if storage in classes:
                return next(u for u in chosen if u.name == classes[storage])
    return chosen[0]


def _row(judge: Judge, level: str, seed: int, progress: Progress) -> ClassRow:
    u = judge.precision
    refused = _refused(judge, seed)
    if refused:
        return ClassRow(u.name, u.storage, "not taken", reason=refused)
    report = Run(judge, level, seed, progress).report()
    status = "passed" if report.passed else "failed" if report.failures else "incomplete"
    row = ClassRow(
        u.name,
        u.storage,
        status,
        report.worst_ratio,
        report.ran,
        sum(case.status == "failed" for case in report.cases),
        reason=report.failures[0].sentence if report.failures else "; ".join(never_ran(report)),
        diagnosis=tuple(report.diagnosis),
    )
    if report.failures or not report.ran:
        return row
    measured = _quality(judge, seed)
    if measured is None:
        return row
    return dataclasses.replace(
        row, quality=measured, grade=next(grade for grade, most in GRADES.items() if measured <= most)
    )


def _refused(judge: Judge, seed: int) -> str:
    """Why the kernel does not take the types of a class: its first refusal, if it refuses every typical input."""
    refusal, run = "", Run(judge, LEVELS[0], seed)
    for case in typical_cases(judge.suite, judge.precision, seed):
        _, outcome, _ = run.fitting(case)
        if outcome.kind not in ("raised", "type", "dtype") and outcome.status != "declined":
            return ""
        refusal = refusal or outcome.sentence
    return refusal


def _quality(judge: Judge, seed: int) -> float | None:
    """The largest error on typical inputs in units of the quality level; ``None`` if nothing could be measured."""
    if judge.suite.quality is None:
        return None
    ratios, run = [], Run(judge, LEVELS[0], seed)
    for typical in typical_cases(judge.suite, judge.precision, seed):
        case, outcome, _ = run.fitting(typical)
        if outcome.status != "passed":
            continue
        criteria = judge.criteria(case.instance)
        for name, level in judge.suite.quality(case.instance, judge.precision).items():
            ratios.append(float(in_units_of(criteria[name].error(outcome.values[name]), level).max()))
    return max(ratios, default=None)


# --- questions --------------------------------------------------------------------------------------------------------


def answers(judge: Judge, questions: Sequence[Question] | None = None) -> tuple[Answer, ...]:
    """What the kernel does where the problem leaves it a choice, in the types of the judge's class.

    questions: if they are left out, those of the problem's suite.  A question that needs a capability which the kernel
    does not offer is not asked.
    """
    interface, kernel = judge.suite.interface, judge.kernel

    def typical() -> Any:
        instances = [case.instance for case in typical_cases(judge.suite, judge.precision, 0)]
        asked_for = (one for one in instances if not interface.lacking(kernel, interface.needs(one)))
        return next(asked_for, instances[0])

    direct = _Direct(judge)
    ask = Ask(judge.precision, interface.has(kernel), direct, typical, direct.steps)
    # A capability with a keyword is asked for even if the kernel declares to lack it: the sheet shows what happens.
    named = {c.name for c in interface.capabilities if set(c.keywords) & kernel.keywords}
    offered = named | interface.has(kernel)
    observed = []
    for question in judge.suite.questions if questions is None else questions:
        if not set(question.needs) <= offered:
            continue
        try:
            answer = question.ask(ask)
        except NoAnswer as reason:
            answer = str(reason)
        observed.append(Answer(question.id, question.section, question.words, answer))
    return tuple(observed)


@dataclass(frozen=True)
class _Direct:
    """The kernel of a judge, called as an instance says, but with some arrays exchanged."""

    judge: Judge

    def __call__(
        self, instance: Any, without: Sequence[str] = (), **arrays: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        judge = self.judge
        try:
            script = judge.suite.interface.script(instance, judge.kernel, judge.precision)
        except Declined as reason:
            raise NoAnswer(f"declined: {first_line(reason)}") from None
        values: dict[str, NDArray[np.float64]] = {}
        structure: Any = None
        for step in script:
            structure, outputs = self._returned(structure, step, without, arrays)
            values |= outputs
        return values

    def steps(self, script: Script) -> tuple[Mapping[str, NDArray[np.float64]] | str, ...]:
        """What becomes of every step of a script: its outputs, or why there are none."""
        told: list[Mapping[str, NDArray[np.float64]] | str] = []
        structure: Any = None
        for step in script:
            try:
                structure, outputs = self._returned(structure, step, (), {})
                told.append(outputs)
            except NoAnswer as reason:
                told.append(str(reason))
        return tuple(told)

    def _returned(
        self, structure: Any, step: Step, without: Sequence[str], arrays: Mapping[str, NDArray[Any]]
    ) -> tuple[Any, dict[str, NDArray[np.float64]]]:
        """The structure after a step, and the outputs of the step."""
        framework = self.judge.framework
        arguments = [framework.to_native(np.array(arrays.get(name, array))) for name, array in step.arrays]
        keywords = {
            name: framework.to_native(np.array(value)) if isinstance(value, np.ndarray) else value
            for name, value in step.keywords.items()
            if name not in without
        }
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"), deadline(_ASK_SECONDS):
                warnings.simplefilter("ignore")
                returned = entered(self.judge.kernel, structure, step)(*arguments, **keywords)
                if not step.outputs:
                    return (returned if step.method == "new" else structure), {}
                parts = returned if isinstance(returned, (tuple, list)) else (returned,)
                values = [np.array(framework.to_numpy(part)).astype(np.float64) for part in parts]
        except KeyboardInterrupt:
            raise
        except NotImplementedError as error:
            raise NoAnswer(f"declined: {first_line(error)}") from None
        except Hung:
            raise NoAnswer(f"did not return within {_ASK_SECONDS:g} s") from None
        except BaseException as error:
            raise NoAnswer(f"raises {type(error).__name__}: {first_line(error)}") from None
        shapes = [value.shape for value in values]
        if not _fits(shapes, [output.shape for output in step.outputs]):
            raise NoAnswer(f"returns shapes {', '.join(map(str, shapes))}")
        outputs = {output.name: value for output, value in zip(step.outputs, values, strict=True)}
        return (returned if step.method == "new" else structure), outputs


def _fits(shapes: Sequence[tuple[int, ...]], expected: Sequence[tuple[int | None, ...]]) -> bool:
    """Whether these are the expected shapes; ``None`` stands for any length."""
    return len(shapes) == len(expected) and all(
        len(shape) == len(wanted) and all(w in (None, n) for n, w in zip(shape, wanted, strict=True))
        for shape, wanted in zip(shapes, expected, strict=True)
    )
