"""Several threads call one kernel at the same time, and each call has an outcome of its own."""

from __future__ import annotations

import contextvars
import sys
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from assay.conformance.interface.kernel import Kernel

__all__ = ["ROUNDS", "together"]

#: The number of times that the threads enter the kernel together.
ROUNDS = 3
_MEET_SECONDS = 1.0
_SWITCH_SECONDS = 1e-5  # between threads of the interpreter; its default lets a short call finish undisturbed


def together(kernel: Kernel, trials: Sequence[Callable[[Kernel], Outcome]], seconds: float) -> list[Outcome]:
    """Run every trial in a thread of its own, :data:`ROUNDS` times; all threads enter the kernel at the same moment.

    trials: each is called with a kernel, and calls that once.

    Returns an outcome for each trial: its first outcome that is not a pass, or its last one.  A trial that has not
    ended after ``seconds`` is ``hung``.  Its thread is left behind, because Python cannot end a thread.
    """
    meeting = threading.Barrier(len(trials))

    def entered(*arrays: Any, **keywords: Any) -> Any:
        with suppress(threading.BrokenBarrierError):  # another trial called once more, or not at all
            meeting.wait(_MEET_SECONDS)
        return kernel.function(*arrays, **keywords)

    gated = replace(kernel, function=entered)
    outcomes: list[Outcome | None] = [None] * len(trials)
    broken: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(1, ROUNDS + 1):
                outcome = trials[number](gated)
                if outcome.status != "passed" or turn == ROUNDS:
                    outcomes[number] = outcome
                    break
        except BaseException as error:  # an error of the judge, not of the kernel: it is raised again by the caller
            broken.append(error)
        finally:
            if turn < ROUNDS:  # the others need not wait for it any more
                meeting.abort()

    end = time.monotonic() + seconds
    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(work, number), daemon=True)
        for number in range(len(trials))
    ]
    with warnings.catch_warnings(), _eager_switching():
        warnings.simplefilter("ignore")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
    if broken:
        raise broken[0]
    hung = Outcome("failed", np.inf, "hung", f"did not return within {seconds:g} s")
    return [hung if outcome is None else outcome for outcome in outcomes]


@contextmanager
def _eager_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
