"""A table of words and numbers as lines of text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["table"]


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The lines of a table whose first row is the heading.  Columns of numbers are aligned to the right."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [_is_numeric(column[1:]) for column in columns]
    lines = (
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        for row in rows
    )
    return [line.rstrip() for line in lines]


_NUMERIC = re.compile(r"^(-?[\d.]+(e[+-]?\d+)?|inf|nan|-)$")


def _is_numeric(cells: Sequence[str]) -> bool:
    """Whether a column is one of numbers, in which some cells may hold a word in place of one."""
    matches = [_NUMERIC.match(cell) is not None for cell in cells]
    return all(matches) or any(match and cell != "-" for match, cell in zip(matches, cells, strict=True))
