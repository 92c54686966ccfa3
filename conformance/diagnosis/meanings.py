"""What a wrong kernel behaves like: its outputs are compared with a table of named wrong meanings.

A wrong meaning gives other criteria for the same instance: those under which a kernel of that meaning is right.  Every
output that these criteria name is compared.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from assay.conformance.call.outcome import answers, is_right_for, parts_of
from assay.conformance.diagnosis.evidence import midpoints
from assay.spec.enclosure import Enclosure
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from assay.conformance.call.outcome import Outcome
    from assay.conformance.diagnosis.evidence import Evidence, Judged
    from assay.conformance.interface.suite import Case
    from assay.spec.criterion import Criterion
    from assay.spec.precision import Precision

    Array = NDArray[np.float64]
    Criteria = Mapping[str, Criterion]
    Change = Callable[[Any], Any | None]
    Right = Callable[[Any], Criteria | None]
    Altered = Callable[[Any, Array], Array]

__all__ = [
    "MOST_SENTENCES",
    "Both",
    "Explanation",
    "Meaning",
    "altered",
    "contradictions",
    "explaining",
    "explains",
    "mixed",
    "other_classes",
    "pairs",
    "shares",
    "solves",
    "together",
    "unexplained",
]

#: The number of meanings that are reported.  A failure that more of them explain alike says nothing about which it is.
MOST_SENTENCES = 3
_MOST = 0.6  # the share of the failures that must be explained, if not all are
_INSIDE = 0.75  # the share of the failures that must be inside the domain of another class as a whole
_SHARE = 0.1  # the share of the failures that one meaning has to explain
_TRIED = 6  # the smallest failures, with each of which every meaning is compared
_NOTHING = 1e-3  # tolerances: a number that is as good as 0
_CLEARLY = 4.0  # tolerances: a kernel of a wrong meaning errs as much where it would have been seen


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


class Explanation(Protocol):
    """A meaning, or two at once."""

    @property
    def sentence(self) -> str: ...

    @property
    def criteria(self) -> Callable[[Any, Right], Criteria | None]: ...


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


@dataclass(frozen=True)
class Both:
    """Two meanings at once, as of a kernel with two bugs: the second of what the first makes of an instance."""

    first: Meaning
    second: Meaning

    @property
    def sentence(self) -> str:
        return f"{self.first.sentence}; and {self.second.sentence}"

    def criteria(self, instance: Any, right: Right) -> Criteria | None:
        """What would be right under both; where one changes nothing, what is right under the other."""

        def second(other: Any) -> Criteria | None:
            return self.second.criteria(other, right) or right(other)

        return self.first.criteria(instance, second) or self.second.criteria(instance, right)


def explaining(
    meanings: Sequence[Explanation], failures: Sequence[Judged], right: Right, end: float
) -> tuple[list[Any], int]:
    """The meanings that explain every failure that there was time to compare, and how many these are.

    The smallest failure, which is compared the fastest, comes first, and what does not explain it is not asked again.
    """
    left = list(meanings)
    for compared, failure in enumerate(sorted(failures, key=lambda failure: failure.instance.size())):
        kept: list[Any] = []
        for number, meaning in enumerate(left):
            if time.monotonic() > end:
                return [*kept, *left[number:]], compared
            if explains(meaning, failure, right):
                kept.append(meaning)
        left = kept
    return left, len(failures)


def explains(meaning: Explanation, failure: Judged, right: Right) -> bool:
    """Whether the outputs of a failure are right under a meaning, and a right kernel's would not be.

    The second half matters where the meaning hardly changes the answer: then it explains nothing, for the right answer
    would be as good under it.  At the worst element its own answer is to be beyond the tolerance.
    """
    instance, outcome = failure.instance, failure.outcome
    wrong = _criteria(meaning, instance, right)
    if wrong is None or not is_right_for(wrong, outcome.values):
        return False
    proper = right(instance)
    return proper is None or _shows(wrong, proper, outcome)


def _criteria(meaning: Explanation, instance: Any, right: Right) -> Criteria | None:
    try:
        return meaning.criteria(instance, right)
    except InvalidInstance:  # the wrong meaning makes no sense of this input
        return None


def _shows(wrong: Criteria, proper: Criteria, outcome: Outcome) -> bool:
    """Whether a wrong meaning's own answer is beyond the tolerance where the kernel's is, and much nearer to it.

    An error that is hardly beyond the tolerance needs an answer that is at least half as far.  Where every number is
    within its tolerance, what failed is a criterion without a value, as what each layer makes of the tokens before it.
    """
    compared = exceeded = False
    for name, criterion in proper.items():
        meant, got = wrong.get(name), outcome.values.get(name)
        if criterion.value is None or got is None or meant is None or meant.value is None:
            continue
        if meant.value.shape != criterion.value.shape:
            continue
        compared = True
        ratio = criterion.ratio(got)
        beyond = ratio > 1.0
        if not beyond.any():
            continue
        exceeded = True
        with np.errstate(invalid="ignore"):
            before = np.abs(got.astype(np.float64) - criterion.value.midpoint)[beyond]
            after = np.abs(got.astype(np.float64) - meant.value.midpoint)[beyond]
            room = np.broadcast_to(criterion.allowed, ratio.shape)[beyond]
            nothing = (got.astype(np.float64)[beyond] == 0.0) & (np.abs(meant.value.midpoint[beyond]) > _NOTHING * room)
        if nothing.any():  # a kernel that writes nothing is not explained by an answer that happens to be small
            continue
        finite = np.isfinite(before) & np.isfinite(after)
        nearer = after[finite].sum() <= 0.5 * before[finite].sum()
        farthest = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
        if nearer and criterion.ratio(meant.value.midpoint)[farthest] > min(1.0, 0.5 * float(ratio[farthest])):
            return True
    return _shows_without_value(wrong, proper, outcome) if compared and not exceeded else not compared


def _shows_without_value(wrong: Criteria, proper: Criteria, outcome: Outcome) -> bool:
    """Whether a criterion without a value fails, a wrong meaning's own answer fails it too, and is much nearer."""
    for name, criterion in proper.items():
        if criterion.value is not None:
            continue
        got: list[NDArray[Any]] = []
        meant: list[Array] = []
        before = after = 0.0
        for output in criterion.outputs or (name,):
            mine, theirs, exact = outcome.values.get(output), _value(wrong, output), _value(proper, output)
            if mine is None or theirs is None or exact is None or not mine.shape == theirs.shape == exact.shape:
                break
            got.append(mine)
            meant.append(theirs)
            with np.errstate(invalid="ignore"):
                off = np.abs(mine.astype(np.float64) - np.stack([exact, theirs]))
            off = np.where(np.isfinite(off).all(axis=0), off, 0.0)
            before, after = before + float(off[0].sum()), after + float(off[1].sum())
        else:
            fails = before > 0.0 and after <= 0.5 * before and bool((criterion.ratio(*got) > 1.0).any())
            if fails and (criterion.ratio(*meant) > 1.0).any():
                return True
    return False


