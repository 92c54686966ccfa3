"""What a wrong kernel behaves like: its outputs against a table of named wrong semantics."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.precision import PRECISIONS
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from assay.conformance.suite import Suite
    from assay.conformance.trial import Outcome, Reference
    from assay.spec.precision import Precision

__all__ = ["diagnose"]

_MOST = 0.6  # a share of the failures that is worth telling


def diagnose(
    failures: Sequence[tuple[Any, Outcome]],
    reference: Callable[..., Reference | None],
    suite: Suite,
    precision: Precision,
    lost: Callable[[], Sequence[str]] = tuple,
) -> list[str]:
    """Sentences of the wrong semantics that explain every one of ``failures``; else of that which explains most.

    ``reference(instance, precision)``: what a correct kernel of a class answers (None: not known).  A semantics
    explains an output if that lies within the tolerance of what the wrong instance has as its answer.
    ``lost()``: the stages in which the kernel itself loses precision, as sentences; asked only where no semantics
    explains everything.
    """
    wrong = [(instance, outcome) for instance, outcome in failures if outcome.kind in ("error", "non-finite")]
    matches: list[tuple[float, str]] = []
    for semantics in suite.semantics:
        explained = 0
        for instance, outcome in wrong:
            try:
                other = semantics.applies(instance)
            except InvalidInstance:  # the wrong meaning makes no sense of this input
                continue
            if other is None:
                continue
            answer = reference(other, precision)
            if answer is None:
                continue
            post = partial(semantics.post, instance) if semantics.post is not None else None
            if _explains(answer, outcome, post):
                explained += 1
        matches.append((explained / len(wrong) if wrong else 0.0, semantics.sentence))
    whole = [sentence for share, sentence in matches if share == 1.0]
    if whole:
        return whole
    if not wrong:
        return []
    stages = list(lost())
    most = max((share for share, _ in matches), default=0.0)
    if most >= _MOST:
        partly = [f"{sentence} (explains {share:.0%} of the failures)" for share, sentence in matches if share == most]
        return stages + partly
    return stages + _other_classes(wrong, reference, precision) or [_unexplained(wrong)]


def _other_classes(
    wrong: Sequence[tuple[Any, Outcome]], reference: Callable[..., Reference | None], precision: Precision
) -> list[str]:
    """Other classes on the same types whose tolerance covers every failure: the kernel rounds where they do."""
    found = []
    for other in PRECISIONS.values():
        if other.name == precision.name or (other.storage, other.result) != (precision.storage, precision.result):
            continue
        if all((answer := reference(i, other)) is not None and _within(answer, outcome) for i, outcome in wrong):
            found.append(f"it rounds like a kernel of the class {other.name}: every failure is within its tolerance")
    return found


def _within(answer: Reference, outcome: Outcome) -> bool:
    enclosure, tolerance = answer[outcome.output]
    return bool((enclosure.ratio(outcome.values[outcome.output], tolerance) <= 1.0).all())


def _explains(answer: Reference, outcome: Outcome, post: Callable[[Any], Any] | None) -> bool:
    name = outcome.output
    enclosure, tolerance = answer[name]
    value = outcome.values[name]
    if value.shape != enclosure.shape:
        return False
    expected = enclosure.midpoint if post is None else post(enclosure.midpoint)
    with np.errstate(invalid="ignore"):
        allowed = tolerance + enclosure.radius + 1e-15 * np.abs(expected)
        close = np.abs(value - expected) <= allowed
    same = (value == expected) | (np.isnan(value) & np.isnan(expected))
    return bool(((close & np.isfinite(tolerance)) | same).all())


def _unexplained(wrong: Sequence[tuple[Any, Outcome]]) -> str:
    """None of the table: does it look like lost precision?"""
    worst = max(outcome.ratio for _, outcome in wrong)
    small = 0
    for _, outcome in wrong:
        if outcome.got is None or outcome.interval is None or not np.isfinite(outcome.got):
            continue
        size = float(
            np.abs(outcome.values[outcome.output][np.isfinite(outcome.values[outcome.output])]).max(initial=0.0)
        )
        error = abs(outcome.got - 0.5 * (outcome.interval[0] + outcome.interval[1]))
        small += error <= size * 2.0**-6
    if small == len(wrong) and worst < 2.0**20:
        return (
            "no known wrong semantics matches; it looks like lost precision "
            f"(errors up to {worst:.3g} tolerances, small beside the values)"
        )
    return "no known wrong semantics matches"
