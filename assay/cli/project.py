"""What the pyproject.toml of a user's project says to ``assay check``: its kernels, and failures that are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assay.cli.files import Judgement
    from assay.conformance.interface.project import Known, Project
    from assay.conformance.report.report import Report

__all__ = ["known_lines", "known_to_fail", "mended_lines", "speaking"]


def speaking(target: str | None) -> Project | None:
    """The table ``[tool.assay]`` of the project around the current folder, if it names the target, or kernels at all.

    It speaks of the kernels that it names and of no others.
    """
    from assay.conformance.interface.project import project_above

    project = project_above(Path.cwd())
    if project is None or not project.kernels or (target is not None and target not in project.kernels):
        return None
    return project


def known_to_fail(project: Project | None, judgement: Judgement, report: Report) -> dict[str, str]:
    """The families of a report that are known to fail → why."""
    families = {case.family for case in report.cases} | {gap.family for gap in report.incomplete}
    known = {family: _known(project, judgement, family) for family in families}
    return {family: one.reason for family, one in known.items() if one is not None}


def known_lines(project: Project | None, judgement: Judgement, report: Report) -> Iterator[str]:
    """A line for each family that is known to fail and did: why."""
    from assay.conformance.report.text import missed

    failed = missed(report)
    for family, known in _known_of(project, judgement, report).items():
        if family in failed:
            yield f"known: {family}: {known.reason}"


def mended_lines(project: Project | None, judgement: Judgement, report: Report) -> Iterator[str]:
    """A line for each reason of families that are known by name to fail, and passed.

    A lower level may pass what a higher one does not, so the line names the level.  Nothing is said of a family that
    was skipped or judged in part, as in a run that ended early or that tried again what had failed.
    """
    if report.ended:
        return
    from assay.conformance.report.text import missed

    judged = {case.family for case in report.cases if case.status == "passed" and not case.again}
    mended = judged - missed(report)
    passed: dict[str, list[str]] = {}
    for family, known in _known_of(project, judgement, report).items():
        if family in mended and known.family:
            passed.setdefault(known.reason, []).append(family)
    for reason, families in passed.items():
        words = f"known to fail, and passed at {report.level}: {', '.join(families)} ({reason})"
        yield f"{words}: take {'it' if len(families) == 1 else 'them'} out of the known failures"


def _known_of(project: Project | None, judgement: Judgement, report: Report) -> dict[str, Known]:
    """The families with cases in a report that are known to fail → what is known of them."""
    families = dict.fromkeys(case.family for case in report.cases)
    known = {family: _known(project, judgement, family) for family in families}
    return {family: one for family, one in known.items() if one is not None}


def _known(project: Project | None, judgement: Judgement, family: str) -> Known | None:
    known = () if project is None else project.known
    return next((one for one in known if one.covers(judgement.kernel, judgement.precision, family)), None)
