"""What a command says, and the status that it ends with: stdout, stderr, colour, progress and exit statuses."""

from __future__ import annotations

import contextlib
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = [
    "FAILED",
    "INCOMPLETE",
    "INTERRUPTED",
    "MISUSED",
    "PASSED",
    "Interrupted",
    "Invocation",
    "Unwritable",
    "Watch",
    "coloured",
    "is_stdout",
    "refuse",
    "say",
    "shown",
]

_LONGEST_WORD, _LONGEST_LINE = 300, 4000  # letters

PASSED, FAILED, MISUSED, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass(frozen=True)
class Invocation:
    """What a command was called by, as the object of its context.

    command: the command line, which reports tell.  own: whether the process is the command's own.
    """

    command: str
    own: bool


class Interrupted(Exception):
    """The user interrupted the command; the message says what was done until then."""


class Unwritable(Exception):
    """What was to be said cannot be: stdout is closed, full, or nobody reads it; the message is one line."""


def say(text: str, *, beside: Path | None = None) -> None:
    """Write a result to stdout at once, so that a reader at the other end of a pipe does not wait for the next one.

    beside: where the command writes its data.  If that is stdout, words go to stderr.
    """
    name, stream = ("stderr", sys.stderr) if is_stdout(beside) else ("stdout", sys.stdout)
    if stream is None:
        raise Unwritable(f"{name}: is closed, expected a file, a pipe or a terminal")
    try:
        print(text, flush=True, file=stream)
    except (OSError, ValueError) as error:
        raise Unwritable(f"{name}: cannot be written ({getattr(error, 'strerror', None) or error})") from None


def is_stdout(path: Path | None) -> bool:
    """Whether a path is ``-``, which is stdout."""
    return path is not None and str(path) == "-"


def refuse(sentence: str, status: int) -> int:
    """Write one line to stderr and return ``status``.

    An empty sentence, which is what click leaves where it has shown the help text, writes nothing.
    """
    if sentence.strip() and sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # nobody can be told
            print(f"assay: {_quotable(sentence)}", file=sys.stderr)
    return status


def _quotable(sentence: str) -> str:
    """A sentence in one line.  It may quote what a user wrote, so long words are cut and control characters dropped."""
    words = ("".join(c if c.isprintable() else "\ufffd" for c in word) for word in sentence.split())
    line = " ".join(word if len(word) <= _LONGEST_WORD else f"{word[: _LONGEST_WORD - 1]}…" for word in words)
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…"


def coloured() -> bool:
    """Whether text may carry colours: stdout is a terminal, and the user has not set NO_COLOR (no-color.org)."""
    return sys.stdout is not None and sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _nobody(_sentence: str) -> None:
    """Hear what is judged next, and do nothing."""


@dataclass
class Watch:
    """How far a judgement, or a run of several, has come, in words and, where there is one, as a bar.

    about: hears of every case.
    """

    units: str = "cases"
    bar: Any = None
    progress: str = "0 cases"
    about: Callable[[str], None] = _nobody

    def restart(self) -> None:
        """Nothing is done yet."""
        self.progress = f"0 {self.units}"

    def tell(self, done: int, total: int, sentence: str) -> None:
        """What a judgement calls after every case."""
        self.progress = f"{done} of {total} {self.units}"
        self.about(sentence)
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=done, total=total)


@contextmanager
def shown(watch: Watch, title: str, *, quiet: bool) -> Iterator[None]:
    """Show ``watch`` as a bar on stderr while the block runs, unless ``quiet``, and only where stderr is a terminal.

    Whatever is said in the block goes to stderr as well.
    """
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        bar.add_task(title)
        watch.bar = bar
        yield
    watch.bar = None
