"""The data sheet of a kernel: the classes that it keeps, how accurate it is within them, and what its habits are.

A profile judges nothing: there is no verdict, and a kernel that raises has given an answer.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call.call import capabilities
from assay.conformance.call.deadline import Hung, deadline
from assay.conformance.interface.suite import LEVELS, Ask, NoAnswer
from assay.conformance.interface.targets import UsageError, load, wrap
from assay.conformance.judge.judge import Judge
from assay.spec.precision import PRECISIONS, Precision
from assay.spec.precision import precision as precision_named
from assay.spec.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from assay.conformance.interface.suite import Question
    from assay.conformance.judge.level import Progress

__all__ = ["GRADES", "Answer", "ClassRow", "Profile", "answers", "profile"]

#: Grade → the largest error in units of the quality level that has it; below C a kernel keeps its class, no more.
GRADES: Mapping[str, float] = {"A": 0.5, "B": 1.0, "C": float("inf")}
_ASK_SECONDS = 20.0
_FIRST = ("float32", "bfloat16", "float16", "float64")  # the type in which questions are asked, if there is a choice


@dataclass(frozen=True)
class ClassRow:
    """A kernel in one class.

    status: ``passed``, ``failed``, ``not taken`` (it refuses the types), ``nothing judged``.
    quality: the largest error in units of the quality level on ordinary inputs, if it passed; grade: see ``GRADES``.
    """

    precision: str
    storage: str
    status: str
    worst_ratio: float | None = None  # of the tolerance, over every case of the level
    judged: int = 0
    failed: int = 0
    quality: float | None = None
    grade: str = ""
    reason: str = ""
    diagnosis: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What a kernel was seen to do."""

    id: str
    section: str
    question: str
    answer: str


@dataclass(frozen=True)
class Profile:
    """The data sheet.  ``tightest``: storage type → the tightest class that the kernel keeps on it."""

    kernel: str
    framework: str
    version: str
    problem: str
    level: str
    seed: int
    classes: tuple[ClassRow, ...]
    asked_in: str  # the storage type of the answers
    answers: tuple[Answer, ...]
    seconds: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def tightest(self) -> dict[str, str]:
        """Storage type → the class with the least roundoffs of those that were passed."""
        found: dict[str, str] = {}
        for row in sorted(self.classes, key=lambda row: _roundoff(precision_named(row.precision))):
            if row.status == "passed":
                found.setdefault(row.storage, row.precision)
        return found

    def to_text(self) -> str:
        """One page."""
        from assay.conformance.profile.datasheet import to_text

        return to_text(self)

    def to_json(self) -> str:
        """JSON of the published schema (``profile.schema.json``)."""
        from assay.conformance.profile.datasheet import to_json

        return to_json(self)


