"""What a kernel can take away from the process that it is called in: its end, its streams, its folder, its stack.

:func:`kept_alive` makes the ways in which Python code ends a process at once an exception, so that no kernel can end
the judge with the exit status of a pass.  :func:`surroundings` notes what a call may not change, and restores it.
Code that is not Python can still end the process: only another process would see that (``--isolate``).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Left", "Surroundings", "kept_alive", "opened", "surroundings"]

_ENDINGS = ("_exit", "execv", "execve")  # the others of os call these
_STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2, "__stdin__": 0, "__stdout__": 1, "__stderr__": 2}
_APART = 700  # where duplicates of descriptors lie: a kernel that closes "all" of them closes the first few hundred


class Left(SystemExit):
    """A kernel wanted to end the process at once.  Like SystemExit, it is not caught by ``except Exception``."""


@contextlib.contextmanager
def kept_alive() -> Iterator[None]:
    """Inside the block, ``os._exit`` and ``os.exec…`` raise :class:`Left` in this process; in its children they do not.

    What keeps a reference to one of these functions finds the real one in it after the block.
    """
    places = [os, sys.modules[os._exit.__module__]]
    before = [(place, name, getattr(place, name)) for place in places for name in _ENDINGS if hasattr(place, name)]
    process, inside = os.getpid(), [True]

    def staying(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def stay(*arguments: Any, **keywords: Any) -> NoReturn:
            if not inside or os.getpid() != process:
                real(*arguments, **keywords)
            raise Left(f"os.{name}({arguments[0]!r})" if name == "_exit" and arguments else f"os.{name}(…)")

        stay.__module__ = real.__module__  # where the block inside finds it
        return stay

    try:
        for place, name, real in before:
            setattr(place, name, staying(name, real))
        yield
    finally:
        inside.clear()
        for place, name, real in before:
            setattr(place, name, real)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What the process was like before a call."""

    deepest: int
    folder: str
    streams: Mapping[str, Any]
    files: Mapping[int, tuple[int, int]]
    duplicates: Mapping[int, int]

    def restored(self) -> list[str]:
        """Put back what has changed, and say what that was."""
        said = []
        if sys.getrecursionlimit() != self.deepest:
            said.append(f"leaves a recursion limit of {sys.getrecursionlimit()}")
            sys.setrecursionlimit(self.deepest)
        for number, file in self.files.items():
            if _file(number) != file:
                with contextlib.suppress(OSError):
                    os.dup2(self.duplicates[number], number)
                    said.append(f"closes file descriptor {number}")
        for name, stream in self.streams.items():
            if _closed(stream):
                with contextlib.suppress(OSError):
                    setattr(sys, name, opened(_STREAMS[name]))
                    said.append(f"closes sys.{name}")
            elif getattr(sys, name) is not stream:
                setattr(sys, name, stream)
                said.append(f"replaces sys.{name}")
        if self.folder and _folder() != self.folder:
            with contextlib.suppress(OSError):
                os.chdir(self.folder)
                said.append("leaves another current folder")
        return [f"{words} (it was restored)" for words in said]


@contextlib.contextmanager
def surroundings() -> Iterator[Surroundings]:
    """What the process is like now, for a block that calls a kernel; in other threads than the main one, nothing."""
    if threading.current_thread() is not threading.main_thread():  # one that is left behind would restore too late
        yield Surroundings(sys.getrecursionlimit(), "", {}, {}, {})
        return
    files = {number: file for number in range(3) if (file := _file(number)) is not None}
    duplicates = {number: _duplicate(number) for number in files}
    try:
        streams = {name: stream for name in _STREAMS if not _closed(stream := getattr(sys, name))}
        yield Surroundings(sys.getrecursionlimit(), _folder(), streams, files, duplicates)
    finally:
        for duplicate in duplicates.values():
            with contextlib.suppress(OSError):
                os.close(duplicate)


def opened(number: int) -> Any:
    """A text stream of a descriptor, which stays open after it."""
    return open(number, "w" if number else "r", encoding="utf-8", errors="backslashreplace", closefd=False)


def _file(number: int) -> tuple[int, int] | None:
    """The file behind a descriptor; ``None`` behind one that is closed."""
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _duplicate(number: int) -> int:
    with contextlib.suppress(ImportError, OSError):
        from fcntl import F_DUPFD_CLOEXEC, fcntl

        return fcntl(number, F_DUPFD_CLOEXEC, _APART)
    return os.dup(number)


def _closed(stream: Any) -> bool:
    return stream is None or bool(getattr(stream, "closed", False))


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # somebody removed it
        return ""
