"""Greedy descent to a small failing input, over the instances that an instance calls smaller."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from assay.conformance.call.outcome import Outcome

__all__ = ["shrunk"]


def shrunk(
    instance: Any, outcome: Outcome, attempt: Callable[[Any], Outcome | None], seconds: float
) -> tuple[Any, Outcome]:
    """A smaller instance that fails in the same way, and its outcome; the same instance if none is found.

    attempt(candidate): the outcome of a candidate, or ``None`` if it cannot be judged.
    The search stops at a local minimum or after ``seconds``.
    """
    end = time.monotonic() + seconds
    progress = True
    while progress:
        progress = False
        for candidate in instance.smaller():
            if time.monotonic() > end:
                return instance, outcome
            if candidate.size() >= instance.size():
                continue
            result = attempt(candidate)
            if result is not None and result.failed and result.kind == outcome.kind:
                instance, outcome, progress = candidate, result, True
                break
    return instance, outcome
