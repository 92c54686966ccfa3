"""References of the next cases, which a thread finds on the CPU while a kernel works on another device.

They are those that the judge would find itself, in its store: verdicts are the same, and come sooner.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from assay.conformance.interface.suite import Case
    from assay.conformance.judge.judge import Judge

__all__ = ["FURTHEST", "going_ahead"]

#: So many cases ahead of the one that is judged, at most: what is found is not forgotten before it is used.
FURTHEST = 4


@contextlib.contextmanager
def going_ahead(judge: Judge, cases: Sequence[Case]) -> Iterator[Callable[[Case], None]]:
    """A thread finds the references of these cases inside the block; the function is told which one is judged next.

    At the end of the block the thread is waited for.  A reference that cannot be found is left to the judge, which
    asks for it again.
    """
    room = threading.Semaphore(FURTHEST)
    ended = threading.Event()

    def work() -> None:
        for case in cases:
            room.acquire()
            if ended.is_set():
                return
            if not judge.lacking(case):
                with contextlib.suppress(Exception):
                    judge.criteria(case.instance)

    places = {id(case): place for place, case in enumerate(cases)}
    reached = 0

    def told(case: Case) -> None:
        """Make room up to this case, some before which may have been left out."""
        nonlocal reached
        place = places.get(id(case), -1) + 1  # 0 of a case that is none of these
        if place > reached:
            room.release(place - reached)
            reached = place

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True, name="references")
    thread.start()
    try:
        yield told
    finally:
        ended.set()
        room.release()
        thread.join()
