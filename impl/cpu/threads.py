"""Threads of kernels: how many there are by default, and those that are kept alive between calls.

A thread that is started for a call costs more than a small call itself.  So a process keeps the threads of its last
call, idle, and the next call takes them.  These threads are the only state of this room: time depends on them, results
do not.  Nothing is started before the first call that shares its work; a forked process has none of its parent's.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from assay.spec.floating_point import restore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

__all__ = ["Borrowed", "available", "require_number", "share", "worth"]

_T = TypeVar("_T")
_NAME = "assay kernel"  # of the threads, by which they know themselves
_WORTH = 40e3  # nanoseconds of work for which another thread is woken: it takes about half of it to wake and to join


def available() -> int:
    """The number of CPUs that this process may run on, at least 1: the default number of threads of a kernel."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_number(threads: int | None) -> None:
    """Raise ``ValueError`` for a number of threads below 1; ``None`` stands for :func:`available`."""
    if threads is not None and threads < 1:
        raise ValueError(f"threads: {threads!r}, expected at least 1")


def worth(workers: int, nanoseconds: float) -> int:
    """How many of ``workers`` ≥ 1 threads so many nanoseconds of one core are worth, at least 1."""
    return workers if nanoseconds >= workers * _WORTH else max(1, int(nanoseconds / _WORTH))


def share(part: Callable[[_T], object], starts: Iterable[_T], workers: int) -> None:
    """Call ``part(start)`` for every start, begun in this order, on at most ``workers`` threads, this one among them.

    Every part has ended when the function returns or raises.  A part that raises ends the work, and its exception is
    raised here.  Where no other thread comes in time, this one does everything, so that calls may be nested.
    """
    todo = deque(starts)

    def work() -> None:
        while todo:
            try:
                start = todo.popleft()
            except IndexError:  # another thread took the last one
                return
            try:
                part(start)
            except BaseException:
                todo.clear()
                raise

    def help_out() -> None:
        try:
            restore()  # a thread that was started while the environment was unusual has it for good
        except FloatingPointError:
            return  # such a thread does nothing
        work()

    helpers: list[Future[None]] = []
    if len(todo) > 1:
        pool = _pool(workers, exactly=False) if workers > 1 else None
        # It raises where the system has no more threads, and while the interpreter ends.
        with contextlib.suppress(RuntimeError):
            for _ in range(min(workers, len(todo)) - 1):
                assert pool is not None
                helpers.append(pool.submit(help_out))
    try:
        work()
    except BaseException:
        todo.clear()
        raise
    finally:
        begun = [helper for helper in helpers if not helper.cancel()]
        wait(begun)
    for helper in begun:
        helper.result()


class Borrowed(Executor):
    """The threads that are kept, as an executor of exactly so many: ``with Borrowed(workers) as pool``.

    It is what ``ThreadPoolExecutor(workers)`` is but for its threads, which outlive it.  When it is left, all that was
    submitted has ended.  In a thread that is itself kept it starts threads of its own: a task that waited for others
    of the same threads could wait for ever.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers: {workers}, expected at least 1")
        self.workers = workers
        self._pool: ThreadPoolExecutor | None = None
        self._own = threading.current_thread().name.startswith(_NAME)
        self._open: set[Future[Any]] = set()
        self._left = False

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Begin ``call(*arguments, **keywords)`` on one of the threads, as soon as one is free."""
        if self._left:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if self._pool is None:
            self._pool = _started(self.workers) if self._own else _pool(self.workers, exactly=True)
        future = self._pool.submit(_usually, call, arguments, keywords)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for what was submitted, or cancel what has not begun; the threads stay."""
        self._left = True
        pending = list(self._open)
        if cancel_futures:
            for future in pending:
                future.cancel()
        if wait:
            for future in pending:
                with contextlib.suppress(CancelledError):
                    future.exception()
        if self._own and self._pool is not None:
            self._pool.shutdown(wait)
        self._pool = None  # so that whoever still knows this executor holds no threads


def _usually(call: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """The call in the usual floating-point environment, in which the thread need not have been started."""
    restore()
    return call(*arguments, **keywords)


@dataclass(frozen=True)
class _Kept:
    """Threads, at most so many, of one process."""

    pool: ThreadPoolExecutor
    workers: int
    process: int


_kept: dict[str, _Kept] = {}  # at most one entry; changes of a dictionary are atomic: a fork would copy a lock as held


def _pool(workers: int, *, exactly: bool) -> ThreadPoolExecutor:
    """The threads that are kept: ``workers``, or at least so many.

    Where those of before were too few, or others than exactly so many, others take their place; those of before end as
    soon as nobody holds them.
    """
    kept = _kept.get("threads")
    ours = kept if kept is not None and kept.process == os.getpid() else None  # a fork has none of its parent's
    if ours is not None and (ours.workers == workers or (ours.workers > workers and not exactly)):
        return ours.pool
    made = _Kept(_started(workers), workers, os.getpid())
    _kept["threads"] = made
    return made.pool


def _started(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix=_NAME)
