"""How the process of a command begins and ends: its three streams are there, and no other code ends it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ended_by_others", "opened_streams"]

_SAID = b"assay: ended by a kernel, in code that is not Python: nothing was judged (--isolate says in which case)\n"


def opened_streams() -> None:
    """Open what is closed of the first three descriptors, so that no file of ours is taken for one of them.

    ``sys.stdout`` stays ``None`` where it was closed, which every command refuses when it has something to say.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


@contextlib.contextmanager
def ended_by_others() -> Iterator[None]:
    """Whoever calls ``exit`` of the C library inside the block ends the process with one line and exit status 1.

    The process must not come to a usual end after the block, but to that of ``os._exit``.  Only glibc has this; code
    that enters the kernel of the system itself is not seen.
    """
    process, end, write = os.getpid(), os._exit, os.write

    def ending(status: int, _: int | None) -> None:
        if os.getpid() == process:
            with contextlib.suppress(OSError):
                write(2, _SAID)
            end(status or 1)
        end(status)

    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p)(ending)
            ctypes.CDLL(None).on_exit(callback, None)
    yield
