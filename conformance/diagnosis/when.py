"""When a kernel fails: the shortest rule that separates failing cases from passing ones, checked on fresh cases.

A rule is one condition or two of :mod:`assay.conformance.diagnosis.features`.  It is told only if fresh cases made to
test it agree: every one that fulfils it fails, and every one that is like a failing case but for one broken condition
passes.  A fresh case that disagrees is one more case to separate, and the search begins anew.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.diagnosis.evidence import NUMERIC, OutOfTime
from assay.conformance.diagnosis.features import Condition, conditions, threshold
from assay.conformance.diagnosis.variations import mutant, renumbered, resized
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from assay.conformance.diagnosis.evidence import Evidence
    from assay.conformance.interface.suite import Case

__all__ = ["Rule", "separating", "told"]

_FRESH = 12  # cases on each side that have to agree
_ENOUGH = 6  # … where the time does not allow more
_TRIES = 90  # mutants looked at to get them
_ROUNDS = 12
_MOST_CASES = 400
_BISECTIONS = 10


@dataclass(frozen=True, eq=False)
class Rule:
    """Conditions that hold together."""

    parts: tuple[Condition, ...]

    def holds(self, case: Case) -> bool:
        return all(part.holds(case) for part in self.parts)

    @property
    def words(self) -> str:
        return " and ".join(part.words for part in self.parts)

    @property
    def about(self) -> frozenset[str]:
        return frozenset().union(*(part.about for part in self.parts))

    @property
    def cost(self) -> float:
        return sum(part.cost for part in self.parts)


def separating(parts: Sequence[Condition], failing: Sequence[Case], passing: Sequence[Case]) -> list[Rule]:
    """Rules that hold for every failing case and the fewest passing ones, the best first.

    A passing case for which a rule holds speaks against it only a little: an input may hide a fault.
    """
    if not failing or not passing:
        return []
    on_failing = _table(parts, failing)
    kept = [n for n in range(len(parts)) if on_failing[n].all()]
    on_passing = _table([parts[n] for n in kept], passing)
    kept_parts = [parts[n] for n in kept]
    ranked: list[tuple[float, Rule]] = []
    limit = 0.5 * len(failing) + 1
    for a in range(len(kept)):
        wrong = int(on_passing[a].sum())
        if wrong <= limit and wrong < len(passing):
            ranked.append((_badness(wrong, len(failing), kept_parts[a].cost), Rule((kept_parts[a],))))
    for a, b in combinations(range(len(kept)), 2):
        wrong = int((on_passing[a] & on_passing[b]).sum())
        if wrong <= limit and wrong < min(int(on_passing[a].sum()), int(on_passing[b].sum())):
            cost = kept_parts[a].cost + kept_parts[b].cost
            ranked.append((_badness(wrong, len(failing), cost), Rule((kept_parts[a], kept_parts[b]))))
    return [rule for _, rule in sorted(ranked, key=lambda pair: pair[0])]


def _badness(wrong: int, failing: int, cost: float) -> float:
    """Exceptions, and the length of the rule: a condition more has to pay for itself."""
    return 3.0 * wrong / max(1.0, failing**0.5) + cost


def _table(parts: Sequence[Condition], cases: Sequence[Case]) -> NDArray[np.bool_]:
    return np.array([[part.holds(case) for case in cases] for part in parts], dtype=bool).reshape(
        len(parts), len(cases)
    )


@dataclass
class _Search:
    """A search under way: the cases of both kinds, and what fresh ones have said."""

    evidence: Evidence
    own: Mapping[str, Callable[[Any], bool]]
    kinds: frozenset[str]
    failing: list[Case]
    passing: list[Case]
    end: float
    rng: np.random.Generator
    lengths: tuple[int, ...] = ()

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

    def refined(self, rule: Rule) -> Rule:
        """The rule with its length as short as a failing case has it: found by halving, on fresh cases."""
        parts = []
        for part in rule.parts:
            parts.append(self._shortest(part, rule) if part.bound is not None else part)
        return Rule(tuple(parts))

    def _shortest(self, part: Condition, rule: Rule) -> Condition:
        assert part.bound is not None
        axis, least = part.bound
        rest = Rule(tuple(one for one in rule.parts if one is not part))
        base = min(
            (case for case in self.failing if case.instance.lengths()[axis] >= least and not case.after),
            key=lambda case: case.instance.size(),
            default=None,
        )
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

    def fresh(self, rule: Rule) -> tuple[list[Case], list[Case]] | None:
        """Fresh cases on both sides of a rule that agree with it; ``None`` where one does not (it is learnt)."""
        inside: list[Case] = []
        outside: list[Case] = []
        bases = self.failing[-40:]
        others = [case for case in self.passing if not case.after and not case.beside]
        broken = [part.about for part in rule.parts]
        for number in range(_TRIES):
            if len(inside) >= _FRESH and len(outside) >= _FRESH:
                break
            wants_inside = len(inside) <= len(outside)
            base = bases[int(self.rng.integers(len(bases)))]
            case = self._candidate(base, rule, others, broken[number % len(broken)], wants_inside)
            if case is None or (len(inside) >= _FRESH and rule.holds(case)):
                continue
            if not rule.holds(case) and len(outside) >= _FRESH:
                continue
            failed = self.fails(case)
            if failed is None:
                continue
            if failed != rule.holds(case):
                self.learn(case, failed)
                return None
            (inside if failed else outside).append(case)
        return inside, outside

    def _candidate(
        self, base: Case, rule: Rule, others: Sequence[Case], broken: frozenset[str], inside: bool
    ) -> Case | None:
        """A fresh case meant for one side: like a failing one in all that the rule speaks of, or but for one part."""
        if base.after or base.beside or rule.about & {"layout", "calls"}:
            return self._called(base, rule, inside)
        if inside:
            return mutant(base, others, rule.about, self.rng, self.lengths)
        every = frozenset(base.instance.lengths()) | frozenset(base.instance.options())
        every |= {name for name in base.instance.arrays() if base.instance.is_option(name)}
        if "numbers" in broken:
            candidate: Case | None = mutant(base, (), every | {"layout"}, self.rng)
            return candidate
        return mutant(base, others, (every - broken) | {"layout"}, self.rng, self.lengths)

    def _called(self, base: Case, rule: Rule, inside: bool) -> Case | None:
        """A case of the same row with other numbers, or the same without its layout or the calls around it."""
        again = self.evidence.again(base, int(self.rng.integers(1 << 30)))
        if again is None:
            return None
        if inside:
            return again
        return dataclasses.replace(again, after=(), beside=(), layout=type(again.layout)())


def _at(base: Case, axis: str, length: int, rng: np.random.Generator) -> Case | None:
    try:
        instance = renumbered(resized(base.instance, axis, length), rng)
    except (InvalidInstance, ValueError, TypeError):
        return None
    return dataclasses.replace(base, instance=instance)


def told(evidence: Evidence, own: Mapping[str, Callable[[Any], bool]], end: float) -> list[str]:
    """When the kernel fails, a sentence for each way of failing that a rule tells apart."""
    sentences = []
    kinds = {failure.outcome.kind for failure in evidence.failures}
    numeric = frozenset(kinds & set(NUMERIC))
    ways = [numeric] if numeric else []
    ways += [frozenset({kind}) for kind in sorted(kinds - numeric - {"leak", "hung", "crashed", "memory", "exited"})]
    for number, way in enumerate(ways[:2]):
        share = time.monotonic() + (end - time.monotonic()) / (len(ways[:2]) - number)
        sentence = _of_one_kind(evidence, own, way, share)
        if sentence:
            sentences.append(sentence)
    return sentences


def _of_one_kind(
    evidence: Evidence, own: Mapping[str, Callable[[Any], bool]], kinds: frozenset[str], end: float
) -> str:
    failing = [f.case for f in evidence.failures if f.outcome.kind in kinds and not f.shrunk]
    failing = failing or [f.case for f in evidence.failures if f.outcome.kind in kinds]
    passing = list(evidence.passes)[:_MOST_CASES]
    if not failing or len(passing) < 3:
        return ""
    search = _Search(evidence, own, kinds, failing, passing, end, np.random.default_rng(len(failing)))
    verb = "fails" if kinds & set(NUMERIC) else _verb(evidence, kinds)
    try:
        for _ in range(_ROUNDS):
            rules = separating(search.parts(), search.failing, search.passing)
            if not rules:
                return ""
            rule = search.refined(rules[0])
            cases = search.fresh(rule)
            if cases is None:
                continue
            inside, outside = cases
            if len(inside) < _ENOUGH or len(outside) < _ENOUGH:
                return ""
            return f"{verb} when {rule.words}: {len(inside)} of {len(inside)} fresh cases, none of {len(outside)} without"
    except OutOfTime:
        return ""
    return ""


def _verb(evidence: Evidence, kinds: frozenset[str]) -> str:
    """How the kernel fails, where it does not give wrong numbers."""
    outcome = next(f.outcome for f in evidence.failures if f.outcome.kind in kinds)
    if outcome.kind == "raised":
        words = outcome.sentence.split("raised ", 1)[-1].split(":", 1)[0]
        return f"raises {words}"
    return {
        "shape": "returns another shape",
        "dtype": "returns another dtype",
        "type": "returns another type",
        "mutated": "changes an input",
        "out-of-bounds": "writes outside an input",
    }.get(outcome.kind, f"fails ({outcome.kind})")
