"""The files that commands write: whole or not at all, and refused before a long run rather than after it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.cli.console import is_stdout, say
from assay.conformance.interface.usage import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from assay.conformance.report.report import Report

__all__ = ["Judgement", "ReportFiles", "make_folder", "require_writable", "write", "writing"]


@dataclass(frozen=True)
class Judgement:
    """What one report is about: a kernel, the problem it is to solve (None: it tells), the class it is judged in."""

    problem: str | None
    kernel: str
    precision: str

    @property
    def words(self) -> str:
        """The judgement in a few words."""
        return " ".join(filter(None, (self.kernel, self.problem, self.precision)))

    def is_of(self, report: Report) -> bool:
        """Whether a report is what this judgement came to."""
        return (report.kernel, report.precision) == (self.kernel, self.precision) and self.problem in (
            None,
            report.problem,
        )


def require_writable(path: Path | None) -> None:
    """Refuse a file that could not be written later.  Raises ``UsageError``."""
    if path is None or is_stdout(path):
        return
    try:
        folder, parent = path.is_dir(), path.absolute().parent.is_dir()
        path.exists()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise UsageError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from None
    if folder or not parent:
        raise UsageError(f"{path}: cannot be written, {'it is a folder' if folder else 'no such folder'}")


def make_folder(path: Path) -> None:
    """Make a folder and those above it.  Raises ``UsageError``."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot be made a folder ({error.strerror})") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A block that writes ``path``: if the system refuses, that is bad usage and is said in one line."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from None


def write(path: Path, text: str) -> None:
    """Write a text file whole or not at all: a run that is interrupted leaves the file as it was before.

    A link stays one, and what it leads to is written.  A device or a pipe is written into, as by any program.  The
    path ``-`` is stdout.
    """
    from assay.spec.written import write_bytes

    if is_stdout(path):
        say(text.removesuffix("\n"))
        return
    with writing(path):
        write_bytes(path, text.encode("utf-8", "backslashreplace"))


@dataclass(frozen=True)
class ReportFiles:
    """Where ``assay check`` writes its reports; None for a form that was not asked for."""

    json: Path | None
    html: Path | None
    junit: Path | None

    def prepare(self, *, resume: bool) -> None:
        """Refuse now what would fail after a long run.  Raises ``UsageError``."""
        from assay.conformance.report.page import to_html

        if resume and (self.json is None or is_stdout(self.json)):
            raise UsageError("--resume: needs --json FILE, where the earlier reports are")
        if sum(map(is_stdout, (self.json, self.html, self.junit))) > 1:
            raise UsageError("-: only one of --json, --html and --junit can be stdout")
        for path in (self.json, self.html, self.junit):
            require_writable(path)
        if self.html is not None:
            to_html()  # an empty page, which needs jinja2 as a full one does

    def earlier(self, plan: Sequence[Judgement], level: str, seed: int) -> tuple[dict[Judgement, Report], list[Report]]:
        """The reports that the JSON file holds already: those that answer a part of ``plan``, and all others.

        Raises ``UsageError`` if the file is there and holds something else.
        """
        from assay.conformance.report.reading import from_json
        from assay.spec.untrusted import content

        if self.json is None or not self.json.exists():
            return {}, []
        try:
            reports = from_json(content(self.json).decode())
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.json}: {error}") from None
        answers: dict[Judgement, Report] = {}
        others: list[Report] = []
        for report in reports:
            judgement = next((one for one in plan if one.is_of(report)), None)
            if judgement is not None and (report.level, report.seed) == (level, seed):
                if report.interrupted:  # it is judged anew
                    continue
                answers[judgement] = report
            else:
                others.append(report)
        return answers, others

    @property
    def stdout(self) -> Path | None:
        """The one of them that is stdout; ``None`` if none is."""
        return next(filter(is_stdout, (self.json, self.html, self.junit)), None)

    def write(self, reports: Sequence[Report], others: Sequence[Report], *, last: bool = True) -> None:
        """Write every file anew.  ``others`` are kept in the JSON file, from which they were read.

        last: whether nothing comes after this; stdout is written once, at the end.
        """
        from assay.conformance.report.data import to_json
        from assay.conformance.report.junit import to_junit
        from assay.conformance.report.page import to_html

        for path, text in ((self.json, to_json), (self.html, to_html), (self.junit, to_junit)):
            if path is not None and (last or not is_stdout(path)):
                write(path, text(*(others if path is self.json else ()), *reports))

    def resumption(self, reports: Mapping[Judgement, Report], plan: Sequence[Judgement]) -> str:
        """What to add to the line that says where a run was interrupted; empty if nothing could be resumed."""
        done = [report for report in reports.values() if not report.interrupted]
        if self.json is None or is_stdout(self.json) or not done:
            return ""
        return f"; {len(done)} of {len(plan)} reports are in {self.json}, --resume goes on from there"
