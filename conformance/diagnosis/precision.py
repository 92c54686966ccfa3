"""Where precision is lost: a kernel is run on probes that only one stage of the computation can get wrong.

This is sound, because a probe fails only beyond the tolerance of the class, and no correct kernel exceeds that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from assay.conformance.call.outcome import Outcome
    from assay.spec.criterion import Criterion

    Array = NDArray[np.float64]
    Criteria = Mapping[str, Criterion]

__all__ = ["FORMATS", "Loss", "Probe", "Stage", "losses", "sentences"]

#: Number of significant bits → the formats that have so many.
FORMATS: dict[int, str] = {
    3: "float8 e5m2",
    4: "float8 e4m3",
    8: "bfloat16",
    11: "float16 or tf32",
    24: "float32",
}
_ABOUT = 3.0  # bits by which a probe may mistake what a stage keeps
_LEAST_BITS = 2.0  # a stage that keeps fewer bits is wrong, and not imprecise


@dataclass(frozen=True)
class Probe:
    """An instance that only one stage of a kernel can get wrong.

    bits(value): per element, the number of significant bits that an output (as float64) shows the stage to have kept.
    It is +inf where the error is of another kind, and NaN where the element shows nothing.  It is read only where the
    output is beyond the tolerance.
    """

    instance: Any
    bits: Callable[[Array], Array]


@dataclass(frozen=True)
class Stage:
    """A stage of the computation in which a kernel may lose precision.

    words: the end of the phrase "lost precision in …".
    claimed: the number of significant bits that the class promises there.
    explained_by: the stages whose losses make these probes fail as well.
    sentence(bits): what is reported of a stage that kept so many bits, if it is not the usual sentence.
    upheld(bits): probes on which a stage that keeps so few bits has to fail, and to show about as many.  A loss that
    they do not uphold is none: what else goes wrong at large numbers looks like a loss at the first of them.
    """

    id: str
    words: str
    claimed: float
    explained_by: tuple[str, ...]
    probes: tuple[Probe, ...]
    sentence: Callable[[float], str] | None = None
    upheld: Callable[[float], tuple[Probe, ...]] | None = None


@dataclass(frozen=True)
class Loss:
    """A stage whose probes fail, and the significant bits that it was seen to keep."""

    stage: Stage
    bits: float


def losses(stages: Sequence[Stage], outcome: Callable[[Any], tuple[Outcome, Criteria] | None]) -> list[Loss]:
    """The stages in which the kernel loses precision: those that fail and that no other failing stage explains.

    There are none if a stage is wrong altogether, so that it keeps fewer than two bits: then the meaning is wrong, and
    not the precision.  There are none either if a failing call that is repeated gives other bits, or if the probes that
    a stage with so few bits has to fail speak against it: then no error can be attributed to a stage.

    outcome(instance): the outcome of the kernel on an instance, and the criteria; ``None`` if it cannot be asked.
    """
    failing: dict[str, Loss] = {}
    for stage in stages:
        kept: list[float] = []
        failed = False
        for probe in stage.probes:
            answer = outcome(probe.instance)
            if answer is None or answer[0].kind not in ("error", "non-finite"):
                continue
            if not _same(answer[0], outcome(probe.instance)):
                return []
            failed = True
            kept += [bits for bits in _kept(probe.bits, answer) if not math.isnan(bits)]
        least = min(kept, default=0.0 if failed else math.inf)
        if least < _LEAST_BITS:
            return []
        if least < math.inf and not _upheld(stage, least, outcome):
            return []
        if least < math.inf:
            failing[stage.id] = Loss(stage, least)
    return [loss for loss in failing.values() if not _explained(loss, failing)] or list(failing.values())


def _upheld(stage: Stage, bits: float, outcome: Callable[[Any], tuple[Outcome, Criteria] | None]) -> bool:
    """Whether some probe shows about as many bits, of those that a stage with so few bits has to fail.

    Where none can be asked, or none is answered with numbers, nothing speaks against it.
    """
    asked = False
    for probe in () if stage.upheld is None else stage.upheld(bits):
        answer = outcome(probe.instance)
        if answer is None or not (answer[0].status == "passed" or answer[0].kind == "error"):
            continue
        asked = True
        if answer[0].kind == "error" and min(_kept(probe.bits, answer), default=math.inf) <= bits + _ABOUT:
            return True
    return not asked


def _same(first: Outcome, again: tuple[Outcome, Criteria] | None) -> bool:
    return again is not None and all(
        np.array_equal(value, again[0].values.get(name, np.nan), equal_nan=True) for name, value in first.values.items()
    )


def _kept(bits: Callable[[Any], Any], answer: tuple[Outcome, Criteria]) -> list[float]:
    """The bits that each element beyond its tolerance shows."""
    outcome, criteria = answer
    value = outcome.values[outcome.output].astype(np.float64)
    beyond = criteria[outcome.output].ratio(value) > 1.0
    shown: list[float] = np.broadcast_to(bits(value), value.shape)[beyond].tolist()
    return shown


def _explained(loss: Loss, failing: Mapping[str, Loss]) -> bool:
    """Whether another stage explains a loss: one that keeps far fewer bits, or about as many and stands before it."""
    order = list(failing)
    return any(
        other.bits <= loss.bits - _ABOUT
        or (other.bits < loss.bits + _ABOUT and order.index(other.stage.id) < order.index(loss.stage.id))
        for name, other in failing.items()
        if name in loss.stage.explained_by
    )


def sentences(lost: Sequence[Loss]) -> list[str]:
    """One sentence for each loss."""
    return [_sentence(loss) for loss in lost]


def _sentence(loss: Loss) -> str:
    if loss.stage.sentence is not None:
        return f"lost precision in {loss.stage.words}: {loss.stage.sentence(loss.bits)}"
    bits = math.floor(loss.bits)
    near = [name for size, name in FORMATS.items() if abs(size - bits) <= 1 and size < loss.stage.claimed]
    hint = f" ({near[0]}?)" if near else ""
    return f"lost precision in {loss.stage.words}: about {bits} bits{hint} where {loss.stage.claimed:.0f} are promised"