def profile(
    kernel: Any,
    problem: str = PROBLEMS[0],
    *,
    precisions: Sequence[str | Precision] = (),
    level: str = "smoke",
    seed: int = 0,
    framework: str | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Judge ``kernel`` in every class (or in ``precisions``), measure its quality, ask for its conventions.

    The other arguments are those of :func:`assay.check`.  Raises :class:`~assay.conformance.interface.targets.UsageError`.
    """
    if problem not in PROBLEMS:
        raise UsageError(f"unknown problem {problem!r}: expected one of {', '.join(PROBLEMS)}")
    if level not in LEVELS:
        raise UsageError(f"unknown level {level!r}: expected one of {', '.join(LEVELS)}")
    try:
        chosen = [precision_named(name) for name in precisions or PRECISIONS]
    except ValueError as error:
        raise UsageError(str(error)) from None
    make = load if isinstance(kernel, str) else wrap
    loaded = make(kernel, problem=problem, framework=framework, options=options)
    begun = time.monotonic()
    rows = []
    for number, each in enumerate(chosen):

        def tell(done: int, total: int, sentence: str, number: int = number, name: str = each.name) -> None:
            if progress is not None:
                progress(1000 * number + 1000 * done // max(total, 1), 1000 * (len(chosen) + 1), f"{name}: {sentence}")

        tell(0, 1, "starting")
        rows.append(_row(Judge(loaded, problem, each, options=options or {}), level, seed, tell))
    judge = Judge(loaded, problem, _asked_in(rows, chosen), options=options or {})
    asked = answers(judge) if any(row.status != "not taken" for row in rows) else ()
    report = judge.assembled(level, seed, (), [], (), time.monotonic() - begun)
    return Profile(
        kernel=report.kernel,
        framework=report.framework,
        version=report.version,
        problem=problem,
        level=level,
        seed=seed,
        classes=tuple(rows),
        asked_in=judge.precision.storage,
        answers=asked,
        seconds=report.seconds,
        environment=report.environment,
    )


# --- classes ----------------------------------------------------------------------------------------------------------


def _roundoff(u: Precision) -> float:
    """A number that orders classes of one storage type: the sum of their roundoffs, inputs and scores first."""
    return sum((u.product, u.input_rounding, u.stored, u.elementary, u.operand, u.output))


def _asked_in(rows: Sequence[ClassRow], chosen: Sequence[Precision]) -> Precision:
    """The class in whose types the questions are asked: one that was passed, else one that was taken."""
    for status in ("passed", "failed", "nothing judged", "not taken"):
        found = {row.storage: row.precision for row in reversed(rows) if row.status == status}
        for storage in (*_FIRST, *found):
            if storage in found:
                return next(u for u in chosen if u.name == found[storage])
    return chosen[0]


def _row(judge: Judge, level: str, seed: int, progress: Progress) -> ClassRow:
    u = judge.precision
    refused = _refused(judge, seed)
    if refused:
        return ClassRow(u.name, u.storage, "not taken", reason=refused)
    report = judge.report(level, seed, progress)
    status = "passed" if report.passed else "failed" if report.failures else "nothing judged"
    row = ClassRow(
        u.name,
        u.storage,
        status,
        report.worst_ratio,
        report.ran,
        sum(case.status == "failed" for case in report.cases),
        reason="" if report.passed or not report.failures else report.failures[0].sentence,
        diagnosis=tuple(report.diagnosis),
    )
    if not report.passed:
        return row
    measured = _quality(judge, seed)
    if measured is None:
        return row
    return dataclasses.replace(
        row, quality=measured, grade=next(grade for grade, most in GRADES.items() if measured <= most)
    )


def _refused(judge: Judge, seed: int) -> str:
    """Why the kernel does not take the types of a class: what it says to every ordinary input.  Empty if it does."""
    said = ""
    for case in judge.suite.ordinary(judge.precision, seed):
        outcome = judge.outcome(case)
        if outcome.kind not in ("raised", "type", "dtype") and outcome.status != "declined":
            return ""
        said = said or outcome.sentence
    return said


def _quality(judge: Judge, seed: int) -> float | None:
    """The largest error on ordinary inputs in units of the quality level; None where nothing could be measured."""
    worst = None
    for case in judge.suite.ordinary(judge.precision, seed):
        outcome = judge.outcome(case)
        if outcome.status != "passed":
            continue
        name, value = next(iter(outcome.values.items()))
        enclosure, _ = judge.reference(case.instance)[name]
        ratio = float(enclosure.ratio(value, judge.suite.quality(case.instance, judge.precision)).max())
        worst = ratio if worst is None else max(worst, ratio)
    return worst


# --- questions --------------------------------------------------------------------------------------------------------


def answers(judge: Judge, questions: Sequence[Question] | None = None) -> tuple[Answer, ...]:
    """What the kernel does where the problem leaves it a choice, in the types of the judge's class.

    questions: those of the problem's suite, or some; what needs a capability that the kernel lacks is not asked.
    """
    known, has = judge.suite.capabilities, capabilities(judge.kernel, judge.suite)
    ask = Ask(judge.precision, has, _Direct(judge))
    # what has a keyword is asked even where it is declared not to be had: the sheet tells what happens
    offered = {name for name, keywords in known.items() if set(keywords) & judge.kernel.keywords} | has
    found = []
    for question in judge.suite.questions if questions is None else questions:
        if not set(question.needs) <= offered:
            continue
        try:
            answer = question.ask(ask)
        except NoAnswer as reason:
            answer = str(reason)
        found.append(Answer(question.id, question.section, question.words, answer))
    return tuple(found)


@dataclass(frozen=True)
class _Direct:
    """A kernel called as an instance says, with some arrays exchanged."""

    judge: Judge

    def __call__(
        self, instance: Any, without: Sequence[str] = (), **arrays: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        judge, framework = self.judge, self.judge.framework
        call = judge.suite.call(instance, judge.kernel, judge.precision)
        given = [framework.to_native(np.array(arrays.get(name, array))) for name, array in call.arrays]
        keywords = {
            name: framework.to_native(np.array(value)) if isinstance(value, np.ndarray) else value
            for name, value in call.keywords.items()
            if name not in without
        }
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"), deadline(_ASK_SECONDS):
                warnings.simplefilter("ignore")
                returned = judge.kernel.function(*given, **keywords)
                parts = returned if isinstance(returned, (tuple, list)) else (returned,)
                values = [np.array(framework.to_numpy(part)).astype(np.float64) for part in parts]
        except KeyboardInterrupt:
            raise
        except NotImplementedError as error:
            raise NoAnswer(f"declined: {_first_line(error)}") from None
        except Hung:
            raise NoAnswer(f"did not return within {_ASK_SECONDS:g} s") from None
        except BaseException as error:
            raise NoAnswer(f"raises {type(error).__name__}: {_first_line(error)}") from None
        shapes = [value.shape for value in values]
        if shapes != list(call.shapes):
            raise NoAnswer(f"returns shapes {', '.join(map(str, shapes))}")
        return dict(zip(call.outputs, values, strict=True))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]
