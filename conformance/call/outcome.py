"""The outcome of one script: its answer, compared with the criteria of the instance."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call.wrong import Wrong, wrong_elements

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.conformance.call.call import Answer
    from assay.spec.criterion import Criterion, Proof

    Criteria = Mapping[str, Criterion]

__all__ = ["Outcome", "answers", "compared", "is_right_for", "parts_of"]

_SHOWN = 8  # elements of an output that is judged as a whole


@dataclass(frozen=True)
class Outcome:
    """The outcome of one script.

    status: ``passed``, ``failed``, ``declined``, ``skipped`` or ``outside`` (beyond the domain of the class).
    ratio: the largest error in units of what is allowed.
    kind: empty unless the status is ``failed``; then a kind of :class:`assay.conformance.report.finding.Finding`.
    output, index: where the largest ratio is.
    got, expected: what was returned there, and the right answer in words.
    interval: the bounds of the certified value there, if the output is close to one.
    allowed: what a correct kernel may err there.
    values: the outputs by name.
    wrong: of every output that is judged by its elements and has wrong ones, how many and where.
    proved: what is proved of outputs that passed, where their criterion proves something.
    """

    status: str
    ratio: float = 0.0
    kind: str = ""
    sentence: str = ""
    output: str = ""
    index: tuple[int, ...] | None = None
    got: float | bool | str | None = None
    expected: str = ""
    interval: tuple[float, float] | None = None
    allowed: float | None = None
    values: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    wrong: tuple[Wrong, ...] = ()
    proved: Proof | None = None

    @property
    def failed(self) -> bool:
        return self.status == "failed"


def compared(answer: Answer, criteria: Criteria) -> Outcome:
    """Compare an answer with criteria.  Outputs that ``criteria`` does not name are not compared."""
    if answer.kind in ("declined", "skipped"):
        return Outcome(answer.kind, sentence=answer.sentence, notes=answer.notes)
    if answer.kind:
        return Outcome("failed", np.inf, answer.kind, answer.sentence, values=answer.values, notes=answer.notes)
    worst = Outcome("passed", values=answer.values, notes=answer.notes)
    wrong: list[Wrong] = []
    for name, criterion in criteria.items():
        parts = parts_of(answer.values, name, criterion)
        ratio = criterion.ratio(*parts)
        if ratio.size == 0:
            continue
        index = tuple(int(k) for k in np.unravel_index(int(np.argmax(ratio)), ratio.shape))
        largest = float(ratio[index])
        if largest > 1.0 and all(part.shape == ratio.shape for part in parts):
            wrong += [some] if (some := wrong_elements(name, ratio)) else []
        if largest > worst.ratio:
            worst = _worst(answer, name, criterion, index, ratio)
    if worst.status == "passed" and not any(criterion.judges() for criterion in criteria.values()):
        exact = all((np.asarray(criterion.allowed) == 0).all() for criterion in criteria.values())
        return worst if exact else Outcome("outside", values=answer.values, notes=answer.notes)
    return replace(worst, wrong=tuple(wrong), proved=None if worst.failed else _proved(answer.values, criteria))


def _proved(values: Mapping[str, NDArray[Any]], criteria: Criteria) -> Proof | None:
    """The first proof that the criteria have of outputs."""
    proofs = (
        criterion.proves(*parts_of(values, name, criterion))
        for name, criterion in criteria.items()
        if criterion.proves is not None and criterion.judges()
    )
    return next(proofs, None)


def answers(criteria: Criteria, values: Mapping[str, NDArray[Any]]) -> bool:
    """Whether there is every output that these criteria take, of the shape that they are about."""
    for name, criterion in criteria.items():
        if any(output not in values for output in criterion.outputs or (name,)):
            return False
        if criterion.value is not None and values[name].shape != criterion.value.shape:
            return False
        if not criterion.outputs and np.ndim(criterion.allowed) and values[name].shape != np.shape(criterion.allowed):
            return False  # an answer to another question, as of fewer points
    return True


def is_right_for(criteria: Criteria, values: Mapping[str, NDArray[Any]]) -> bool:
    """Whether every output is right under ``criteria``.

    Where what is allowed is infinite, nothing is known of an output: it is right there only if it has no error at all.
    Nothing is right that lacks an output which a criterion takes, as after a call that raised.
    """
    if not answers(criteria, values):
        return False
    for name, criterion in criteria.items():
        parts = parts_of(values, name, criterion)
        passes = (criterion.ratio(*parts) <= 1.0) & np.isfinite(criterion.allowed)
        if not (passes | (criterion.error(*parts) == 0.0)).all():
            return False
    return True


def parts_of(values: Mapping[str, NDArray[Any]], name: str, criterion: Criterion) -> tuple[NDArray[Any], ...]:
    """The outputs that the criterion under ``name`` takes, in its order."""
    return tuple(values[output] for output in criterion.outputs or (name,))


def _worst(
    answer: Answer, name: str, criterion: Criterion, index: tuple[int, ...], ratios: NDArray[np.float64]
) -> Outcome:
    """The outcome at the element of the largest ratio, in numbers and in words."""
    ratio = float(ratios[index])
    got = _got(answer.values, name, criterion, index)
    if criterion.told is None:
        expected, allowed = criterion.expected(index), float(np.broadcast_to(criterion.allowed, ratios.shape)[index])
    else:
        expected, allowed = criterion.told(*parts_of(answer.values, name, criterion))
    interval = None
    if criterion.value is not None:
        at = criterion.value[index]
        interval = (float(at.lower), float(at.upper))
    status, kind, sentence = "passed", "", ""
    if ratio > 1.0:
        status = "failed"
        kind = "non-finite" if isinstance(got, float) and not np.isfinite(got) else "error"
        place = f"{name}[{', '.join(map(str, index))}]" if index else name
        shown = f"{got:.9g}" if isinstance(got, float) else str(got)
        if np.isfinite(ratio):
            error = f" (tolerance {allowed:.2g}): off by {ratio:.3g} tolerances"
        else:  # a tolerance of 0, or an error that no tolerance excuses
            error = ": no error is allowed there" if allowed == 0.0 else f" (tolerance {allowed:.2g})"
        sentence = f"{place} is {shown}, {expected}{error}"
    return Outcome(
        status, ratio, kind, sentence, name, index, got, expected, interval, allowed, answer.values, answer.notes
    )


def _got(
    values: Mapping[str, NDArray[Any]], name: str, criterion: Criterion, index: tuple[int, ...]
) -> float | bool | str:
    """What was returned at an index: a number, a truth value, or the beginning of an output judged as a whole."""
    value = values.get(name)
    if value is None or (not index and value.ndim):
        return ", ".join(_beginning(part) for part in parts_of(values, name, criterion))
    element = value[index]
    return bool(element) if value.dtype.kind == "b" else float(element)


def _beginning(part: NDArray[Any]) -> str:
    shown = " ".join(f"{x:.6g}" if part.dtype.kind not in "biu" else str(x) for x in part.ravel()[:_SHOWN].tolist())
    return f"[{shown}{' …' if part.size > _SHOWN else ''}]"
