"""When a kernel fails: the shortest rule that separates failing cases from passing ones, checked on fresh cases.

A rule is one condition or two of :mod:`assay.conformance.diagnosis.features`.  It is told only if every failing case of
the run fulfils it, and if fresh cases made to test it agree: every one that fulfils it fails, and a failing case in
which one condition alone is changed passes (:mod:`assay.conformance.diagnosis.changes`).  What speaks of a length is
tried with other lengths too, and is told only if cases of several fail.  A case that disagrees is one more case to
separate, and the search begins anew.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.diagnosis.changes import one_changed
from assay.conformance.diagnosis.evidence import NUMERIC, OutOfTime
from assay.conformance.diagnosis.features import CALLS, Condition, conditions, number_of, threshold
from assay.conformance.diagnosis.variations import (
    NOT_AN_INSTANCE,
    USUAL,
    Room,
    affordable,
    mutant,
    relengthened,
    renumbered,
    resized,
)
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from assay.conformance.diagnosis.evidence import Evidence
    from assay.conformance.interface.suite import Case

__all__ = ["Known", "Rule", "separating", "told"]

_FRESH = 12  # cases on each side that have to agree
_ENOUGH = 6  # … where no more can be had
_ENOUGH_OF_PART = 3  # … in which one part of a rule is broken and the rest is not
_TRIES = 120  # mutants looked at to get them
_LONG = 96  # below which any length is tried
_WIDE = 0.25  # the share of cases without a rule that differ from a failing one in other things too
_LOOKS = 12  # mutants looked at for one that fulfils a rule by itself
_ROUNDS = (14, 6, 8)  # searches of each attempt
_HIDDEN = 3  # fresh cases that fulfil a rule and may pass all the same, at the last attempt: an option may hide a fault
_MOST_CASES = 240
_BISECTIONS = 10
_LENGTHS = 4  # other lengths on each side of a condition that speaks of one
_MOST_LENGTHS = 16  # … looked at to get them: a kernel declines some
_BASES = 2  # failing cases whose lengths are changed
_LEAST_LENGTHS = 2  # lengths, or pairs of them, with which cases fail, for a rule that speaks of more than one


@dataclass(frozen=True, eq=False)
class Rule:
    """Conditions that hold together."""

    parts: tuple[Condition, ...]

    def holds(self, case: Case) -> bool:
        return all(part.holds(case) for part in self.parts)

    def holds_of_some_call(self, case: Case) -> bool:
        """Whether it holds of a case, or of a call beside it, which is judged too and may be what failed."""
        beside = (dataclasses.replace(case, instance=other, beside=()) for other in case.beside)
        return self.holds(case) or any(map(self.holds, beside))

    @property
    def words(self) -> str:
        return " and ".join(part.words for part in self.parts)

    @property
    def about(self) -> frozenset[str]:
        return frozenset().union(*(part.about for part in self.parts))

    @property
    def is_a_range(self) -> bool:
        """Whether two conditions speak of one length."""
        return len(self.parts) == 2 and bool(self.parts[0].numbers) and self.parts[0].numbers == self.parts[1].numbers

    @property
    def cost(self) -> float:
        return sum(part.cost for part in self.parts)


@dataclass
class Known:
    """Which conditions hold of which cases, asked once: a search comes back to the same cases again and again."""

    held: dict[tuple[str, int], bool] = field(default_factory=dict)
    cases: dict[int, Case] = field(default_factory=dict)  # kept, so that no other one gets the same number

    def table(self, parts: Sequence[Condition], cases: Sequence[Case]) -> NDArray[np.bool_]:
        """(conditions, cases); asked case by case, since conditions of one case have work in common."""
        table = np.array([[self._holds(part, case) for part in parts] for case in cases], dtype=bool)
        return table.reshape(len(cases), len(parts)).T

    def _holds(self, part: Condition, case: Case) -> bool:
        key = (part.words, id(case))
        if key not in self.held:
            self.cases[id(case)] = case
            self.held[key] = part.holds(case)
        return self.held[key]


def separating(
    parts: Sequence[Condition],
    failing: Sequence[Case],
    passing: Sequence[Case],
    known: Known | None = None,
    share: float = 1.0,
    exceptions: float = 0.5,
) -> list[Rule]:
    """Rules that hold for every failing case and the fewest passing ones, the best first.

    A passing case for which a rule holds speaks against it only a little: an input may hide a fault.
    share: the part of all failing cases that ``failing`` is.
    exceptions: how many passing cases may fulfil a rule, for every failing one.
    """
    if not failing or not passing:
        return []
    known = known or Known()
    kept = [part for part, holds in zip(parts, known.table(parts, failing), strict=True) if holds.all()]
    on_passing = known.table(kept, passing).astype(np.float64)
    limit = exceptions * len(failing) + 1
    both = share * (on_passing @ on_passing.T)  # how many passing cases fulfil two conditions; on the diagonal, one
    alone = np.diagonal(both)
    ranked = [
        (_badness(float(alone[a]), len(failing), kept[a].cost), Rule((kept[a],)))
        for a in np.flatnonzero((alone <= limit) & (alone < share * len(passing)))
    ]
    useful = (both <= limit) & (both < np.minimum(alone[:, None], alone[None, :]))
    for a, b in np.argwhere(np.triu(useful, 1)):
        if CALLS in kept[a].about | kept[b].about:
            continue  # no length can be changed in a sequence of calls, so that a second part could not be tested
        badness = _badness(float(both[a, b]), len(failing), kept[a].cost + kept[b].cost)
        ranked.append((badness, Rule((kept[a], kept[b]))))
    return [rule for _, rule in sorted(ranked, key=lambda pair: pair[0])]


def _badness(wrong: float, failing: int, cost: float) -> float:
    """Exceptions, and the length of the rule: a condition more has to pay for itself."""
    return 3.0 * wrong / max(1.0, math.sqrt(failing)) + cost


@dataclass
class _Search:
    """A search under way: the cases of both kinds, and what fresh ones have said."""

    evidence: Evidence
    own: Mapping[str, Callable[[Any], bool]]
    kinds: frozenset[str]
    failing: list[Case]
    passing: list[Case]
    every: Sequence[Case]  # all that fail in this way, of which ``failing`` are some
    end: float
    rng: np.random.Generator
    borrowing: bool = True  # whether fresh cases may have options that no failing case has
    hidden: int = 0  # how many fresh cases may fulfil a rule and pass
    exceptions: float = 0.5  # how many passing cases may, for every failing one
    rounds: int = _ROUNDS[0]
    known: Known = field(default_factory=Known)
    share: float = 1.0  # the part of all failing cases that are known here
    room: Room = USUAL  # how large fresh cases may become
    also_failing: list[Case] = field(default_factory=list)  # cases of the run with other lengths, and nothing else new
    also_passing: list[Case] = field(default_factory=list)
    turns: int = 0
    refused: set[str] = field(default_factory=set)  # rules that could not be tested, or that a passing case refutes

    def fails(self, case: Case) -> bool | None:
        """Whether a fresh case fails in this way; ``None`` where it cannot be asked or fails in another."""
        if time.monotonic() > self.end:
            raise OutOfTime
        judged = self.evidence.tried(case)
        if judged is None:
            return None
        if judged.outcome.failed:
            return True if judged.outcome.kind in self.kinds else None
        return False

    def parts(self) -> list[Condition]:
        return conditions([*self.failing, *self.passing], self.own)

    def learn(self, case: Case, failed: bool) -> None:
        (self.failing if failed else self.passing).append(case)

    def contradicted(self, rule: Rule) -> bool:
        """Whether a case of the run fails that does not fulfil a rule; it is learnt."""
        other = next((case for case in self.every if not rule.holds_of_some_call(case)), None)
        if other is not None:
            self.learn(other, failed=True)
        return other is not None

    def refined(self, rule: Rule) -> Rule:
        """The rule with its length as short as a failing case has it: found by halving, on fresh cases."""
        return Rule(tuple(part if part.bound is None else self._shortest(part, rule) for part in rule.parts))

    def _shortest(self, part: Condition, rule: Rule) -> Condition:
        assert part.bound is not None
        axis, least = part.bound
        rest = Rule(tuple(one for one in rule.parts if one is not part))
        base = min(
            (case for case in self.failing if case.instance.lengths()[axis] >= least and not case.after),
            key=lambda case: case.instance.lengths()[axis],
            default=None,
        )
        if base is not None:
            least = base.instance.lengths()[axis]
        passing = [case.instance.lengths().get(axis, 0) for case in self.passing if rest.holds(case)]
        below = max((n for n in passing if n < least), default=0)
        if base is None:
            return part
        for _ in range(_BISECTIONS):
            if least - below <= 1:
                break
            middle = (below + least) // 2
            case = _at(base, axis, middle, self.rng)
            failed = None if case is None or not rest.holds(case) else self.fails(case)
            if case is None or failed is None:
                break
            self.learn(case, failed)
            below, least = (below, middle) if failed else (middle, least)
        return threshold(axis, least)

    def fresh(self, rule: Rule) -> tuple[int, int, int] | None:
        """How many fresh cases fulfil a rule and fail, or pass, and how many pass without it.

        Returns ``None`` where one disagrees; it is learnt.

        Without the rule are failing cases in which one part of it, and nothing else, was changed.  Every part is
        changed in some of them; none count where one part cannot be.  Nothing is counted twice.
        """
        inside, hidden, outside = 0, 0, [0] * len(rule.parts)
        counted: set[tuple[bytes, str]] = set()
        bases = self.failing[-40:]
        others = [case for case in self.passing if not case.after and not case.beside and self.borrowing]
        for _ in range(_TRIES):
            if inside + hidden >= _FRESH and min(outside) >= -(-_FRESH // len(rule.parts)):
                break
            base = bases[int(self.rng.integers(len(bases)))]
            within = inside + hidden <= sum(outside) and inside + hidden < _FRESH
            number = int(np.argmin(outside))
            wide = not within and self.rng.random() < _WIDE
            if within:
                case = self._inside(base, rule, others)
            else:
                case = self._unlike(base, rule, others, number) if wide else self._outside(base, rule, number)
            if case is None or (key := (case.instance.digest(), case.layout.name)) in counted:
                continue
            holds = [part.holds(case) for part in rule.parts]
            failed = self.fails(case)
            if failed is False and all(holds) and not case.after and not case.beside:
                failed = self.fails(self._other_numbers(case))  # these may have hidden it
            if failed is None:
                continue
            if failed != all(holds) and (failed or hidden == self.hidden):
                self.learn(case, failed)
                if not failed:
                    self.refused.add(rule.words)  # asked again and again, it would hold once by chance
                return None
            if wide or (within and not all(holds)):
                continue  # it differs from a failing case in more than one thing: only a failure says something
            counted.add(key)
            if all(holds) and not failed:
                hidden += 1
            elif failed:
                inside += 1
            else:
                outside[number] += 1
        if min(outside) < min(_ENOUGH_OF_PART, _ENOUGH // len(rule.parts)):
            return inside, hidden, 0
        return inside, hidden, sum(outside)

    def in_other_lengths(self, rule: Rule) -> bool:
        """Whether cases with other lengths of what a rule speaks of agree with it; all of them are learnt.

        Fresh cases come from a few failing ones, whose lengths may have more in common than the rule says: three heads
        are an odd number of heads.  So a rule is believed only where cases of several lengths are known to fail, but
        for one that speaks of a single length, or of none.
        """
        for number, part in enumerate(rule.parts):
            if part.numbers and not all(self._agree(rule, number, inside) for inside in (True, False)):
                return False
            failing = (case for case in [*self.failing, *self.every] if rule.holds(case))
            if part.several and len({part.numbers_of(case) for case in failing}) < _LEAST_LENGTHS:
                self.refused.add(rule.words)
                return False
        return True

    def _agree(self, rule: Rule, number: int, inside: bool) -> bool:
        agree, hidden = True, 0
        for case, fails in self._judged(self._lengthened(rule, number, inside)):
            self.learn(case, fails)
            (self.also_failing if fails else self.also_passing).append(case)
            if fails == inside:
                continue
            if not fails:
                hidden += 1
                if hidden < self.hidden or self.fails(self._other_numbers(case)) is not False:
                    continue  # these numbers have hidden it
                self.refused.add(rule.words)
            agree = False
        return agree

    def _judged(self, cases: Iterator[Case]) -> Iterator[tuple[Case, bool]]:
        """As many of these cases as there have to be, and whether they fail; a kernel declines some."""
        judged = 0
        for case in itertools.islice(cases, _MOST_LENGTHS):
            fails = self.fails(case)
            if fails is None:
                continue
            yield case, fails
            judged += 1
            if judged == _LENGTHS:
                break

    def _lengthened(self, rule: Rule, number: int, inside: bool) -> Iterator[Case]:
        """Failing cases with other lengths of what a part speaks of.

        inside: they fulfil the rule; else all of it but that part.
        """
        numbers = rule.parts[number].numbers
        expected = [inside or other != number for other in range(len(rule.parts))]
        bases = [case for case in self.failing if rule.holds(case) and not case.after and not case.beside]
        bases.sort(key=lambda case: case.instance.size())
        together = list(dict.fromkeys([*((name,) for name in numbers), numbers])) if numbers else []
        for base in bases[:_BASES]:
            steps = [
                (names, length)
                for names in together
                for length in _ladder(max(number_of(base, name) or 0 for name in names))
            ]
            for place in self.rng.permutation(len(steps)):
                case = self._with(base, *steps[int(place)])
                if case is not None and [part.holds(case) for part in rule.parts] == expected:
                    yield case

    def _with(self, base: Case, names: Sequence[str], length: int) -> Case | None:
        """The same with another length of these axes, or another whole number as these options."""
        instance = base.instance
        try:
            for name in names:
                if name not in instance.lengths():
                    instance = instance.replace(**{name: length})
                elif not affordable(instance, name, length, self.room):
                    return None
                elif length != instance.lengths()[name]:
                    instance = relengthened(instance, name, length, self.rng)
        except NOT_AN_INSTANCE:
            return None
        return None if instance is base.instance else dataclasses.replace(base, name="variation", instance=instance)

    def _other_numbers(self, case: Case) -> Case:
        try:
            return dataclasses.replace(case, instance=renumbered(case.instance, self.rng))
        except InvalidInstance:
            return case

    def _inside(self, base: Case, rule: Rule, others: Sequence[Case]) -> Case | None:
        """Like a failing case in all that the rule speaks of."""
        called = base.after or base.beside or CALLS in rule.about
        if called or ("layout" in rule.about and self.rng.random() < 0.6):
            return self.evidence.again(base, int(self.rng.integers(1 << 30)))
        if others and self.rng.random() < 0.3:  # a passing case that is made to fulfil the rule where it can be
            return self._moved(others[int(self.rng.integers(len(others)))], base, rule.about)
        if "numbers" in rule.about and self.rng.random() < 0.5:  # numbers of the same kind
            return self.evidence.again(base, int(self.rng.integers(1 << 30)))
        axes = rule.about & base.instance.lengths().keys()
        if axes and self.rng.random() < 0.7:  # also in other lengths that fulfil the rule
            for turn in range(_LOOKS):
                case = self._relength(base, axes, turn)
                if case is not None and rule.holds(case):
                    return mutant(case, others, rule.about, self.rng, self.room)
        return mutant(base, others, rule.about, self.rng, self.room)

    def _relength(self, base: Case, axes: frozenset[str], turn: int) -> Case | None:
        """The same with other lengths of these axes: near the old ones, multiples of tiles, short ones, or any."""
        instance = base.instance
        try:
            for axis in sorted(axes):
                now = instance.lengths()[axis]
                near = [now + step for step in (1, -1, 4, -4, 8, -8, 16, 32, now)]
                near += [-(-now // tile) * tile for tile in (4, 8, 32)] + [1, 2, 3]
                usable = [
                    length for length in near if 0 < length != now and affordable(instance, axis, length, self.room)
                ]
                drawn = turn % 2 == 1 or not usable or len(axes) > 1
                self.turns += not drawn
                length = int(self.rng.integers(1, _LONG)) if drawn else usable[self.turns % len(usable)]
                if not affordable(instance, axis, length, self.room):
                    return None
                instance = resized(instance, axis, length)
        except NOT_AN_INSTANCE:
            return None
        return dataclasses.replace(base, instance=instance)

    def _outside(self, base: Case, rule: Rule, number: int) -> Case | None:
        """A failing case with one thing changed, by which it no longer fulfils one part of the rule."""
        broken = rule.parts[number].about
        if base.after or base.beside or CALLS in broken:
            if CALLS not in broken:
                return None  # what is kept from the calls before would change as well
            again = self.evidence.again(base, int(self.rng.integers(1 << 30))) or base
            return dataclasses.replace(again, after=(), beside=())
        donors = [case for case in self.passing if not rule.parts[number].holds(case)]
        for case in itertools.islice(one_changed(base, broken, donors, self.rng, self.room), _LOOKS):
            holds = [part.holds(case) for part in rule.parts]
            if holds.count(False) == 1 and not holds[number]:
                return case if self.rng.random() < 0.5 else self._with_other_numbers(case, holds, rule)
        return None

    def _unlike(self, base: Case, rule: Rule, others: Sequence[Case], number: int) -> Case | None:
        """Like a failing case in the other parts of the rule, and perhaps in nothing else."""
        if base.after or base.beside:
            return None
        case = mutant(base, others, rule.about - rule.parts[number].about, self.rng, self.room)
        return None if case is None or rule.holds(case) else case

    def _with_other_numbers(self, case: Case, holds: Sequence[bool], rule: Rule) -> Case:
        """The same with other numbers, where it fulfils the same parts of a rule with them."""
        other = self._other_numbers(case)
        return other if [part.holds(other) for part in rule.parts] == holds else case

    def _moved(self, case: Case, base: Case, about: frozenset[str]) -> Case | None:
        """A case with the lengths, plain options and layout of another in what a rule is about."""
        instance, like = case.instance, base.instance
        try:
            options = {name: value for name, value in like.options().items() if name in about}
            instance = instance.replace(**options) if options else instance
            for axis in about & instance.lengths().keys():
                if instance.lengths()[axis] != like.lengths().get(axis):
                    instance = resized(instance, axis, like.lengths()[axis])
            instance = renumbered(instance, self.rng)
        except (*NOT_AN_INSTANCE, KeyError):
            return None
        layout = base.layout if "layout" in about else case.layout
        return dataclasses.replace(case, name="variation", instance=instance, layout=layout)


def _ladder(now: int) -> list[int]:
    """Other lengths than this one: short ones, near ones, and multiples of tiles."""
    near = [now + step for size in (1, 2, 3, 4, 8, 16) for step in (size, -size)]
    near += [2 * now - 1, 2 * now, 2 * now + 1, 3 * now, now // 2, now - 64, now + 64, now - 128, now + 128]
    near += [-(-now // tile) * tile for tile in (4, 8, 32, 64)] + list(range(1, 9))
    return sorted({length for length in near if length > 0} - {now})


def _at(base: Case, axis: str, length: int, rng: np.random.Generator) -> Case | None:
    try:
        instance = renumbered(resized(base.instance, axis, length), rng)
    except NOT_AN_INSTANCE:
        return None
    return dataclasses.replace(base, instance=instance)


def told(evidence: Evidence, own: Mapping[str, Callable[[Any], bool]], end: float) -> list[str]:
    """When the kernel fails, a sentence for each way of failing that a rule tells apart."""
    sentences: list[str] = []
    kinds = {failure.outcome.kind for failure in evidence.failures}
    numeric = frozenset(kinds & set(NUMERIC))
    ways = [numeric] if numeric else []
    ways += [frozenset({kind}) for kind in sorted(kinds - numeric - {"leak", "hung", "crashed", "memory", "exited"})]
    for number, way in enumerate(ways[:2]):
        share = time.monotonic() + (end - time.monotonic()) / (len(ways[:2]) - number)
        apart = sorted(way) if len(way) > 1 else []  # wrong numbers and NaN may come of two faults
        half = time.monotonic() + 0.5 * (share - time.monotonic()) if apart else share
        found = [_of_one_kind(evidence, own, way, half)]
        if not found[0]:
            for place, kind in enumerate(apart):
                until = time.monotonic() + (share - time.monotonic()) / (len(apart) - place)
                found.append(_of_one_kind(evidence, own, frozenset({kind}), until))
        sentences += filter(None, found)
    return sentences


def _of_one_kind(
    evidence: Evidence, own: Mapping[str, Callable[[Any], bool]], kinds: frozenset[str], end: float
) -> str:
    failing = [f.case for f in evidence.failures if f.outcome.kind in kinds and not f.shrunk]
    failing = failing or [f.case for f in evidence.failures if f.outcome.kind in kinds]
    failing = [case for case in failing if not case.beside] or failing  # a rule has to hold of these in the end as well
    all_failures = evidence.every or evidence.failures
    every = [f.case for f in all_failures if f.outcome.kind in kinds]
    passing = list(evidence.passes)[:: 1 + len(evidence.passes) // _MOST_CASES]
    if not failing or len(passing) < 3:
        return ""
    verb = _verb(evidence, kinds, alone=len(every) == len(all_failures))
    begun, left = time.monotonic(), end - time.monotonic()
    known = Known()
    share = min(1.0, len(evidence.failures) / len(all_failures))
    room = Room.beside(failing, passing)
    of_failing = ", with the options of failing cases"
    attempts = (
        (True, 0, 0.5, 0.4, ""),
        (False, 0, 0.5, 0.7, of_failing),
        (False, _HIDDEN, 4.0, 1.0, of_failing),
    )
    for (borrowing, hidden, exceptions, until, words), rounds in zip(attempts, _ROUNDS, strict=True):
        search = _Search(
            evidence, own, kinds, list(failing), list(passing), every, begun + until * left,
            np.random.default_rng(len(failing)), borrowing, hidden, exceptions, rounds, known, share, room,
        )  # fmt: skip
        rule = _verified(search)
        failing += search.also_failing
        passing += search.also_passing
        if rule is not None:
            fail, passed, outside = rule[1]
            counts = f"{fail} of {fail + passed} fresh cases, none of {outside} without"
            return f"{verb} when {rule[0].words}: {counts}{words}"
    return ""


def _verified(search: _Search) -> tuple[Rule, tuple[int, int, int]] | None:
    """The best rule with which all failing cases and fresh ones agree, and how many fresh ones there were."""
    try:
        for _ in range(search.rounds):
            rule = _best(search)
            if rule is None:
                return None
            rule = search.refined(rule)
            if search.hidden and rule.is_a_range:  # passes by chance may be all that speaks for one of its ends
                search.refused.add(rule.words)
                continue
            if search.contradicted(rule) or not search.in_other_lengths(rule):
                continue
            counts = search.fresh(rule)
            if counts is None:
                continue
            inside, hidden, outside = counts
            enough = _FRESH - _HIDDEN if hidden else _ENOUGH  # exceptions are believed only beside enough others
            if inside < enough or outside < _ENOUGH:
                search.refused.add(rule.words)
                continue
            return rule, counts
    except OutOfTime:
        return None
    return None


def _best(search: _Search) -> Rule | None:
    """The best rule that holds of every failing case of the run; ``None`` where there is none."""
    while time.monotonic() < search.end:
        rules = separating(
            search.parts(), search.failing, search.passing, search.known, search.share, search.exceptions
        )
        rule = next((rule for rule in rules if rule.words not in search.refused), None)
        if rule is None or not search.contradicted(rule):
            return rule
    raise OutOfTime


def _verb(evidence: Evidence, kinds: frozenset[str], alone: bool) -> str:
    """How the kernel fails; ``alone``: it fails in no other way."""
    if kinds == {"non-finite"} and not alone:
        return "gives NaN or infinities"
    if kinds & set(NUMERIC):
        return "fails" if alone else "gives wrong numbers"
    outcome = next(f.outcome for f in evidence.failures if f.outcome.kind in kinds)
    if outcome.kind == "raised":
        words = outcome.sentence.split("raised ", 1)[-1].split(":", 1)[0]
        return f"raises {words}"
    return {
        "shape": "returns another shape",
        "dtype": "returns another dtype",
        "type": "returns another type",
        "mutated": "changes an input",
        "overwritten": "overwrites an earlier answer",
        "out-of-bounds": "writes outside an input",
    }.get(outcome.kind, f"fails ({outcome.kind})")