def _value(criteria: Criteria, name: str) -> Array | None:
    """The certified value under a name; NaN where nothing is judged, ``None`` where there is none."""
    criterion = criteria.get(name)
    if criterion is None or criterion.value is None:
        return None
    return np.where(np.isfinite(criterion.allowed), criterion.value.midpoint, np.nan)


def contradictions(meaning: Explanation, passes: Sequence[Case], right: Right, end: float, most: int) -> int:
    """How many cases that passed a kernel of this meaning would have failed; counted up to ``most``."""
    count = 0
    for case in sorted(passes, key=lambda case: case.instance.size()):
        if count >= most or time.monotonic() > end:
            break
        wrong, proper = _criteria(meaning, case.instance, right), right(case.instance)
        count += wrong is not None and proper is not None and _would_fail(wrong, proper)
    return count


def _would_fail(wrong: Criteria, proper: Criteria) -> bool:
    """Whether what is right under a wrong meaning is clearly wrong."""
    for name, criterion in proper.items():
        meant = wrong.get(name)
        values = midpoints(criterion, meant)
        if meant is None or values is None:
            continue
        with np.errstate(invalid="ignore"):
            apart = criterion.ratio(values[1]) > _CLEARLY
            clear = meant.ratio(values[0]) > _CLEARLY
        if (apart & clear & np.isfinite(criterion.allowed) & np.isfinite(meant.allowed)).any():
            return True
    return False


def shares(
    meanings: Sequence[Meaning], failures: Sequence[Judged], right: Right, end: float
) -> list[tuple[Meaning, frozenset[int]]]:
    """Every meaning that explains some failure, and the numbers of those that it does, while there is time.

    All meanings are compared with the smallest failures first, which takes the least time: so the first of them does not
    have what the last one needs, and what is told of few failures is told of many.  A larger failure that one of them
    explains is left out for those that explain nothing; one that none explains may be of a second bug.
    """
    order = sorted(range(len(failures)), key=lambda number: failures[number].instance.size())
    explained: dict[str, set[int]] = {meaning.id: set() for meaning in meanings}
    for place, number in enumerate(order):
        told = [meaning for meaning in meanings if explained[meaning.id]]
        others = [meaning for meaning in meanings if not explained[meaning.id]]
        for some in (told, others):
            if some is others and place >= _TRIED and any(number in numbers for numbers in explained.values()):
                continue
            for meaning in some:
                if time.monotonic() > end:
                    break
                if explains(meaning, failures[number], right):
                    explained[meaning.id].add(number)
    return [(meaning, frozenset(explained[meaning.id])) for meaning in meanings if explained[meaning.id]]


