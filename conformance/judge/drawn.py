"""Cases that Hypothesis draws: a suite's own strategy, or one derived from its table and the axes of its instances."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.suite import DRAWN, LEVELS, Case
from assay.spec.problem import InvalidInstance, Provenance

if TYPE_CHECKING:
    from collections.abc import Set

    from hypothesis.strategies import SearchStrategy

    from assay.conformance.interface.suite import Row, Suite
    from assay.spec.precision import Precision

__all__ = ["drawn_cases", "drawn_rows", "instances_of"]

_SHORT = 4  # the longest axis of an instance whose every number is drawn
_FEW = 48  # the most numbers of such an instance


def drawn_cases(suite: Suite, precision: Precision, capabilities: Set[str]) -> SearchStrategy[Case]:
    """The cases that Hypothesis draws for a kernel with these capabilities."""
    if suite.strategy is not None:
        instances = suite.strategy(precision, capabilities)
    else:
        instances = instances_of(suite, precision, capabilities)
    return instances.map(lambda instance: Case(f"drawn: {instance.provenance.note}", DRAWN, instance))


def drawn_rows(suite: Suite, precision: Precision, level: str) -> SearchStrategy[Case]:
    """Rows of a level with other numbers, for a kernel that takes some sizes only: they can be put in another size."""
    from hypothesis import strategies as st

    levels = LEVELS[: LEVELS.index(level) + 1]
    rows = [
        row
        for _, family_rows in suite.table
        for row in family_rows
        if row.level in levels and not row.after and not row.beside
    ]

    def built(row: Row, seed: int) -> Case:
        note = " ".join((row.pattern, row.size, *row.options))
        instance = suite.build(row, Provenance(DRAWN.id, seed, note), precision)
        return Case(f"drawn: {note}", DRAWN, instance, row=replace(row, layout="contiguous"))

    return st.builds(built, st.sampled_from(rows), st.integers(0, 2**32 - 1))


def instances_of(suite: Suite, precision: Precision, capabilities: Set[str]) -> SearchStrategy[Any]:
    """Instances of a suite's rows with other seeds, and small parts of such instances whose every number is drawn.

    Hypothesis shrinks them towards short axes, few options and small integers.
    """
    from hypothesis import assume  # only where something is drawn
    from hypothesis import strategies as st

    rows = [row for _, family_rows in suite.table for row in family_rows if not row.after and not row.beside]

    @st.composite
    def drawn(draw: st.DrawFn) -> Any:
        row = draw(st.sampled_from(rows))
        seed = draw(st.integers(0, 2**32 - 1))
        note = " ".join((row.pattern, row.size, *row.options))
        instance: Any = None
        with contextlib.suppress(InvalidInstance):
            instance = suite.build(row, Provenance(DRAWN.id, seed, note), precision)
            if draw(st.booleans()):
                instance = _tiny(draw, instance)
        assume(instance is not None and suite.interface.needs(instance) <= capabilities)
        return instance

    def _tiny(draw: st.DrawFn, instance: Any) -> Any:
        lengths = {axis: draw(st.integers(1, min(n, _SHORT))) for axis, n in instance.lengths().items() if n}
        small = instance.part(**{axis: range(length) for axis, length in lengths.items()})
        if sum(array.size for array in small.arrays().values() if array.dtype.kind not in "biu") > _FEW:
            return small
        changes = {}
        for name, array in small.arrays().items():
            if array.dtype.kind not in "biu":
                sixteenths = draw(st.lists(st.integers(-64, 64), min_size=array.size, max_size=array.size))
                changes[name] = (np.array(sixteenths, np.float64) / 16).astype(array.dtype).reshape(array.shape)
        return small.replace(**changes, provenance=Provenance(DRAWN.id, note="tiny"))

    return drawn()
