"""A report, or several, as one self-contained HTML page."""

from __future__ import annotations

import math
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from assay.conformance.interface.usage import UsageError
from assay.conformance.report.heatmap import colour
from assay.conformance.report.words import behaviour, counted, facts, families, never_ran, not_judged, number, verdict
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
        "word": verdict,
        "counted": counted,
        "behaviour": behaviour,
        "facts": facts,
        "families": families,
        "never_ran": never_ran,
        "not_judged": lambda report: not_judged(report).most_common(),
        "number": number,
        "colour": colour,
        "share": _share,
    }
    template = environment.from_string((files("assay.conformance.report") / "report.html").read_text(encoding="utf-8"))
    page: str = template.render(reports=reports, outcome=_outcome(reports), **helpers)
    return page


def _outcome(reports: Sequence[Report]) -> str:
    """The worst verdict of all: what a headline says."""
    verdicts = {verdict(report).lower() for report in reports}
    return next((word for word in ("failed", "incomplete") if word in verdicts), "passed" if reports else "failed")


def _share(ratio: float) -> int:
    """The length of the bar for an error, in percent.  A ratio of 1 and more has the whole length."""
    return 100 if math.isnan(ratio) else round(100 * min(ratio, 1.0))
