"""What a kernel keeps from call to call: answers that differ for the same input, and answers to other calls.

Everything else in a diagnosis supposes that a call fails again: here it is asked whether that is so.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call.outcome import is_right_for
from assay.conformance.diagnosis.evidence import NUMERIC, midpoints
from assay.conformance.diagnosis.variations import NOT_AN_INSTANCE, renumbered
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from assay.conformance.call.outcome import Outcome
    from assay.conformance.diagnosis.evidence import Evidence, Judged
    from assay.conformance.interface.suite import Case

__all__ = ["Repeats", "other_calls", "remembered", "repeats", "unmoved"]

_CALLS = 6
_TILES = (4, 8, 16, 32, 64, 128)
_INPUTS = 3
_SEQUENCES = 6  # failures that are looked at
_BASES = 3  # failures from which sequences of calls are made
_LEAST_NUMBERS = 6  # of an answer that is compared with another
_LARGE = 4096.0  # elements of an input that is large enough
_FAR = 10.0  # tolerances: two answers are not the same by chance


@dataclass(frozen=True)
class Repeats:
    """What came of calling again: sentences, and whether a failing call fails again with the same numbers."""

    sentences: list[str]
    steady: bool


def repeats(evidence: Evidence, failures: Sequence[Judged]) -> Repeats:
    """Call again with the inputs of a few failures."""
    plain = [f for f in failures if not f.case.beside and f.outcome.kind in NUMERIC][:_INPUTS]
    wrong = total = gone = unlike = asked = 0
    for failure in plain:
        again = [judged for _ in range(_CALLS) if (judged := evidence.tried(failure.case)) is not None]
        if not again:
            continue
        asked += 1
        failed = [judged for judged in again if judged.outcome.failed]
        if failed and len(failed) < len(again):
            wrong += len(failed)
            total += len(again)
        gone += not failed
        unlike += len(failed) == len(again) and not all(_alike(failed[0].outcome, one.outcome) for one in failed)
    if total:
        return Repeats([f"calls: the same input gives unlike answers: {wrong} of {total} calls are wrong"], False)
    if asked and gone == asked:
        sentence = "calls: what failed passes when it is called again: an answer depends on the calls before"
        return Repeats([sentence], False)
    if unlike:
        return Repeats(["calls: the same input gives unlike answers, every one of them wrong"], False)
    return Repeats([], not gone)


def _alike(first: Outcome, second: Outcome) -> bool:
    """Whether two answers are the same but for roundings."""
    for name, value in first.values.items():
        other = second.values.get(name)
        if other is None or other.shape != value.shape:
            return False
        a, b = value.astype(np.float64), other.astype(np.float64)
        size = float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
        if not np.allclose(a, b, rtol=2.0**-6, atol=2.0**-6 * size, equal_nan=True):
            return False
    return True


def other_calls(evidence: Evidence, failures: Sequence[Judged]) -> list[str]:
    """What of another call is in the answers: the whole of it, its options, or a sum."""
    sentences = _kept(evidence, [f for f in failures if f.case.after and f.outcome.kind in NUMERIC])
    return sentences or _added(evidence, failures)


def _kept(evidence: Evidence, failures: Sequence[Judged]) -> list[str]:
    """Answers that are right for a call before, or for this one with an option of a call before.

    They count only where the same call passes without the others before it: both are made in lengths that the kernel
    has not seen, so that nothing is kept from other calls.
    """
    explained: dict[str, int] = {}
    for failure in failures[:_SEQUENCES]:
        sequence, alone = (_shorter(failure.case, by) for by in (1, 2))
        first = None if alone is None else evidence.tried(dataclasses.replace(alone, after=()))
        judged = None if sequence is None else evidence.tried(sequence)
        if first is None or judged is None or first.outcome.failed or not judged.outcome.failed:
            continue
        words = _source(evidence, judged)
        if words:
            explained[words] = explained.get(words, 0) + 1
    return [f"calls: {words}" for words in explained][:3]


def remembered(evidence: Evidence, failures: Sequence[Judged]) -> list[str]:
    """What of a call before stands in an answer, seen in sequences that are made for it.

    A call comes before that has the same shapes and other numbers everywhere, as a cache by address, shape or a part of
    the options needs it.  Two such calls with unlike numbers have to be followed by what each of them says, so that a
    constant fault is not taken for a memory.
    """
    plain = [f.case for f in failures if not f.case.beside and _numbers(f.outcome) >= _LEAST_NUMBERS]
    plain.sort(key=lambda case: case.instance.size())
    for base in plain[:: max(1, len(plain) // _BASES)][:_BASES]:
        for axis, length in base.instance.lengths().items():
            words = _followed(evidence, base, axis, length - 1, 1) if length > 3 else ""
            if words and words == _followed(evidence, base, axis, length - 2, 2):
                return [f"calls: {words}"]
    return []


def _followed(evidence: Evidence, base: Case, axis: str, length: int, seed: int) -> str:
    """What an answer has of the call before it, in a length that the kernel has not seen; empty where nothing."""
    try:
        now = base.instance.part(**{axis: range(length)})
        before = _unlike_everywhere(now, np.random.default_rng(seed))
    except NOT_AN_INSTANCE:
        return ""
    judged = evidence.tried(dataclasses.replace(base, instance=now, after=(before,)))
    if judged is None or not judged.outcome.failed or not judged.outcome.values:
        return ""
    words = _source(evidence, judged)
    if words and _bounded(evidence, now, before, judged.outcome):
        # another length, which the kernel has not seen: nothing that is kept from a call is read there; much shorter,
        # a fault might not show
        if 2 * (length - 2) <= length:
            return ""
        shorter = base.instance.part(**{axis: range(length - 2)})
        alone = evidence.tried(dataclasses.replace(base, instance=shorter, after=()))
        return words if alone is not None and not alone.outcome.failed else ""
    return words


def _bounded(evidence: Evidence, now: Any, before: Any, outcome: Outcome) -> bool:
    """Whether the answer is right for several values of one number, as a tolerance has it: a looser one excuses faults.

    An answer that is right for the number of a call before, and for those beyond it, shows no memory by that.
    """
    for name, value in now.options().items():
        other = getattr(before, name, None)
        if not isinstance(value, float) or not isinstance(other, float) or value == other:
            continue
        right = 0
        for step in (1.0, 1.25, 1.5, 2.0):
            with contextlib.suppress(*NOT_AN_INSTANCE):
                right += _right(evidence, now.replace(**{name: value + step * (other - value)}), outcome)
        if right > 1:
            return True
    return False


def _unlike_everywhere(instance: Any, rng: np.random.Generator) -> Any:
    """The same shapes with other numbers in every array and in every plain number."""
    other = renumbered(instance, rng)
    for name, value in (instance.arrays() | instance.options()).items():
        changed: Any = None
        if isinstance(value, np.ndarray) and (instance.is_option(name) or value.dtype.kind in "biu"):
            changed = rng.permutation(value.ravel()).reshape(value.shape)
        elif isinstance(value, float):
            changed = value * float(rng.uniform(1.2, 1.8))
        if changed is not None:
            with contextlib.suppress(*NOT_AN_INSTANCE):
                other = other.replace(**{name: changed})
    return other


def _shorter(case: Case, by: int) -> Case | None:
    """A sequence of calls whose arrays are a little shorter, all in the same axis."""
    lengths = case.instance.lengths()
    for axis in sorted(lengths, key=lambda axis: -lengths[axis]):
        kept = range(lengths[axis] - by)
        with contextlib.suppress(*NOT_AN_INSTANCE):
            if len(kept) > 1 and all(before.lengths()[axis] == lengths[axis] for before in case.after):
                after = tuple(before.part(**{axis: kept}) for before in case.after)
                return dataclasses.replace(case, instance=case.instance.part(**{axis: kept}), after=after)
    return None


def _source(evidence: Evidence, failure: Judged) -> str:
    now = failure.instance
    for before in reversed(failure.case.after):
        if before.digest() == now.digest():
            continue
        names = [*before.options(), *before.arrays(), *now.options(), *now.arrays()]
        for name in dict.fromkeys(names):
            try:
                other = now.replace(**{name: getattr(before, name)})
            except NOT_AN_INSTANCE:
                continue
            if _right(evidence, other, failure.outcome):
                return f"{name.replace('_', ' ')} is that of a call before"
        if _right(evidence, before, failure.outcome):
            return "the answer is the one to a call before"
        for axis, tile, other in _with_a_tail_of(now, before):
            if _right(evidence, other, failure.outcome):
                end = f"up to a multiple of {tile}" if tile else "to their end"
                return f"{axis.replace('_', ' ')} of a longer call before are read behind the last one, {end}"
    return ""


def _with_a_tail_of(now: Any, before: Any) -> Iterator[tuple[str, int, Any]]:
    """An instance continued by what a longer one has behind its end, by axis: up to a whole tile, or all of it (0)."""
    lengths, longer = now.lengths(), before.lengths()
    if {axis for axis in lengths if longer.get(axis) != lengths[axis]} != {
        axis for axis in lengths if longer.get(axis, 0) > lengths[axis]
    }:
        return
    for axis in (axis for axis in lengths if longer[axis] > lengths[axis]):
        for tile in (*_TILES, 0):
            end = lengths[axis] + -lengths[axis] % tile if tile else longer[axis]
            if not lengths[axis] < end <= longer[axis]:
                continue
            with contextlib.suppress(*NOT_AN_INSTANCE):
                behind = before.part(**{axis: range(lengths[axis], end)})
                yield axis, tile, now.replace(**_joined(now, behind, axis))


def _joined(now: Any, behind: Any, axis: str) -> dict[str, Any]:
    """The arrays of one instance that have an axis, continued along it by those of another."""
    arrays = {}
    for name, array in now.arrays().items():
        axes = now.axes_of(name)
        if axis in axes and array.ndim == len(axes) and array.shape[place := axes.index(axis)] == now.lengths()[axis]:
            arrays[name] = np.concatenate([array, getattr(behind, name)], axis=place)
    return arrays


def _right(evidence: Evidence, instance: Any, outcome: Outcome) -> bool:
    criteria = evidence.known(instance)
    return criteria is not None and is_right_for(criteria, outcome.values)


def _added(evidence: Evidence, failures: Sequence[Judged]) -> list[str]:
    """Two calls with other numbers, one after the other: is the first answer, or a part of it, in the second?"""
    large = [f.case for f in failures if not f.case.beside and _numbers(f.outcome) >= _LEAST_NUMBERS]
    if not large:
        return []
    base = max(large, key=lambda case: min(case.instance.size(), _LARGE))
    calls = [_anew(evidence, base, seed) for seed in (1, 2, 3)]
    judged = [None if case is None else evidence.tried(case) for case in calls]
    pairs = [(a, b) for a, b in pairwise(judged) if a is not None and b is not None]
    if len(pairs) < 2 or any(not b.outcome.failed or not b.outcome.values for _, b in pairs):
        return []
    if not all(_unlike(evidence, a, b) for a, b in pairs):
        return []
    if all(_right(evidence, a.instance, b.outcome) for a, b in pairs):
        return ["calls: the answer is the one to the call before"]
    if all(_difference(evidence, a, b) for a, b in pairs):
        return ["calls: the answer is added to what the call before returned"]
    return []


def unmoved(evidence: Evidence, failures: Sequence[Judged], changes: Mapping[str, Callable[[Any], Any]]) -> list[str]:
    """What an answer does not change with although it should: numbers, or options; the same bits for both.

    changes: what another call differs in, by name.
    """
    sentences = []
    plain = [f for f in failures if not f.case.after and not f.case.beside and _has_several(f.outcome)]
    plain.sort(key=lambda failure: min(failure.instance.size(), _LARGE), reverse=True)
    for name, change in changes.items():
        counted = 0
        for failure in plain[:_SEQUENCES]:
            try:
                other = change(failure.instance)
            except (AssertionError, InvalidInstance, ValueError, TypeError, IndexError):
                continue
            first = evidence.tried(failure.case)
            second = evidence.tried(dataclasses.replace(failure.case, instance=other))
            if first is None or second is None or not _unlike(evidence, first, second):
                continue
            if not _equal(first.outcome, second.outcome):
                counted = 0
                break
            counted += 1
        if counted >= 2 and "-" not in name and name != "same":
            what = "the numbers of the input" if name == "numbers" else name
            sentences.append(
                f"calls: the answer does not change when {what} changes".replace("input changes", "input change")
            )
    return sentences


def _has_several(outcome: Outcome) -> bool:
    """Whether an answer is more than one number all over."""
    return any(np.unique(value[np.isfinite(value)]).size > 2 for value in outcome.values.values())


def _equal(first: Outcome, second: Outcome) -> bool:
    """Whether two answers are the same to the bit."""
    return all(
        np.array_equal(value, second.values.get(name, np.nan), equal_nan=True) for name, value in first.values.items()
    )


def _numbers(outcome: Outcome) -> int:
    return max((value.size for value in outcome.values.values()), default=0)


def _unlike(evidence: Evidence, a: Judged, b: Judged) -> bool:
    """Whether the right answers to two calls are far from each other in most numbers."""
    first, second = evidence.known(a.instance), evidence.known(b.instance)
    if first is None or second is None:
        return False
    for name, criterion in first.items():
        values = midpoints(criterion, second.get(name))
        if values is None or (criterion.ratio(values[1]) > _FAR).mean() < 0.5:
            return False
    return True


def _anew(evidence: Evidence, case: Case, seed: int) -> Case | None:
    """The same shapes and options with other numbers, without calls before."""
    try:
        instance = renumbered(case.instance, np.random.default_rng(seed))
    except InvalidInstance:
        return None
    return dataclasses.replace(case, instance=instance, after=(), beside=())


def _difference(evidence: Evidence, before: Judged, now: Judged) -> bool:
    """Whether the second answer less the first is the right one."""
    criteria = evidence.known(now.instance)
    if criteria is None or not before.outcome.values:
        return False
    for name, criterion in criteria.items():
        a, b = before.outcome.values.get(name), now.outcome.values.get(name)
        if criterion.value is None or a is None or b is None or a.shape != b.shape:
            return False
        gap = b.astype(np.float64) - a.astype(np.float64) - criterion.value.midpoint
        spacing = np.spacing(np.maximum(np.abs(a), np.abs(b))).astype(np.float64)
        if not (
            np.abs(gap) <= 2 * np.where(np.isfinite(criterion.allowed), criterion.allowed, 0.0) + 4 * spacing
        ).all():
            return False
    return True