def pairs(meanings: Sequence[Meaning], failures: Sequence[Judged], right: Right, end: float) -> list[Both]:
    """Two of these meanings at once that explain every failure; tried last.

    Each of the two is to explain some failure alone: there are thousands of other pairs, and what is found among
    thousands is found by chance.
    """
    both = [Both(a, b) for a in meanings for b in meanings if a is not b]
    found, compared = explaining(both, failures, right, end)
    return _one_order(found) if compared == len(failures) else []


def _one_order(both: Sequence[Both]) -> list[Both]:
    """Of two orders of one pair the first."""
    seen: set[frozenset[str]] = set()
    kept = []
    for pair in both:
        key = frozenset((pair.first.id, pair.second.id))
        if key not in seen:
            seen.add(key)
            kept.append(pair)
    return kept


def together(shared: Sequence[tuple[Meaning, frozenset[int]]], failures: int) -> list[str]:
    """A few meanings that together explain most failures, each with its share: at most three sentences.

    The first explains the most, the next the most of the others, and so on.  A failure counts less the more meanings
    explain it, because on tiny inputs many meanings come to the same.

    shared: the failures that each meaning explains, as :func:`shares` says.
    failures: their number.
    """
    matches = [(meaning.sentence, explained) for meaning, explained in shared]
    alike = Counter(number for _, explained in matches for number in explained)
    left, sentences = set(alike), list[str]()

    def weight(explained: frozenset[int]) -> float:
        return sum(1 / alike[number] for number in sorted(explained & left))

    while left:
        _, chosen = max(matches, key=lambda match: weight(match[1]))
        best = [(sentence, explained) for sentence, explained in matches if explained & left == chosen & left]
        if len(best) <= MOST_SENTENCES:
            sentences += [
                f"{sentence} (explains {len(explained) / failures:.0%} of the failures)"
                for sentence, explained in best
                if len(explained) >= _SHARE * failures
            ]
        left -= chosen
    return sentences[:MOST_SENTENCES] if len(alike) >= _MOST * failures else []


def other_classes(failures: Sequence[Judged], evidence: Evidence, others: Sequence[Precision]) -> list[str]:
    """Sentences that name the classes whose tolerance covers every failure: the kernel rounds where they do.

    What is outside the domain of such a class, as parts of a few failures may be, says nothing for it or against it.
    """
    sentences = []
    for other in others:
        judged = [(evidence.right(failure.instance, other), failure.outcome.values) for failure in failures]
        if not all(criteria is not None and _never_wrong(criteria, values) for criteria, values in judged):
            continue
        covered = sum(is_right_for(criteria, values) for criteria, values in judged if criteria is not None)
        if covered >= _INSIDE * len(judged):
            which = "every failure" if covered == len(judged) else "every failure inside its domain"
            sentences.append(
                f"it rounds like a kernel of the class {other.name}{_rounding(other)}: {which} is within its tolerance, "
                f"and --precision {other.name} judges it as one"
            )
    return sentences


def _never_wrong(criteria: Criteria, values: Mapping[str, NDArray[Any]]) -> bool:
    """Whether every output is there, and no part of it is wrong by more than is allowed where something is judged."""
    return answers(criteria, values) and all(
        bool((criterion.ratio(*parts_of(values, name, criterion)) <= 1.0).all()) for name, criterion in criteria.items()
    )


def _rounding(precision: Precision) -> str:
    """What machines of a class round that others on the same types do not, in words."""
    words = []
    if precision.input_rounding:
        words.append(f"products read {round(1 - math.log2(precision.input_rounding))} significant bits of their inputs")
    if precision.stored:
        words.append(f"every intermediate result is stored in {precision.result}")
    return f" ({', '.join(words)})" if words else ""


def unexplained(failures: Sequence[Judged]) -> str:
    """The sentence for failures that no meaning explains: whether they look like lost precision."""
    worst = max(failure.outcome.ratio for failure in failures)
    small = 0
    for failure in failures:
        outcome = failure.outcome
        if not isinstance(outcome.got, float) or outcome.interval is None or not np.isfinite(outcome.got):
            continue
        value = outcome.values[outcome.output].astype(np.float64)
        size = float(np.abs(value[np.isfinite(value)]).max(initial=0.0))
        error = abs(outcome.got - 0.5 * (outcome.interval[0] + outcome.interval[1]))
        small += error <= size * 2.0**-6
    if small == len(failures) and worst < 2.0**20:
        return (
            "no known wrong semantics matches; it looks like lost precision "
            f"(errors up to {worst:.3g} tolerances, small beside the values)"
        )
    return "no known wrong semantics matches"
