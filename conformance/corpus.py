"""A kernel on a corpus of hard instances: whether its outputs are right, and whether they decode to the truth."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call.process import Limits
from assay.conformance.engagement import engaged
from assay.conformance.interface.suite import Case, Family
from assay.conformance.interface.usage import UsageError
from assay.conformance.report.table import table
from assay.spec.instances import corpus
from assay.spec.problem import named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from assay.conformance.judge.judge import Judge
    from assay.spec.instances.hard import HardProblem

__all__ = ["CorpusReport", "Row", "check_corpus"]

_FAMILY = Family("corpus", "a hard instance", "")


@dataclass(frozen=True)
class Row:
    """The result of one instance.

    status: as of a case.  It is ``failed`` also if the output decodes wrongly although the class promises the accuracy
    that the decoder needs.
    ratio: the largest error / tolerance.
    promised: whether the class promises that accuracy.
    decoded: ``right``, ``wrong``, or empty if there is no output.
    """

    name: str
    status: str
    ratio: float
    promised: bool
    decoded: str
    sentence: str = ""


@dataclass(frozen=True)
class CorpusReport:
    """The results of every instance of a corpus."""

    kernel: str
    precision: str
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether no instance failed and at least one was judged."""
        return any(row.status == "passed" for row in self.rows) and all(row.status != "failed" for row in self.rows)

    def to_text(self) -> str:
        """The verdict in one line, and a table of the instances."""
        decoded = sum(row.decoded == "right" for row in self.rows)
        head = f"{'PASSED' if self.passed else 'FAILED'} {self.kernel}  {self.precision}  {len(self.rows)} instances"
        rows = [("instance", "status", "error/tolerance", "decodes", "promised", "")]
        rows += [
            (
                row.name,
                row.status,
                f"{row.ratio:.3g}" if row.decoded else "-",
                row.decoded or "-",
                "yes" if row.promised else "no",
                row.sentence,
            )
            for row in self.rows
        ]
        return "\n".join([f"{head}, {decoded} decoded rightly", *(f"  {line}" for line in table(rows))])


def check_corpus(
    target: str,
    folder: str | Path,
    *,
    problem: str | None = None,
    precision: str = "float32",
    framework: str | None = None,
    options: Mapping[str, Any] | None = None,
    call_seconds: float = Limits.seconds,
    progress: Callable[[int, int, str], None] | None = None,
) -> CorpusReport:
    """Run ``target`` on every instance of a corpus that ``assay hard --corpus`` wrote, in the number type of the class.

    Every instance must be one of the problem that the kernel solves.
    Raises :class:`~assay.spec.problem.InvalidInstance` or :class:`~assay.conformance.interface.usage.UsageError` in one
    line.
    """
    problems = list(corpus.read(folder))
    limits = Limits(call_seconds, Limits.memory)
    with engaged(target, problem, precision, framework=framework, options=options, limits=limits) as judge:
        for path, hard_problem in problems:
            if hard_problem.problem != judge.kernel.problem:
                raise UsageError(
                    f"{path}: an instance of {hard_problem.problem}, "
                    f"but {judge.kernel.name} is judged as a kernel of {judge.kernel.problem}"
                )
        rows = []
        for done, (path, hard_problem) in enumerate(problems):
            if progress is not None:
                progress(done, len(problems), path.name)
            with named(path):
                rows.append(_row(path.name, hard_problem.stored_as(judge.precision.storage), judge))
        return CorpusReport(judge.kernel.name, judge.precision.name, tuple(rows))


def _row(name: str, problem: HardProblem, judge: Judge) -> Row:
    instance = problem.instance
    criteria = judge.criteria(instance)
    output = next(iter(criteria))
    criterion = criteria[output]
    radius = 0.0 if criterion.value is None else float(np.max(criterion.value.radius))
    # An output that passes lies within its tolerance of some number of the enclosure.
    worst = float(np.max(criterion.allowed) + 2 * radius)
    promised = bool(np.isfinite(worst) and Fraction(worst) < problem.accuracy)
    outcome = judge.outcome(Case(name, _FAMILY, instance), criteria)
    value = outcome.values.get(output)
    if value is None:
        return Row(name, outcome.status, outcome.ratio, promised, "", outcome.sentence)
    try:
        right = problem.right(problem.decode(value.astype(np.float64)))
    except ValueError as error:
        return Row(name, "failed", outcome.ratio, promised, "wrong", str(error))
    status, sentence = outcome.status, outcome.sentence
    if promised and not right and not outcome.failed:
        status, sentence = "failed", "decodes wrongly, though within its tolerance"
    return Row(name, status, outcome.ratio, promised, "right" if right else "wrong", sentence)
