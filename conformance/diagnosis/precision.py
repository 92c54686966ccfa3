"""Lost precision, and where: a kernel on probes that only one stage of the computation can get wrong.

This is sound by construction: a probe fails only beyond the tolerance of the class, which no correct kernel exceeds.
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

#: Significant bits → the formats that have them.
FORMATS: dict[int, str] = {
    3: "float8 e5m2",
    4: "float8 e4m3",
    8: "bfloat16",
    11: "float16 or tf32",
    24: "float32",
}
_ABOUT = 3.0  # bits: how well a probe measures them
_LEAST_BITS = 2.0  # a stage that keeps less is wrong, not imprecise


@dataclass(frozen=True)
class Probe:
    """An instance that only one stage of a kernel can get wrong.

    ``bits(value)``: how many significant bits an output, as float64, shows to have been kept there, per element; +inf
    where its error is of another kind, NaN where it cannot tell.  Read only where the output is beyond the tolerance.
    """

    instance: Any
    bits: Callable[[Array], Array]


@dataclass(frozen=True)
class Stage:
    """A stage of the computation in which a kernel may lose precision.

    words: the end of the phrase "lost precision in …".
    claimed: significant bits that the class promises there.
    explained_by: stages that would make these probes fail as well.
    sentence(bits): what is said of a stage that kept so many bits, where it is not the usual sentence.
    """

    id: str
    words: str
    claimed: float
    explained_by: tuple[str, ...]
    probes: tuple[Probe, ...]
    sentence: Callable[[float], str] | None = None


@dataclass(frozen=True)
class Loss:
    """A stage whose probes fail, and the significant bits that it was seen to keep."""

    stage: Stage
    bits: float


def losses(stages: Sequence[Stage], outcome: Callable[[Any], tuple[Outcome, Criteria] | None]) -> list[Loss]:
    """The stages in which the kernel loses precision: those that fail and that no other failing stage explains.

    There are none if a stage is wrong altogether and keeps fewer than two bits: then it is the meaning that is wrong,
    not the precision.  There are none either if a failing call, repeated, gives other bits: then no error can be
    attributed to a stage.

    outcome(instance): what the kernel makes of an instance, and the criteria; ``None`` where it cannot be asked.
    """
    found: dict[str, Loss] = {}
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
        if least < math.inf:
            found[stage.id] = Loss(stage, least)
    return [loss for loss in found.values() if not _explained(loss, found)] or list(found.values())


def _same(first: Outcome, again: tuple[Outcome, Criteria] | None) -> bool:
    return again is not None and all(
        np.array_equal(value, again[0].values.get(name, np.nan), equal_nan=True) for name, value in first.values.items()
    )


def _kept(bits: Callable[[Any], Any], answer: tuple[Outcome, Criteria]) -> list[float]:
    """What every element beyond its tolerance shows."""
    outcome, criteria = answer
    value = outcome.values[outcome.output].astype(np.float64)
    beyond = criteria[outcome.output].ratio(value) > 1.0
    shown: list[float] = np.broadcast_to(bits(value), value.shape)[beyond].tolist()
    return shown


def _explained(loss: Loss, found: Mapping[str, Loss]) -> bool:
    """By a stage that keeps fewer bits by far, or, before it in the table, about as many."""
    order = list(found)
    return any(
        other.bits <= loss.bits - _ABOUT
        or (other.bits < loss.bits + _ABOUT and order.index(other.stage.id) < order.index(loss.stage.id))
        for name, other in found.items()
        if name in loss.stage.explained_by
    )


def sentences(found: Sequence[Loss]) -> list[str]:
    """What is to be said of them, one sentence a stage."""
    return [_sentence(loss) for loss in found]


def _sentence(loss: Loss) -> str:
    if loss.stage.sentence is not None:
        return f"lost precision in {loss.stage.words}: {loss.stage.sentence(loss.bits)}"
    bits = math.floor(loss.bits)
    near = [name for size, name in FORMATS.items() if abs(size - bits) <= 1 and size < loss.stage.claimed]
    hint = f" ({near[0]}?)" if near else ""
    return f"lost precision in {loss.stage.words}: about {bits} bits{hint} where {loss.stage.claimed:.0f} are promised"
