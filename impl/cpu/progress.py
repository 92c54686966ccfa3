"""Progress of long work: reported to the caller, or shown as a bar."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Told = Callable[[int, int], None]

__all__ = ["told"]


@contextlib.contextmanager
def told(progress: bool | Told, what: str) -> Iterator[Told]:
    """Yield a function of (done, total) that reports progress.

    progress: the caller's own function; True for a bar on standard error; False for a function that does nothing.
    what: the title of the bar.
    """
    if callable(progress):
        yield progress
        return
    if not progress:
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
