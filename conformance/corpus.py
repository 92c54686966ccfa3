"""A kernel over a corpus of hard instances: is its output right, and does it decode to the truth?"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call.call import CALL_SECONDS
from assay.conformance.call.isolation import Limits
from assay.conformance.interface.suite import Case, Family
from assay.conformance.interface.targets import UsageError, load
from assay.conformance.judge.judge import Judge
from assay.conformance.report.render import table
from assay.spec.instances import corpus
from assay.spec.precision import precision as precision_named
from assay.spec.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from assay.spec.instances.hard import HardProblem

__all__ = ["CorpusReport", "Row", "check_corpus"]

_FAMILY = Family("corpus", "a hard instance", "")


@dataclass(frozen=True)
class Row:
    """One instance.

    status: as of a case; ``failed`` also where the class promises the accuracy that the decoder needs and the output
    decodes wrongly.  promised: whether it does.  decoded: ``right``, ``wrong`` or empty (no output).
    """

    name: str
    status: str
    ratio: float
    promised: bool
    decoded: str
    sentence: str = ""


@dataclass(frozen=True)
class CorpusReport:
    """What came of every instance of a corpus."""

    kernel: str
    precision: str
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """No row failed, and at least one was run."""
        return any(row.status == "passed" for row in self.rows) and all(row.status != "failed" for row in self.rows)

    def to_text(self) -> str:
        """The verdict in one line, then a table."""
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
    precision: str = "float32",
    framework: str | None = None,
    options: Mapping[str, Any] | None = None,
    call_seconds: float = CALL_SECONDS,
    progress: Callable[[int, int, str], None] | None = None,
) -> CorpusReport:
    """Run ``target`` on every instance of a corpus (``assay hard --corpus``), in the number type of the class.

    Raises :class:`~assay.spec.problem.InvalidInstance` or :class:`~assay.conformance.interface.targets.UsageError` in one line.
    """
    try:
        chosen = precision_named(precision)
    except ValueError as error:
        raise UsageError(str(error)) from None
    problems = list(corpus.read(folder))
    kernel = load(target, framework=framework, options=options)
    judge = Judge(kernel, PROBLEMS[0], chosen, options or {}, limits=Limits(call_seconds, Limits.memory))
    rows = []
    for done, (path, problem) in enumerate(problems):
        if progress is not None:
            progress(done, len(problems), path.name)
        rows.append(_row(path.name, problem.stored_as(chosen.storage), judge))
    return CorpusReport(kernel.name, chosen.name, tuple(rows))


def _row(name: str, problem: HardProblem, judge: Judge) -> Row:
    instance = problem.instance
    reference = judge.reference(instance)
    output = next(iter(reference))
    enclosure, tolerance = reference[output]
    # an output that passes lies within its tolerance of some number of the enclosure
    worst = float(np.max(tolerance) + 2 * np.max(enclosure.radius))
    promised = np.isfinite(worst) and Fraction(worst) < problem.accuracy
    outcome = judge.outcome(Case(name, _FAMILY, instance), reference)
    value = outcome.values.get(output)
    if value is None:
        return Row(name, outcome.status, outcome.ratio, bool(promised), "", outcome.sentence)
    try:
        right = problem.right(problem.decode(value))
    except ValueError as error:
        return Row(name, "failed", outcome.ratio, bool(promised), "wrong", str(error))
    status, sentence = outcome.status, outcome.sentence
    if promised and not right and not outcome.failed:
        status, sentence = "failed", "decodes wrongly, though within its tolerance"
    return Row(name, status, outcome.ratio, bool(promised), "right" if right else "wrong", sentence)
