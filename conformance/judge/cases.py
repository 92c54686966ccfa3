"""The cases of a level, from the table of a suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.conformance.interface.layouts import LAYOUTS
from assay.conformance.interface.suite import CONCURRENT_CALLS, LEVELS, Case, Family
from assay.spec.problem import Provenance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assay.conformance.interface.suite import Row, Suite
    from assay.spec.precision import Precision

__all__ = ["cases", "typical_cases"]

_TYPICAL = Family("typical", "nothing: it measures", "", "quality")


def cases(suite: Suite, precision: Precision, level: str, seed: int) -> Iterator[Case]:
    """The cases of a level, those of the lower levels first.  The same seed gives the same cases on any machine.

    Within a level every family has its turn before any has its second, so a run that is cut short has seen them all.
    """
    for now in LEVELS[: LEVELS.index(level) + 1]:
        turns: list[tuple[int, int]] = []
        for number, (_, rows) in enumerate(suite.table):
            turns += [(number, place) for place, row in enumerate(rows) if row.level == now]
        first = {number: min(place for n, place in turns if n == number) for number, _ in turns}
        for number, place in sorted(turns, key=lambda turn: (turn[1] - first[turn[0]], turn[0])):
            family, rows = suite.table[number]
            mixed = (seed * 1_000_003 + number * 1009 + place) % (1 << 63)
            yield _case(suite, precision, family, rows[place], mixed)


def _case(suite: Suite, precision: Precision, family: Family, row: Row, seed: int) -> Case:
    name = " ".join((f"{family.id}: {row.pattern} {row.size}", *row.options))
    name += "" if row.layout == "contiguous" else f" {row.layout}"
    name += "".join(f", {word} {' '.join(words)}" for word in ("after", "beside") if (words := getattr(row, word)))
    instance = suite.build(row, Provenance(family.id, seed, name), precision)
    after, beside = (tuple(suite.changes[word](instance) for word in words) for words in (row.after, row.beside))
    needs = frozenset({CONCURRENT_CALLS}) if beside else frozenset[str]()
    return Case(name, family, instance, LAYOUTS[row.layout], after, beside, needs)


def typical_cases(suite: Suite, precision: Precision, seed: int) -> Iterator[Case]:
    """Ordinary inputs, on which the quality of a kernel is measured.  The same seed gives the same bytes."""
    for number, row in enumerate(suite.typical):
        provenance = Provenance(_TYPICAL.id, 1000 * seed + number)
        yield Case(f"{row.pattern} {row.size}", _TYPICAL, suite.build(row, provenance, precision))
