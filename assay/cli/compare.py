"""``assay compare``: two files of reports beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import FAILED, PASSED, say
from assay.conformance.interface.usage import UsageError

if TYPE_CHECKING:
    from assay.conformance.report.report import Report

__all__ = ["compare"]


def compare(
    before: Annotated[Path, typer.Argument(help="What `assay check --json` wrote before.")],
    after: Annotated[Path, typer.Argument(help="What it wrote now, of the same kernel or of another.")],
) -> int:
    """What became better or worse: cases, errors, diagnosis.  Exit status 1 if something became worse."""
    from assay.conformance.report.comparison import compared, paired, to_text

    pairs = paired(_reports(before), _reports(after))
    if not pairs.both:
        raise UsageError(f"{before} and {after}: no report of one has the problem and the class of one of the other")
    comparisons = [compared(*pair) for pair in pairs.both]
    say(to_text(comparisons, pairs, (str(before), str(after))))
    return FAILED if any(comparison.worse for comparison in comparisons) else PASSED


def _reports(path: Path) -> tuple[Report, ...]:
    """The reports of a file.  Raises ``UsageError`` in one line for a file that holds something else, or none."""
    from assay.conformance.report.reading import from_json
    from assay.spec.untrusted import content

    try:
        reports = from_json(content(path).decode())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}; expected what assay check --json writes") from None
    if not reports:
        raise UsageError(f"{path}: it holds no report")
    return reports
