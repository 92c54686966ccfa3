"""Work in several processes of this machine, whose results come in the order of the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from assay.conformance.interface.usage import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

__all__ = ["in_processes"]

T = TypeVar("T")
R = TypeVar("R")


def in_processes(
    function: Callable[[T], R], work: Sequence[T], jobs: int, begin: Callable[[], object] | None = None
) -> Generator[R, None, None]:
    """Yield ``function(piece)`` for the pieces in their order, from as many processes as there are ``jobs``.

    function: one that another process finds by its name, or a ``functools.partial`` of one.  A piece and its result are
    pickled.  Each process starts anew, so it shares no state with this one; it calls ``begin`` before its first piece.

    An exception of the function is raised here.  Raises ``UsageError`` if a process ends before its piece is done.
    Once nobody waits any more, be it for an exception or for an interruption, no process is left behind.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    mine = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begun, (begin,))
    try:
        futures = [pool.submit(function, piece) for piece in work]
        for future in futures:
            yield future.result()
        pool.shutdown()
    except BrokenProcessPool:
        raise UsageError("a process of --jobs ended: a kernel that ends its process needs --isolate") from None
    finally:
        for process in set(multiprocessing.active_children()) - mine:
            process.terminate()
        pool.shutdown(cancel_futures=True)


def _begun(begin: Callable[[], object] | None) -> None:
    """An interruption from the keyboard reaches every process; the one that waits says so and ends the others."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if begin is not None:
        begin()
