"""What a diagnosis has to go on: the failures and passes of a run, and the means to make further calls.

A diagnosis tells nothing that it has not checked.  What it suspects from the failures of the run it checks on *fresh*
cases: the same rows of the table with other numbers, and inputs that differ from a failing one in a few lengths or
options.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from assay.conformance.call.outcome import Outcome
    from assay.conformance.interface.steps import Output
    from assay.conformance.interface.suite import Case
    from assay.spec.criterion import Criterion
    from assay.spec.precision import Precision

    Criteria = Mapping[str, Criterion]

__all__ = ["NUMERIC", "Evidence", "Judged", "OutOfTime", "are_of_unlike_inputs", "midpoints", "wrong_parts"]

#: Kinds of failures whose outputs can be compared with what they should have been.
NUMERIC = ("error", "non-finite")


class OutOfTime(Exception):
    """The time of the diagnosis is used up: what was found so far is told."""


@dataclass(frozen=True)
class Judged:
    """A case and what became of it.  ``shrunk``: a failing case was made smaller to get it."""

    case: Case
    outcome: Outcome
    shrunk: bool = False

    @property
    def instance(self) -> Any:
        return self.case.instance


def are_of_unlike_inputs(failures: Sequence[Judged]) -> bool:
    """Whether there are two failures of unlike inputs: what explains one number may do so by chance."""
    return len({failure.instance.digest() for failure in failures}) > 1


def _no_case(_case: Case, _seed: int) -> Case | None:
    return None


def _not_asked(_case: Case) -> Outcome | None:
    return None


@dataclass
class Evidence:
    """The failures and passes of a run, and what may be asked beyond them.

    right(instance, precision): the criteria of an instance in a class (``None``: the one that is judged), or ``None``
    where they are not known.
    outputs(instance): what the kernel is to return for it, by name.
    attempt(case): what becomes of a further case; ``None`` where it cannot be asked.
    again(case, seed): the same row of the table with other numbers; ``None`` for a case that is of no row.
    end: when the diagnosis stops asking, on the clock of ``time.monotonic``.
    every: all failures of the run, of which ``failures`` are some; empty where they are all.
    slowness: how many times as long as on an idle machine everything takes here.
    """

    failures: Sequence[Judged]
    passes: Sequence[Case]
    right: Callable[[Any, Precision | None], Criteria | None]
    outputs: Callable[[Any], Mapping[str, Output]]
    attempt: Callable[[Case], Outcome | None] = _not_asked
    again: Callable[[Case, int], Case | None] = _no_case
    end: float = field(default_factory=lambda: time.monotonic() + 20.0)
    slowness: float = 1.0
    every: Sequence[Judged] = ()

    def known(self, instance: Any) -> Criteria | None:
        """The criteria of an instance in the class that is judged."""
        return self.right(instance, None)

    @property
    def left(self) -> float:
        """Seconds until the diagnosis has to end."""
        return self.end - time.monotonic()

    def tried(self, case: Case) -> Judged | None:
        """A further case, judged; ``None`` where it is not one that the kernel can be asked."""
        if self.left < 0:
            raise OutOfTime
        outcome = self.attempt(case)
        return None if outcome is None or outcome.status not in ("passed", "failed") else Judged(case, outcome)


def midpoints(a: Criterion, b: Criterion | None) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The certified values of one output in two answers; ``None`` where they cannot be compared number by number."""
    if a.value is None or b is None or b.value is None or a.value.shape != b.value.shape:
        return None
    return a.value.midpoint, b.value.midpoint


def wrong_parts(judged: Judged, criteria: Criteria) -> dict[str, NDArray[np.bool_]]:
    """Output → which of its numbers are beyond their tolerance, of the outputs that are close to a certified value."""
    wrong = {}
    for name, criterion in criteria.items():
        value = judged.outcome.values.get(name)
        if criterion.value is not None and value is not None and value.shape == criterion.value.shape:
            wrong[name] = criterion.ratio(value) > 1.0
    return wrong
