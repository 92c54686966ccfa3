"""Rows in which every pair of values of a problem's factors occurs, every three kinds of them, and options by ones.

The arrays (:mod:`assay.conformance.judge.arrays`) depend on the capabilities of the kernel and on the seed, and on
nothing else.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.suite import COMBINATIONS, LEVELS, OPTIONS
from assay.conformance.judge.arrays import apart, array
from assay.conformance.judge.seeds import seed_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from assay.conformance.interface.covering import Covering
    from assay.conformance.interface.suite import Family, Row, Suite
    from assay.conformance.judge.arrays import Joint

__all__ = ["alone", "combined", "few", "pairs", "threes", "twos"]

_CHEAP = 8  # rows of the least level,
_TRIED = 48  # the cheapest of so many
_ARRAYS = 8  # the arrays of as many seeds differ, then they come again: to make one takes seconds
_REMEMBERED = 64
_USUAL = 0.5  # the part of rows that have the first kind of a factor where any would do

Choice = dict[str, str]
Kinds = dict[str, dict[str, tuple[str, ...]]]


def combined(
    suite: Suite, level: str, seed: int, capabilities: Set[str] | None = None
) -> tuple[tuple[Family, tuple[Row, ...]], ...]:
    """The families of combinations with the rows of one level; nothing for a problem that declares no factors.

    The least level has a few cheap choices; the next every pair of values, and few options at a time with every kind of
    size; the last every three kinds.
    capabilities: what the kernel can be asked for; ``None`` for a kernel that can do everything.
    """
    covering = suite.covering
    if covering is None:
        return ()
    everything = frozenset(capability.name for capability in suite.interface.capabilities)
    able = everything if capabilities is None else frozenset(capabilities) & everything
    if not all(_within(covering, able)[0].values()):  # of some factor the kernel can be asked for nothing
        return ()
    choices = (few, pairs, threes)[LEVELS.index(level)](covering, able, seed)
    families = [(COMBINATIONS, choices[:_CHEAP] if level == LEVELS[0] else choices)]
    if level == LEVELS[1]:
        families.insert(0, (OPTIONS, [*alone(covering, able, seed), *twos(covering, able, seed)]))
    return tuple((family, _rows(covering, family, chosen, level, seed)) for family, chosen in families)


def _rows(covering: Covering, family: Family, choices: Sequence[Choice], level: str, seed: int) -> tuple[Row, ...]:
    """The rows of choices, the cheapest first."""
    rows = [covering.row(choice, seed_of(seed, family.id, level, number)) for number, choice in enumerate(choices)]
    return tuple(replace(row, level=level) for row in sorted(rows, key=covering.cost))


def alone(covering: Covering, capabilities: frozenset[str], seed: int) -> list[Choice]:
    """No option, and every kind of every option, with every kind of every size; nothing else is asked for."""
    kinds, never = _within(covering, capabilities)
    rng = np.random.default_rng(seed_of(seed, "alone"))
    sizes = _of_role(covering, "size")
    chosen = []
    for option in [{}, *({name: kind} for name in _of_role(covering, "option") for kind in list(kinds[name])[1:])]:
        turns = max((len(kinds[name]) for name in sizes), default=1)
        columns = {name: np.resize(rng.permutation(list(kinds[name])), turns).tolist() for name in sizes}
        for turn in range(turns):
            size = {name: column[turn] for name, column in columns.items()}
            chosen.append(_possible(_nothing(kinds) | option | size, kinds, never, option))
    return [_varied(choice, kinds, rng) for choice in chosen if choice]


def twos(covering: Covering, capabilities: frozenset[str], seed: int) -> list[Choice]:
    """Every two kinds of options that may be together, in sizes by chance; nothing else is asked for."""
    kinds, never = _within(covering, capabilities)
    rng = np.random.default_rng(seed_of(seed, "twos"))
    sizes = _of_role(covering, "size")
    chosen = []
    for first, second in itertools.combinations(_of_role(covering, "option"), 2):
        for two in itertools.product(list(kinds[first])[1:], list(kinds[second])[1:]):
            options = {first: two[0], second: two[1]}
            size = {name: str(rng.choice(list(kinds[name]))) for name in sizes}
            chosen.append(_possible(_nothing(kinds) | options | size, kinds, never, options))
    return [_varied(choice, kinds, rng) for choice in chosen if choice]


def few(covering: Covering, capabilities: frozenset[str], seed: int) -> list[Choice]:
    """Choices by chance: of every factor a kind, and one of its values; what cannot be together becomes the first."""
    kinds, never = _within(covering, capabilities)
    rng = np.random.default_rng(seed_of(seed, "few"))
    chosen = []
    for _ in range(_TRIED):
        choice = {name: str(rng.choice(list(of))) for name, of in kinds.items()}
        chosen.append(_varied(_possible(choice, kinds, never, {}), kinds, rng))
    return chosen


def pairs(covering: Covering, capabilities: frozenset[str], seed: int) -> list[Choice]:
    """Choices in which every two values occur that a kernel with these capabilities can be asked for together."""
    return list(_pairs(covering, capabilities, seed % _ARRAYS))


def threes(covering: Covering, capabilities: frozenset[str], seed: int) -> list[Choice]:
    """Choices in which every three kinds occur that may be together, each kind by one of its values."""
    kinds, _ = _within(covering, capabilities)
    rng = np.random.default_rng(seed_of(seed, "threes"))
    return [_varied(choice, kinds, rng) for choice in _threes(covering, capabilities, seed % _ARRAYS)]


@functools.lru_cache(_REMEMBERED)
def _pairs(covering: Covering, capabilities: frozenset[str], salt: int) -> tuple[Choice, ...]:
    kinds, never = _within(covering, capabilities)
    values = {name: [value for variants in of.values() for value in variants] for name, of in kinds.items()}
    joints = [_values_of(joint, kinds) for joint in never]
    free = [*_of_role(covering, "option"), *_of_role(covering, "manner")]
    return _mixed(array(values, 2, joints, salt), kinds, joints, free, salt)


@functools.lru_cache(_REMEMBERED)
def _threes(covering: Covering, capabilities: frozenset[str], salt: int) -> tuple[Choice, ...]:
    kinds, never = _within(covering, capabilities)
    return array({name: list(of) for name, of in kinds.items()}, 3, never, salt)


def _within(covering: Covering, capabilities: frozenset[str]) -> tuple[Kinds, list[Joint]]:
    """Factor → the kinds that a kernel can be asked for, and those of several factors that cannot be together."""
    kinds = {
        factor.name: {
            kind: values
            for kind, values in factor.kinds.items()
            if kind not in factor.needs or factor.needs[kind] in capabilities
        }
        for factor in covering.factors
    }
    return kinds, [dict(joint.kinds) for joint in covering.together if joint.needs not in capabilities]


def _of_role(covering: Covering, role: str) -> list[str]:
    return [factor.name for factor in covering.factors if factor.role == role]


def _nothing(kinds: Kinds) -> Choice:
    """The first kind of every factor."""
    return {name: next(iter(of)) for name, of in kinds.items()}


def _possible(choice: Choice, kinds: Kinds, never: Sequence[Joint], kept: Mapping[str, str]) -> Choice:
    """The choice with first kinds in place of those that cannot be beside what is kept; empty if nothing helps."""
    for joint in never:
        if not apart(joint, choice):
            given_up = next((name for name in joint if name not in kept), "")
            if not given_up:
                return {}
            choice = choice | {given_up: next(iter(kinds[given_up]))}
    return choice


def _values_of(joint: Joint, kinds: Kinds) -> Joint:
    """The values of the kinds of several factors."""
    return {
        name: frozenset(value for kind, values in kinds[name].items() if kind in named for value in values)
        for name, named in joint.items()
    }


def _varied(choice: Choice, kinds: Kinds, rng: np.random.Generator) -> Choice:
    """One value of each kind."""
    return {name: str(rng.choice(kinds[name][kind])) for name, kind in choice.items()}


def _mixed(
    rows: Sequence[Choice], kinds: Kinds, never: Sequence[Joint], free: Sequence[str], salt: int
) -> tuple[Choice, ...]:
    """The rows with values by chance where any would do: half of them of the first kind.

    An array leaves the first value wherever a row adds no pair, so that three options would hardly ever meet.
    """
    rng = np.random.default_rng(seed_of(salt, "mixed"))
    mixed = [dict(row) for row in rows]
    count = Counter(pair for row in mixed for pair in itertools.combinations(sorted(row.items()), 2))
    for place in rng.permutation(len(mixed)):
        row = mixed[place]
        for name in rng.permutation(free):
            others = [item for item in row.items() if item[0] != name]
            first, *further = kinds[name]
            kind = str(rng.choice(further)) if further and rng.random() > _USUAL else first
            value = str(rng.choice(kinds[name][kind]))
            given_up = [tuple(sorted(((name, row[name]), other))) for other in others]
            if value == row[name] or any(count[pair] == 1 for pair in given_up):
                continue
            if all(apart(joint, row | {name: value}) for joint in never):
                count.subtract(given_up)
                count.update(tuple(sorted(((name, value), other))) for other in others)
                row[name] = value
    return tuple(mixed)
