"""The result of one case, and what a report says of a failure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.conformance.call.wrong import Wrong
    from assay.spec.criterion import Proof

__all__ = ["AGAIN", "INTERRUPTED", "JUDGED", "NOT_CALLED_AGAIN", "OUT_OF_TIME", "AboutFamily", "CaseResult", "Finding"]

#: The statuses of cases that were judged.
JUDGED = frozenset({"passed", "failed"})
#: How the reason of a case begins that was skipped because its kernel is not called any more.
NOT_CALLED_AGAIN = "not called again"

#: The reason of a case that was skipped because its level had used up its time.
OUT_OF_TIME = "time budget"
#: How the name of a case begins that failed in an earlier run and is judged again before the level.
AGAIN = "again: "
#: How a report says that the user ended the run.
INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Finding:
    """One failure, shrunk if there was time.

    kind: ``error`` (beyond the tolerance), ``non-finite``, ``raised``, ``hung``, ``type``, ``shape``, ``dtype``,
    ``mutated``, ``overwritten`` (an answer to an earlier call), ``out-of-bounds``, ``memory``, ``exited`` (it ended the
    program), ``oracle`` (it asked an oracle for more than the oracle gives).  A kernel in isolation may also have
    ``crashed``, ``printed`` (to stdout) or ``leak``.
    description: the shape and the options of the instance, in one line.
    output, index: where the largest error is.
    got, expected: what was returned there, and the right answer in words.
    interval: the bounds of the certified value there, if the output is a number.
    tolerance: what a correct kernel may err there.
    ratio: error / tolerance; +inf where no error is allowed, or where nothing was returned.
    wrong: of every output that is judged by its elements and has wrong ones, how many and where.
    before: the same of the input before it was made smaller; empty if it was not.
    size: how large the instance is.
    instance_path: where the instance is saved; empty if it is not.
    reproducer: a shell line that judges the instance again.
    hunts, source: the bug that the family hunts, and where it was seen.
    """

    kind: str
    sentence: str
    case: str
    family: str
    description: str
    output: str = ""
    index: tuple[int, ...] | None = None
    got: float | bool | str | None = None
    expected: str = ""
    interval: tuple[float, float] | None = None
    tolerance: float | None = None
    ratio: float = float("inf")
    size: float = float("inf")
    instance: Any = field(default=None, repr=False, compare=False)
    instance_path: str = ""
    reproducer: str = ""
    hunts: str = ""
    source: str = ""
    wrong: tuple[Wrong, ...] = ()
    before: tuple[Wrong, ...] = ()


@dataclass(frozen=True)
class AboutFamily:
    """What a report says of a family of inputs: the bug that it hunts, and where that was seen."""

    hunts: str
    source: str


@dataclass(frozen=True)
class CaseResult:
    """The result of one case.

    level: how binding its family is.
    status: ``passed``, ``failed``, ``skipped`` (the kernel lacks a capability, or time ran out), ``declined`` (the
    kernel said that it does not do this), ``outside`` (beyond the domain of the class).
    ratio: the largest error / tolerance over all outputs.
    reason: why the case was skipped or declined.
    proved: what is proved of the outputs of a case that passed, where its problem proves something.
    """

    name: str
    family: str
    level: str
    status: str
    ratio: float = 0.0
    seconds: float = 0.0
    reason: str = ""
    finding: Finding | None = None
    proved: Proof | None = None

    @property
    def again(self) -> bool:
        """Whether it failed in an earlier run and was judged beyond what the level judges."""
        return self.name.startswith(AGAIN)
