"""What a kernel prints: kept out of the report that is written to the same place, and told by its first line."""

from __future__ import annotations

import contextlib
import io
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Printed", "captured", "first_line"]

_KEPT = 4096  # bytes; what follows is counted as printed and forgotten


class Printed(io.RawIOBase):
    """The beginning of what was written."""

    def __init__(self) -> None:
        self.kept = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self.kept += piece[: _KEPT - len(self.kept)]
        return len(piece)


@contextlib.contextmanager
def captured() -> Iterator[Printed]:
    """Inside the block Python's ``sys.stdout`` goes here, with all that a text file has but a descriptor.

    ``sys.stdout`` belongs to the process: only the main thread redirects it; what others print goes where it points.
    """
    printed = Printed()
    if threading.current_thread() is not threading.main_thread():
        yield printed
        return
    stream = io.TextIOWrapper(printed, "utf-8", "backslashreplace", write_through=True)  # type: ignore[type-var]
    with contextlib.redirect_stdout(stream):
        yield printed
    # not closed: a kernel that keeps sys.stdout may go on writing, to nowhere


def first_line(written: bytes) -> str:
    """The first line that says something, shortened; ``(blank)`` where none does, empty where nothing was written."""
    if not written:
        return ""
    lines = (line.strip() for line in written.decode("utf-8", "backslashreplace").splitlines())
    line = "".join(c if c.isprintable() else "\ufffd" for c in next(filter(None, lines), "(blank)"))
    return line if len(line) <= 80 else f"{line[:79]}…"
