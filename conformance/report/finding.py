"""What became of one case, and what is to be said of a failure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["JUDGED", "NOT_CALLED_AGAIN", "OUT_OF_TIME", "CaseResult", "Finding"]

#: The statuses of cases that were judged.
JUDGED = frozenset({"passed", "failed"})
#: How the reason of a case begins that was skipped because its kernel is not called any more.
NOT_CALLED_AGAIN = "not called again"

#: The reason of a case that was skipped because its level had used up its time.
OUT_OF_TIME = "time budget"


@dataclass(frozen=True)
class Finding:
    """One failure, shrunk where there was time.

    kind: ``error`` (beyond the tolerance), ``non-finite``, ``raised``, ``hung``, ``type``, ``shape``, ``dtype``,
    ``mutated``, ``out-of-bounds``, ``memory``, ``exited`` (it ended the program), ``oracle`` (it asked an oracle for
    more than that gives); of an isolated kernel also ``crashed``, ``printed`` (to stdout), ``leak``.
    got, expected: what was returned at ``index``, and the right answer there in words.  interval: the certified value,
    where the output is a number.
    """

    kind: str
    sentence: str
    case: str
    family: str
    description: str  # shape and options of the shrunk instance, one line
    output: str = ""
    index: tuple[int, ...] | None = None
    got: float | bool | str | None = None
    expected: str = ""
    interval: tuple[float, float] | None = None
    tolerance: float | None = None
    ratio: float = float("inf")  # error / tolerance
    size: float = float("inf")  # of the instance
    instance: Any = field(default=None, repr=False, compare=False)
    instance_path: str = ""
    reproducer: str = ""  # one shell line
    hunts: str = ""
    source: str = ""


@dataclass(frozen=True)
class CaseResult:
    """What became of one case.

    status: ``passed``, ``failed``, ``skipped`` (the kernel lacks a capability, or time ran out), ``declined`` (the
    kernel said so), ``outside`` (beyond the domain of the class).
    """

    name: str
    family: str
    level: str
    status: str
    ratio: float = 0.0  # largest error / tolerance over the outputs
    seconds: float = 0.0
    reason: str = ""
    finding: Finding | None = None
