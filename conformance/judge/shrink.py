"""The smallest failing input: greedy descent over what an instance calls smaller."""

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
    """A smaller instance that fails in the same way, and how it fails; the given one where there is none.

    ``attempt`` judges a candidate, ``None`` where it cannot.  Stops at a local minimum or after ``seconds``.
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
            found = attempt(candidate)
            if found is not None and found.failed and found.kind == outcome.kind:
                instance, outcome, progress = candidate, found, True
                break
    return instance, outcome
