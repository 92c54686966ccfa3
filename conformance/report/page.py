"""A report, or several, as one self-contained HTML page."""

from __future__ import annotations

import math
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from assay.conformance.interface.usage import UsageError
from assay.conformance.report.alike import alike
from assay.conformance.report.heatmap import colour
from assay.conformance.report.words import (
    behaviour,
    counted,
    facts,
    families,
    never_ran,
    not_judged,
    number,
    proof,
    proved,
    ratio,
    verdict,
)
from assay.spec.instances.extra import how_to_install

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from assay.conformance.report.report import Report

__all__ = ["to_html"]


def to_html(*reports: Report) -> str:
    """One self-contained page for all reports.

    Raises :class:`~assay.conformance.interface.usage.UsageError` if jinja2 is not installed.
    """
    try:
        import jinja2
    except ModuleNotFoundError:
        raise UsageError(f"--html needs jinja2: {how_to_install('report')}") from None
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    helpers: dict[str, Callable[..., Any]] = {
        "alike": alike,
        "came_from": _came_from,
        "commands": _commands,
        "linked": _linked,
        "ratio": ratio,
        "word": verdict,
        "counted": counted,
        "behaviour": behaviour,
        "facts": facts,
        "families": families,
        "never_ran": never_ran,
        "not_judged": not_judged,
        "number": number,
        "proof": proof,
        "proved": proved,
        "colour": colour,
        "share": _share,
    }
    template = environment.from_string((files("assay.conformance.report") / "report.html").read_text(encoding="utf-8"))
    page: str = template.render(reports=reports, outcome=_outcome(reports), **helpers)
    return page


def _outcome(reports: Sequence[Report]) -> str:
    """The worst verdict of all: what a headline says."""
    verdicts = {verdict(report).lower() for report in reports}
    return next(
        (word for word in ("failed", "interrupted", "incomplete") if word in verdicts),
        "passed" if reports else "failed",
    )


def _share(error: float) -> int:
    """The length of the bar for an error in tolerances, in percent.  A ratio of 1 and more has the whole length."""
    return 100 if math.isnan(error) else round(100 * min(error, 1.0))


def _came_from(reports: Sequence[Report]) -> list[str]:
    """A line on how many reports there are and when they were written; none where nothing is known."""
    dates = sorted({report.date for report in reports if report.date})
    if not dates:
        return []
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return [f"{len(reports)} report{'s' * (len(reports) != 1)}, {when}"]


def _commands(reports: Sequence[Report]) -> list[str]:
    """The command lines by which the reports came, each once."""
    return list(dict.fromkeys(report.command for report in reports if report.command))


_ISSUE = re.compile(r"(?P<project>[\w.-]+(?:/[\w.-]+)?)?#(?P<number>\d+)")


def _linked(source: str) -> list[tuple[str, str]]:
    """Where a bug was seen, as pieces of text with an address; the address is empty for what is no issue of a project.

    An issue without a project, as the second of "owner/project#1, #2", is one of the project before it.  A project
    whose owner is not named has no address.

    >>> _linked("seen in a/b#1, #2")
    [('seen in ', ''), ('a/b#1', 'https://github.com/a/b/issues/1'), (', ', ''), ('#2', 'https://github.com/a/b/issues/2')]
    """
    pieces: list[tuple[str, str]] = []
    done, project = 0, ""
    for issue in _ISSUE.finditer(source):
        project = issue["project"] or project
        if issue.start() > done:
            pieces.append((source[done : issue.start()], ""))
        address = f"https://github.com/{project}/issues/{issue['number']}" if "/" in project else ""
        pieces.append((issue[0], address))
        done = issue.end()
    if done < len(source):
        pieces.append((source[done:], ""))
    return pieces
