"""What a wrong kernel behaves like: its outputs are compared with a table of named wrong meanings.

A wrong meaning gives other criteria for the same instance: those under which a kernel of that meaning is right.  Every
output that these criteria name is compared.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call.outcome import is_right_for
from assay.spec.enclosure import Enclosure
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from assay.conformance.call.outcome import Outcome
    from assay.spec.criterion import Criterion
    from assay.spec.precision import Precision

    Array = NDArray[np.float64]
    Criteria = Mapping[str, Criterion]
    Change = Callable[[Any], Any | None]
    Right = Callable[[Any], Criteria | None]
    Altered = Callable[[Any, Array], Array]

__all__ = ["Meaning", "altered", "diagnose", "mixed", "solves"]

_MOST = 0.6  # the share of the failures that must be explained, if not all are
_ALTERNATIVES = 3  # a failure that more meanings explain alike says nothing about which one it is


@dataclass(frozen=True)
class Meaning:
    """A named wrong meaning.

    sentence: what a kernel of this meaning behaves like.
    criteria(instance, right): the criteria under which a kernel of this meaning is right, or ``None`` if the meaning
    changes nothing on the instance.  ``right(other)`` gives the criteria of any instance in the class that is judged,
    or ``None`` if they are not known.
    """

    id: str
    sentence: str
    criteria: Callable[[Any, Right], Criteria | None]


def solves(change: Change) -> Callable[[Any, Right], Criteria | None]:
    """The meaning of a kernel that solves another instance.

    change(instance): that other instance, or ``None`` if it is the same one.

    >>> ignored = solves(lambda instance: instance.replace(causal=None) if instance.causal is not None else None)
    >>> Meaning("causal-ignored", "causal mask ignored", ignored).sentence
    'causal mask ignored'
    """

    def criteria(instance: Any, right: Right) -> Criteria | None:
        other = change(instance)
        return None if other is None else right(other)

    return criteria


def mixed(**changes: Change) -> Callable[[Any, Right], Criteria | None]:
    """The meaning of a kernel whose outputs solve different instances.  changes: name of an output → change."""

    def criteria(instance: Any, right: Right) -> Criteria | None:
        wrong: dict[str, Criterion] = {}
        for output, change in changes.items():
            other = change(instance)
            criteria_of_other = None if other is None else right(other)
            if criteria_of_other is None:
                return None
            if output in criteria_of_other:
                wrong[output] = criteria_of_other[output]
        return wrong or None

    return criteria


def altered(change: Change, **functions: Altered) -> Callable[[Any, Right], Criteria | None]:
    """The meaning of a kernel whose outputs are functions of the right outputs of ``change(instance)``.

    functions: name of an output → function of the instance and the right output.  Outputs without a function are the
    right ones of ``change(instance)``.
    """

    def criteria(instance: Any, right: Right) -> Criteria | None:
        other = change(instance)
        criteria_of_other = None if other is None else right(other)
        if criteria_of_other is None:
            return None
        return {
            name: _altered(criterion, functions[name], instance) if name in functions else criterion
            for name, criterion in criteria_of_other.items()
        }

    return criteria


def _altered(criterion: Criterion, function: Altered, instance: Any) -> Criterion:
    """Closeness to a function of the certified value.

    If the wrong output is a multiple of the right one, it may err by the same multiple of what the right one may.
    """
    value = criterion.value
    assert value is not None, "only what is close to a value has a function of it"
    expected = function(instance, value.midpoint)
    with np.errstate(invalid="ignore"):
        moved = np.abs(function(instance, value.midpoint + criterion.allowed) - expected)
        allowed = np.fmax(criterion.allowed, moved) + np.where(np.isfinite(expected), 1e-15 * np.abs(expected), 0.0)
    return criterion.about(Enclosure(expected, value.radius), allowed)


def diagnose(
    failures: Sequence[tuple[Any, Outcome]],
    right: Callable[[Any, Precision | None], Criteria | None],
    meanings: Sequence[Meaning],
    others: Sequence[Precision] = (),
    lost: Callable[[], Sequence[str]] = tuple,
) -> list[str]:
    """Which wrong meanings explain the failures.

    A meaning explains a failure if the kernel's outputs are right under it.  Returned are the sentences of the meanings
    that explain every failure.  If there is none, these are returned: the stages in which precision is lost, and a few
    meanings that together explain most failures, each with its share.

    failures: instances and their outcomes.
    right(instance, precision): the criteria of an instance in a class, or ``None`` if they are not known.  The class
    ``None`` is the one that is judged.
    others: other classes on the same types, one of which the kernel may keep.
    lost(): sentences on the stages in which the kernel loses precision.  It is called only if no meaning explains all.
    """
    wrong = sorted(
        (failure for failure in failures if failure[1].kind in ("error", "non-finite")),
        key=lambda failure: failure[0].size(),  # the smallest is compared first, because that is quick
    )
    if not wrong:
        return []

    def right_here(instance: Any) -> Criteria | None:
        return right(instance, None)

    whole = [m.sentence for m in meanings if all(_explains(m, failure, right_here) for failure in wrong)]
    if whole:
        return whole
    matches = [
        (m.sentence, frozenset(number for number, failure in enumerate(wrong) if _explains(m, failure, right_here)))
        for m in meanings
    ]
    partly = _together(matches, len(wrong)) or _other_classes(wrong, right, others)
    return [*lost(), *partly] or [_unexplained(wrong)]


def _explains(meaning: Meaning, failure: tuple[Any, Outcome], right: Right) -> bool:
    """Whether the outputs of a failure are right under a wrong meaning."""
    instance, outcome = failure
    try:
        criteria = meaning.criteria(instance, right)
    except InvalidInstance:  # the wrong meaning makes no sense of this input
        return False
    return criteria is not None and is_right_for(criteria, outcome.values)


def _together(matches: Sequence[tuple[str, frozenset[int]]], failures: int) -> list[str]:
    """The meanings of several bugs in one kernel: what explains most failures, then most of the others, and so on.

    A failure counts less the more meanings explain it, because on tiny inputs many meanings come to the same.
    """
    alike = Counter(number for _, explained in matches for number in explained)
    left, sentences = set(alike), list[str]()

    def weight(explained: frozenset[int]) -> float:
        return sum(1 / alike[number] for number in sorted(explained & left))

    while left:
        _, chosen = max(matches, key=lambda match: weight(match[1]))
        best = [(sentence, explained) for sentence, explained in matches if explained & left == chosen & left]
        if len(best) <= _ALTERNATIVES:
            sentences += [
                f"{sentence} (explains {len(explained) / failures:.0%} of the failures)" for sentence, explained in best
            ]
        left -= chosen
    return sentences if len(alike) >= _MOST * failures else []


def _other_classes(
    wrong: Sequence[tuple[Any, Outcome]],
    right: Callable[[Any, Precision | None], Criteria | None],
    others: Sequence[Precision],
) -> list[str]:
    """Sentences that name the classes whose tolerance covers every failure: the kernel rounds where they do."""
    sentences = []
    for other in others:
        answers = ((right(instance, other), outcome) for instance, outcome in wrong)
        if all(criteria is not None and is_right_for(criteria, outcome.values) for criteria, outcome in answers):
            sentences.append(
                f"it rounds like a kernel of the class {other.name}: every failure is within its tolerance"
            )
    return sentences


def _unexplained(wrong: Sequence[tuple[Any, Outcome]]) -> str:
    """The sentence for failures that no meaning explains: whether they look like lost precision."""
    worst = max(outcome.ratio for _, outcome in wrong)
    small = 0
    for _, outcome in wrong:
        if not isinstance(outcome.got, float) or outcome.interval is None or not np.isfinite(outcome.got):
            continue
        value = outcome.values[outcome.output].astype(np.float64)
        size = float(np.abs(value[np.isfinite(value)]).max(initial=0.0))
        error = abs(outcome.got - 0.5 * (outcome.interval[0] + outcome.interval[1]))
        small += error <= size * 2.0**-6
    if small == len(wrong) and worst < 2.0**20:
        return (
            "no known wrong semantics matches; it looks like lost precision "
            f"(errors up to {worst:.3g} tolerances, small beside the values)"
        )
    return "no known wrong semantics matches"
