"""Who says what was judged when a kernel has ended the process: another process, which does nothing but listen.

A kernel that is not isolated may take the command with it: by a segmentation fault, an abort, an exit behind Python's
back.  Nothing runs in the process after that.  So a child, forked before anything is loaded, hears over a pipe which
case is judged, and where the pipe ends without a farewell it says that in one line.
It names no culprit: a scheduler that kills the command at its limit of time looks the same from there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["watched"]

_FAREWELL = b"\0"
_LONGEST = 500  # bytes of a message: less than what a pipe takes whole
_PATIENCE = 2.0  # seconds until a process that has closed its files must be gone


@contextmanager
def watched(active: bool) -> Iterator[Callable[[str], None]]:
    """Call what this yields before every case, with its name: if the process dies in the block, that name is said.

    active: whether the process is the command's own, and the kernel runs in it; nobody listens otherwise, nor where
    processes cannot be forked.
    """
    if not active or not hasattr(os, "fork"):
        yield lambda _name: None
        return
    read, write = os.pipe()
    watched_process = os.getpid()
    listener = os.fork()
    if listener == 0:
        try:
            os.close(write)
            _listen(read, watched_process)
        finally:
            os._exit(0)
    os.close(read)
    os.set_blocking(write, False)

    def tell(name: str) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            os.write(write, name.encode(errors="replace")[:_LONGEST].replace(b"\n", b" ") + b"\n")

    try:
        yield tell
    finally:
        with contextlib.suppress(OSError):
            os.write(write, _FAREWELL)
        with contextlib.suppress(OSError):
            os.close(write)
        with contextlib.suppress(OSError):
            os.waitpid(listener, 0)


def _listen(read: int, watched_process: int) -> None:
    """Read until the other end is closed; if that was no farewell and the process is gone, say what it did last."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    for stream in (0, 1):
        with contextlib.suppress(OSError):
            os.close(stream)
    heard = b""
    while part := os.read(read, 1 << 16):
        heard = (heard + part)[-2 * _LONGEST :]
    if heard.endswith(_FAREWELL):
        return
    begun = time.monotonic()
    while os.getppid() == watched_process:
        if time.monotonic() - begun > _PATIENCE:
            return  # it has closed the pipe and lives
        time.sleep(0.01)
    last = heard.rstrip(b"\n").rpartition(b"\n")[2].decode(errors="replace")
    case = "".join(c if c.isprintable() else "\ufffd" for c in last) or "loading the kernel"
    with contextlib.suppress(OSError):
        os.write(2, f"assay: the process ended in: {case}; --isolate tells whether the kernel ended it\n".encode())
