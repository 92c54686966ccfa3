"""What a wrong kernel behaves like: its outputs against a table of named wrong semantics."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call.call import within
from assay.spec.precision import PRECISIONS
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from assay.conformance.call.call import Outcome, Reference
    from assay.conformance.interface.suite import Suite
    from assay.spec.precision import Precision

__all__ = ["diagnose"]

_MOST = 0.6  # a share of the failures that is worth telling
_ALTERNATIVES = 3  # what more semantics explain alike tells nothing


def diagnose(
    failures: Sequence[tuple[Any, Outcome]],
    reference: Callable[..., Reference | None],
    suite: Suite,
    precision: Precision,
    lost: Callable[[], Sequence[str]] = tuple,
) -> list[str]:
    """Sentences of the wrong semantics that explain all ``failures`` each; else of those that do so together.

    ``reference(instance, precision)``: what a correct kernel of a class answers (None: not known).  A semantics
    explains an output if that lies within the tolerance of what the wrong instance has as its answer.
    ``lost()``: the stages in which the kernel itself loses precision, as sentences; asked only where no semantics
    explains everything.
    """
    wrong = [(instance, outcome) for instance, outcome in failures if outcome.kind in ("error", "non-finite")]
    matches: list[tuple[str, frozenset[int]]] = []  # a sentence, and the numbers of the failures that it explains
    for semantics in suite.semantics:
        explained = set()
        for number, (instance, outcome) in enumerate(wrong):
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
                explained.add(number)
        matches.append((semantics.sentence, frozenset(explained)))
    if not wrong:
        return []
    whole = [sentence for sentence, explained in matches if len(explained) == len(wrong)]
    if whole:
        return whole
    partly = _together(matches, len(wrong)) or _other_classes(wrong, reference, precision)
    return [*lost(), *partly] or [_unexplained(wrong)]


def _together(matches: Sequence[tuple[str, frozenset[int]]], failures: int) -> list[str]:
    """Several bugs in one kernel: what explains most failures, then what explains most of the others, and so on.

    A failure counts less the more semantics explain it: on one query and one key many come to the same.
    """
    alike = Counter(number for _, explained in matches for number in explained)
    left, told = set(alike), list[str]()

    def weight(explained: frozenset[int]) -> float:
        return sum(1 / alike[number] for number in sorted(explained & left))

    while left:
        _, chosen = max(matches, key=lambda match: weight(match[1]))
        best = [(sentence, explained) for sentence, explained in matches if explained & left == chosen & left]
        if len(best) <= _ALTERNATIVES:
            told += [f"{sentence} (explains {len(each) / failures:.0%} of the failures)" for sentence, each in best]
        left -= chosen
    return told if len(alike) >= _MOST * failures else []


def _other_classes(
    wrong: Sequence[tuple[Any, Outcome]], reference: Callable[..., Reference | None], precision: Precision
) -> list[str]:
    """Other classes on the same types whose tolerance covers every failure: the kernel rounds where they do."""
    found = []
    for other in PRECISIONS.values():
        if other.name == precision.name or (other.storage, other.result) != (precision.storage, precision.result):
            continue
        if all((answer := reference(i, other)) is not None and within(answer, outcome) for i, outcome in wrong):
            found.append(f"it rounds like a kernel of the class {other.name}: every failure is within its tolerance")
    return found


def _explains(answer: Reference, outcome: Outcome, post: Callable[[Any], Any] | None) -> bool:
    name = outcome.output
    enclosure, tolerance = answer[name]
    value = outcome.values[name]
    if value.shape != enclosure.shape:
        return False
    expected = enclosure.midpoint if post is None else post(enclosure.midpoint)
    with np.errstate(invalid="ignore"):
        # a wrong output that is some times the right one may err as many times as much
        moved = tolerance if post is None else np.abs(post(enclosure.midpoint + tolerance) - expected)
        allowed = np.fmax(tolerance, moved) + enclosure.radius + 1e-15 * np.abs(expected)
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
