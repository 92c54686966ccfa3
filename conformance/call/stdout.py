"""What a kernel prints: it is kept out of the report, which goes to stdout too, and its first line is reported."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Printed", "captured", "first_line"]

_KEPT = 4096  # bytes that are kept; what a kernel prints after them is forgotten


class Printed(io.RawIOBase):
    """A stream that keeps the beginning of what is written to it."""

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
    """Inside the block, what Python code writes to ``sys.stdout`` is kept.  The stream has no file descriptor.

    ``sys.stdout`` belongs to the process, so only the main thread redirects it.  What other threads print goes wherever
    it points at that time.
    """
    printed = Printed()
    if threading.current_thread() is not threading.main_thread():
        yield printed
        return
    stream = io.TextIOWrapper(printed, "utf-8", "backslashreplace", write_through=True)  # type: ignore[type-var]
    with contextlib.redirect_stdout(stream):
        yield printed
    if sys.stdout is not None and sys.stdout.closed:  # by the kernel: it was restored in another place
        sys.stdout = sys.__stdout__
    # The stream is not closed: a kernel that keeps sys.stdout may go on writing, and nobody reads it.


def first_line(written: bytes) -> str:
    """The first line that is not blank, shortened; ``(blank)`` if all are; empty if nothing was written."""
    if not written:
        return ""
    lines = (line.strip() for line in written.decode("utf-8", "backslashreplace").splitlines())
    line = "".join(c if c.isprintable() else "\ufffd" for c in next(filter(None, lines), "(blank)"))
    return line if len(line) <= 80 else f"{line[:79]}…"
