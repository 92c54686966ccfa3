"""Suites of some rows of another: a test that is about an option builds the cases that have it, and no others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from assay.conformance.interface.suite import LEVELS
from assay.conformance.judge.covering import combined

if TYPE_CHECKING:
    from collections.abc import Callable

    from assay.conformance.interface.suite import Row, Suite

__all__ = ["having", "only"]


def only(suite: Suite, wanted: Callable[[Row], bool], level: str = "standard") -> Suite:
    """The suite of the wanted rows, of the table and of what is combined up to a level for kernels with every option.

    wanted: a question about the words of a row alone, so that the rows make the same cases as in the whole suite.
    """
    table = [*suite.table, *(entry for one in LEVELS[: LEVELS.index(level) + 1] for entry in combined(suite, one, 0))]
    return replace(suite, table=tuple((family, tuple(filter(wanted, rows))) for family, rows in table), covering=None)


def having(suite: Suite, *beginnings: str) -> Suite:
    """The suite of the rows that have an option of which the name begins so."""
    return only(suite, lambda row: any(option.startswith(beginnings) for option in row.options))
