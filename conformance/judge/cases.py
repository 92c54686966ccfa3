"""The cases of a level, from the table of a suite."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from assay.conformance.interface.layouts import LAYOUTS, Layout
from assay.conformance.interface.suite import COMBINATIONS, CONCURRENT_CALLS, LEVELS, OPTIONS, Case, Family
from assay.conformance.judge.covering import combined
from assay.conformance.judge.seeds import seed_of
from assay.spec.problem import Provenance

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Set

    from assay.conformance.interface.suite import Row, Suite
    from assay.spec.precision import Precision

__all__ = ["again", "cases", "cases_of_level", "in_another_size", "typical_cases"]

_TYPICAL = Family("typical", "nothing: it measures", "", "quality")


def cases(
    suite: Suite, precision: Precision, level: str, seed: int, capabilities: Set[str] | None = None
) -> Iterator[Case]:
    """The cases of a level, those of the lower levels first.  The same seed gives the same cases on any machine.

    capabilities: what the kernel can be asked for, within which options are combined; ``None`` for everything.
    """
    for now in LEVELS[: LEVELS.index(level) + 1]:
        yield from cases_of_level(suite, precision, now, seed, capabilities)


def cases_of_level(
    suite: Suite,
    precision: Precision,
    level: str,
    seed: int,
    capabilities: Set[str] | None = None,
    families: Collection[str] | None = None,
) -> Iterator[Case]:
    """The cases that a level adds to those of the levels below it.

    families: the only ones whose cases are made; ``None`` for every one.  A case is the same among few as among all.

    Every family has its turn before any has its second, so a run that is cut short has seen them all.  The numbers of a
    case follow from the seed, the family and the row's own words, so they stay as they are when the table changes
    around it.  Rows of a family that say the same are counted, and each has numbers of its own.
    """
    turns: list[tuple[int, int, Row, int]] = []
    covers = families is None or not {COMBINATIONS.id, OPTIONS.id}.isdisjoint(families)
    table = (*suite.table, *(combined(suite, level, seed, capabilities) if covers else ()))
    for number, (family, rows) in enumerate(table):
        if families is not None and family.id not in families:
            continue
        counted: Counter[str] = Counter()
        turn = 0
        for row in rows:
            words = _words(row)
            if row.level == level:
                turns.append((turn, number, row, seed_of(seed, family.id, words, counted[words])))
                turn += 1
            counted[words] += 1
    for _, number, row, mixed in sorted(turns, key=lambda one: one[:2]):
        yield _case(suite, precision, table[number][0], row, mixed)


def again(suite: Suite, precision: Precision, case: Case, seed: int) -> Case | None:
    """The row of a case once more with other numbers; ``None`` for a case that is of no row of the table."""
    return None if case.row is None else _case(suite, precision, case.family, case.row, seed)


def _words(row: Row) -> str:
    """What a row says, but for the level that it belongs to."""
    return " ".join((row.pattern, row.size, *row.options, row.layout, "after", *row.after, "beside", *row.beside))


def _case(suite: Suite, precision: Precision, family: Family, row: Row, seed: int, remark: str = "") -> Case:
    name = " ".join((f"{family.id}: {row.pattern} {row.size}", *row.options))
    name += "" if row.layout == "contiguous" else f" {row.layout}"
    name += "".join(f", {word} {' '.join(words)}" for word in ("after", "beside") if (words := getattr(row, word)))
    name += remark
    instance = suite.build(row, Provenance(family.id, seed, name), precision)
    after, beside = (tuple(suite.changes[word](instance) for word in words) for words in (row.after, row.beside))
    needs = frozenset({CONCURRENT_CALLS}) if beside else frozenset[str]()
    layout = LAYOUTS[row.layout]
    if family == COMBINATIONS and layout != Layout():
        layout = replace(layout, by_the_way=True)
    return Case(name, family, instance, layout, after, beside, needs, row)


def in_another_size(suite: Suite, precision: Precision, case: Case, lengths: Mapping[str, int]) -> Case | None:
    """The case with other lengths of some axes, from the same seed; ``None`` where its row has no such size."""
    seed = case.instance.provenance.seed
    if suite.resized is None or case.row is None or seed is None:
        return None
    try:
        row = suite.resized(case.row, lengths)
        return _case(suite, precision, case.family, row, seed, f" (for {case.row.size})")
    except ValueError:  # no instance: an option that asks for more columns than there are, for one
        return None


def typical_cases(suite: Suite, precision: Precision, seed: int) -> Iterator[Case]:
    """Ordinary inputs, on which the quality of a kernel is measured.  The same seed gives the same bytes."""
    for number, row in enumerate(suite.typical):
        provenance = Provenance(_TYPICAL.id, 1000 * seed + number)
        yield Case(f"{row.pattern} {row.size}", _TYPICAL, suite.build(row, provenance, precision), row=row)
