"""Why a kernel failed, in a few sentences, the best first: this module asks the others of its room in turn.

First come wrong meanings that explain every failure.  Where there is none, or where the kernel passes what a kernel of
that meaning would fail, come where it is wrong, when it is, and which weights it used; then a factor.  Where a stage
loses precision it takes the place of these three: errors of rounding have no place of their own.  Last comes another
class whose tolerance covers every failure.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.diagnosis import factors, runs, shapes, weights, when, where
from assay.conformance.diagnosis.changes import one_changed
from assay.conformance.diagnosis.evidence import (
    NUMERIC,
    Evidence,
    Judged,
    OutOfTime,
    are_of_unlike_inputs,
    wrong_parts,
)
from assay.conformance.diagnosis.meanings import (
    MOST_SENTENCES,
    contradictions,
    explaining,
    explains,
    other_classes,
    pairs,
    shares,
    together,
    unexplained,
)
from assay.conformance.diagnosis.variations import (
    NOT_AN_INSTANCE,
    Room,
    affordable,
    given_options,
    mutant,
    relengthened,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from assay.conformance.diagnosis.meanings import Explanation, Meaning
    from assay.conformance.diagnosis.weights import Weights
    from assay.conformance.diagnosis.where import Seen
    from assay.conformance.interface.suite import Suite
    from assay.spec.precision import Precision

__all__ = ["MOST", "Diagnosis", "diagnosed"]

#: How many sentences a diagnosis has at most.
MOST = 6
_FRESH_OF = 3  # failing cases that are asked again with other numbers
_LARGE = 0.25  # the part of an answer that is no error of rounding
_SHARED = 18  # failures of which the shares of meanings are taken
_PLACED = 12  # failures that a sentence on places is made from
_CALLS_SECONDS = 8.0
_FRESH_SECONDS = 4.0
_MEANING_SECONDS = 6.0
_COMPARED = 4  # failures with which a meaning is compared at least: large ones take longer than there is time for
_PAIR_SECONDS = 3.0
_WHEN_SECONDS = 12.0
_RESIZED = 24  # inputs of other lengths that are tried to get failures
_RESIZED_SECONDS = 2.0
_NUMBERS = 8  # of one failure, which tell as much as failures of unlike inputs
_STEPS = (1, 2, 3, 5, 4, 8, 16, 32, 64, 128)  # by which an axis becomes longer
_FACTOR_SECONDS = 3.0
_LATE = "there was no time to compare the failures with every known wrong semantics, as their inputs are large"


@dataclass(frozen=True)
class Diagnosis:
    """What a kernel behaves like: sentences, best first, and the weights that it used, where they are wrong."""

    sentences: list[str] = field(default_factory=list)
    weights: Weights | None = None


def diagnosed(
    evidence: Evidence,
    suite: Suite,
    others: Sequence[Precision] = (),
    lost: Callable[[], Sequence[str]] = tuple,
) -> Diagnosis:
    """Diagnose the failures of a run.

    others: other classes on the same types, which the kernel may keep in place of its own.
    lost(): the stages in which the kernel loses precision, as sentences; asked only where no meaning explains all.
    """
    return _Session(evidence, suite, others, lost).diagnosis()


@dataclass
class _Session:
    evidence: Evidence
    suite: Suite
    others: Sequence[Precision]
    lost: Callable[[], Sequence[str]]
    steady: bool = True
    compared: str = ""  # with how many failures a meaning was compared, where there was no time for all
    late: bool = False  # there was no time to compare enough failures with every meaning
    weights: Weights | None = None
    more: list[Judged] | None = None
    shared: list[tuple[Meaning, frozenset[int]]] | None = None

    def diagnosis(self) -> Diagnosis:
        evidence = self.evidence
        numeric = [f for f in evidence.failures if f.outcome.kind in NUMERIC and f.outcome.values]
        sentences = list(shapes.told(evidence, evidence.failures))
        if not numeric:
            return Diagnosis((sentences or self._when())[:MOST])
        calls = self._calls(numeric)
        fresh = self._fresh(numeric) if self.steady else []
        every = [*numeric, *fresh]
        whole, exact = ([], False) if calls else self._whole(every)
        factor = self._factors(every) if self.steady and not (calls or whole) else []
        lost = self._lost() if self.steady and not (calls or whole or factor) else []
        partly = [] if calls or whole or factor or lost else self._partly(every)
        if self.steady and not (calls or whole or factor or lost or partly):
            calls = self._unmoved(numeric)
        sentences += [*calls, *whole, *partly, *lost]
        if not exact and not lost:  # where roundings are too large is a matter of the numbers
            sentences += self._places(every)
            if self.steady:
                sentences += [*self._when(), *self._weights(every), *factor]
        if not sentences and self.late:
            sentences.append(_LATE)
        if self.steady and not (whole or partly or factor) and self._tell(every):
            sentences += other_classes(every, evidence, self.others)
        sentences = list(dict.fromkeys(sentences))
        return Diagnosis(sentences[:MOST] or [unexplained(numeric)], self.weights)

    def _end(self, seconds: float) -> float:
        """When a part of the diagnosis has to end, which has so many seconds on a machine that is not busy."""
        return min(self.evidence.end, time.monotonic() + seconds * self.evidence.slowness)

    @contextlib.contextmanager
    def _at_most(self, seconds: float) -> Iterator[None]:
        """A part of the diagnosis that asks the kernel has so many seconds, and leaves the rest to the other parts."""
        evidence, end = self.evidence, self.evidence.end
        evidence.end = self._end(seconds)
        try:
            yield
        finally:
            evidence.end = end

    def _calls(self, numeric: Sequence[Judged]) -> list[str]:
        """What is kept from call to call."""
        evidence = self.evidence
        unshrunk = [f for f in numeric if not f.shrunk] or list(numeric)
        told: list[str] = []
        with self._at_most(_CALLS_SECONDS), contextlib.suppress(OutOfTime):
            again = runs.repeats(evidence, unshrunk)
            self.steady = again.steady
            told += again.sentences
            told += runs.other_calls(evidence, unshrunk)
        return told

    def _unmoved(self, numeric: Sequence[Judged]) -> list[str]:
        """What the answer has of a call before, or does not depend on although it should."""
        unshrunk = [f for f in numeric if not f.shrunk] or list(numeric)
        try:
            kept = runs.remembered(self.evidence, unshrunk)
            return kept or runs.unmoved(self.evidence, unshrunk, self.suite.changes)
        except OutOfTime:
            return []

    def _fresh(self, numeric: Sequence[Judged]) -> list[Judged]:
        """Failures of the same rows with other numbers."""
        fresh = []
        chosen = [f.case for f in numeric if not f.shrunk]
        step = max(1, len(chosen) // _FRESH_OF)
        with self._at_most(_FRESH_SECONDS), contextlib.suppress(OutOfTime):
            for case in chosen[::step][:_FRESH_OF]:
                for seed in (1, 2):
                    again = self.evidence.again(case, seed)
                    judged = None if again is None else self.evidence.tried(again)
                    if judged is not None and judged.outcome.kind in NUMERIC:
                        fresh.append(judged)
        return fresh

    def _whole(self, every: Sequence[Judged]) -> tuple[list[str], bool]:
        """Meanings that explain every failure, and whether a kernel of the first would pass what this one passed."""
        evidence = self.evidence
        evidence.end = max(evidence.end, time.monotonic() + _MEANING_SECONDS * evidence.slowness)
        whole, compared = explaining(self.suite.meanings, every, evidence.known, self._end(_MEANING_SECONDS))
        if compared < len(every) and (compared < _COMPARED or len(whole) > MOST_SENTENCES):
            self.late, whole = bool(whole), []
        elif whole and compared < len(every):
            self.compared = f" (compared with {compared} of {len(every)} failures)"
        if not whole:
            some = [meaning for meaning, _ in self._shared(every)]
            end = self._end(_PAIR_SECONDS)
            whole = pairs(some, every, evidence.known, end)
        if not whole:
            return [], False
        if len(whole) > 1:
            whole = self._narrowed(whole, every)
        sound = [meaning for meaning in whole if not self._contradicted(meaning)]
        if sound:
            return [meaning.sentence + self.compared for meaning in sound[:MOST_SENTENCES]], True
        if not any(_varied(failure) for failure in every):
            return [], False  # zeros or NaN that passing cases speak against are explained by much
        resized = self._resized(every)
        whole = [m for m in whole if all(explains(m, failure, evidence.known) for failure in resized)]
        if not whole:
            return [], False  # it came to the same in the lengths of the failures only
        return [whole[0].sentence + self.compared], False  # of what fails it is true; when that is has to be told too

    def _contradicted(self, meaning: Explanation, most: int = 1) -> bool:
        """Whether so many passing cases speak against a meaning."""
        end = self._end(_PAIR_SECONDS)
        return contradictions(meaning, self.evidence.passes, self.evidence.known, end, most) >= most

    def _shared(self, every: Sequence[Judged]) -> list[tuple[Meaning, frozenset[int]]]:
        """Which of the failures each meaning explains."""
        if self.shared is None:
            end = self._end(_MEANING_SECONDS)
            self.shared = shares(self.suite.meanings, self._few(every), self.evidence.known, end)
        return self.shared

    def _few(self, every: Sequence[Judged]) -> list[Judged]:
        return list(every)[:_SHARED]

    def _resized(self, every: Sequence[Judged]) -> list[Judged]:
        """Failures in other lengths, with the same options."""
        if self.more is not None:
            return self.more
        evidence, self.more = self.evidence, []
        rng = np.random.default_rng(1)
        bases = [f.case for f in every if not f.shrunk and not f.case.after and not f.case.beside]
        end = self._end(_RESIZED_SECONDS)
        try:
            for number in range(_RESIZED if self.steady and bases else 0):
                base = bases[number % len(bases)]
                if time.monotonic() > end:
                    break
                if number % 2:  # one length alone, also by a tile
                    axes = list(base.instance.lengths())
                    case = next(one_changed(base, {axes[number // 2 % len(axes)]}, (), rng), None)
                else:
                    case = mutant(base, (), frozenset({*given_options(base.instance), "layout"}), rng)
                judged = None if case is None else evidence.tried(case)
                if judged is not None and judged.outcome.kind in NUMERIC:
                    self.more.append(judged)
        except OutOfTime:
            pass
        return self.more

    def _of_other_lengths(self, every: Sequence[Judged], axis: str) -> list[Judged]:
        """Failures in other lengths of an axis alone: a failing case that becomes longer, as far as there is room."""
        evidence, found = self.evidence, []
        bases = [f.case for f in every if not f.shrunk and not f.case.after and not f.case.beside]
        bases = [case for case in bases if axis in case.instance.lengths()]
        if not self.steady or not bases:
            return []
        base = min(bases, key=lambda case: case.instance.size())
        room, rng = Room.beside([base], evidence.passes), np.random.default_rng(2)
        evidence.end = max(evidence.end, time.monotonic() + _RESIZED_SECONDS * evidence.slowness)
        with self._at_most(_RESIZED_SECONDS), contextlib.suppress(OutOfTime):
            for step in _STEPS:
                length = base.instance.lengths()[axis] + step
                if not affordable(base.instance, axis, length, room):
                    continue
                with contextlib.suppress(*NOT_AN_INSTANCE):
                    longer = relengthened(base.instance, axis, length, rng)
                    judged = evidence.tried(dataclasses.replace(base, name="variation", instance=longer))
                    if judged is not None and judged.outcome.kind in NUMERIC:
                        found.append(judged)
        return found

    def _narrowed(self, whole: Sequence[Explanation], every: Sequence[Judged]) -> list[Explanation]:
        """Of several meanings those that explain the most of what fails in other lengths too."""
        counts = [
            sum(explains(meaning, judged, self.evidence.known) for judged in self._resized(every)) for meaning in whole
        ]
        best = max(counts)
        return [meaning for meaning, count in zip(whole, counts, strict=True) if count == best]

    def _seen(self, every: Sequence[Judged]) -> list[dict[str, Seen]]:
        evidence = self.evidence
        unshrunk = [f for f in every if not f.shrunk] or list(every)
        step = max(1, len(unshrunk) // _PLACED)
        views = []
        for failure in unshrunk[::step]:
            criteria = evidence.known(failure.instance)
            if criteria is not None:
                outputs, lengths = evidence.outputs(failure.instance), failure.instance.lengths()
                views.append(where.seen(failure.outcome.values, criteria, outputs, lengths))
        return views

    def _several(self, every: Sequence[Judged]) -> bool:
        """Whether a kernel returns more than one output, so that a sentence has to name the one that it means."""
        return any(len(self.evidence.outputs(failure.instance)) > 1 for failure in every)

    def _places(self, every: Sequence[Judged]) -> list[str]:
        """Where the outputs are wrong, and what stands there: also in the inputs that were made smaller."""
        views = self._seen([*every, *self._resized(every)])
        if any(not failure.shrunk for failure in every):
            views += self._seen([failure for failure in every if failure.shrunk])
        names = list(dict.fromkeys(name for view in views for name, one in view.items() if one.wrong.any()))
        for name in names:
            for axis in where.partial([view[name] for view in views if name in view]):
                views += self._seen(self._of_other_lengths(every, axis.replace(" ", "_")))
        several = self._several(every)
        sentences = [where.told([view[name] for view in views if name in view], name, several) for name in names]
        sentences.append(where.wrong_outputs(views))
        return [f"where: {sentence}" for sentence in sentences if sentence][:2]

    def _when(self) -> list[str]:
        evidence = self.evidence
        seconds = _WHEN_SECONDS * evidence.slowness  # its own, whatever the others took: it tells the most
        evidence.end = max(evidence.end, time.monotonic() + seconds)
        return when.told(evidence, self.suite.features, self._end(_WHEN_SECONDS))

    def _weights(self, every: Sequence[Judged]) -> list[str]:
        """What the weights say that the kernel used, of two failures alike."""
        linear = self.suite.linear_in
        if linear is None:
            return []
        plain = [f for f in every if not f.shrunk and not f.case.after and not f.case.beside]
        plain = [f for f in plain if _is_wrong(self.evidence, f, linear.output)]
        plain.sort(key=lambda failure: abs(failure.instance.lengths()[_keys(failure, linear.array)] - 12))
        told: list[list[str]] = []
        try:
            for failure in plain[:4]:
                read = weights.read(self.evidence, linear, failure)
                if read is None:
                    continue
                if not read.unlike.any() and not self._coarse(every):
                    continue  # a rounding of the output
                said = weights.sentences(read, linear.sums_to_one(failure.instance))
                if read.unlike.any() and self.weights is None:
                    self.weights = read
                told.append(said)
                if len(told) == 2:
                    break
        except OutOfTime:
            pass
        if not told:
            return []
        kinds = [{_kind(sentence) for sentence in said} for said in told]
        common = [sentence for sentence in told[0] if all(_kind(sentence) in other for other in kinds)]
        return [f"weights: {sentence}" for sentence in common[:2]]

    def _factors(self, every: Sequence[Judged]) -> list[str]:
        """A factor of an output, or of an option, which has to explain what fails in other lengths too."""
        evidence = self.evidence
        if not are_of_unlike_inputs(every):
            every = [*every, *self._resized(every)]
        views = self._seen(every)
        names = list(dict.fromkeys(name for view in views for name, one in view.items() if one.wrong.any()))
        several = self._several(every)
        sentences = []
        if len(names) == 1 and all(names[0] in view and view[names[0]].wrong.any() for view in views):
            sentences.append(factors.of_output([view[names[0]] for view in views], names[0], several))
        end = self._end(_FACTOR_SECONDS)
        sentences += [factors.of_option(every, option, evidence.known, end) for option in self.suite.factors]
        return [sentence for sentence in sentences if sentence]

    def _tell(self, every: Sequence[Judged]) -> bool:
        """Whether failures have enough numbers that a wide tolerance does not hold all of them by chance."""
        if are_of_unlike_inputs(every):
            return True
        return sum(int(v.size) for f in every for v in f.outcome.values.values()) >= _NUMBERS

    def _partly(self, every: Sequence[Judged]) -> list[str]:
        """Meanings that explain a part of the failures, with their shares.

        More failures have to speak for each than passing cases against it.
        """
        shared = self._shared(every)
        shared = [(meaning, part) for meaning, part in shared if not self._contradicted(meaning, len(part))]
        return together(shared, len(self._few(every)))

    def _coarse(self, every: Sequence[Judged]) -> bool:
        """Whether most failures err by a large part of the right answer, which no rounding does."""
        large = 0
        for view in self._seen(every):
            for one in view.values():
                if not one.wrong.any() or not np.isfinite(one.got).all():
                    continue
                size = np.abs(one.right[np.isfinite(one.right)]).max(initial=0.0)
                large += bool((np.abs(one.got - one.right)[one.wrong] > _LARGE * size).any())
        return large > 0.5 * len(self._seen(every))

    def _lost(self) -> list[str]:
        """The stages that lose precision."""
        return [] if self.evidence.left < 1.0 else list(self.lost())


def _varied(failure: Judged) -> bool:
    """Whether an output has several numbers."""
    return any(np.unique(value[np.isfinite(value)]).size > 2 for value in failure.outcome.values.values())


def _is_wrong(evidence: Evidence, failure: Judged, output: str) -> bool:
    criteria = evidence.known(failure.instance)
    wrong = wrong_parts(failure, criteria or {}).get(output)
    return wrong is not None and bool(wrong.any())


def _kind(sentence: str) -> str:
    """What a sentence on weights says but for its numbers."""
    return re.split(r"[:\d−-]", sentence, maxsplit=1)[0]


def _keys(failure: Judged, array: str) -> str:
    """The axis that is summed over."""
    axis: str = failure.instance.axes_of(array)[-2]
    return axis
