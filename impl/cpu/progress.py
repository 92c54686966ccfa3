"""How far long work is: told to the caller, or shown as a bar."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Told = Callable[[int, int], None]

__all__ = ["told"]


@contextlib.contextmanager
def told(progress: bool | Told, what: str) -> Iterator[Told]:
    """A function of (done, total): the caller's own; for True, of a bar on standard error; for False, of nothing."""
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
