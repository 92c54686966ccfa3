"""The axes of attention that kernels limit, and rows of the table in other sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from assay.conformance.attention.options import parse_shape
from assay.conformance.interface.lengths import Axes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.conformance.interface.suite import Row

__all__ = ["AXES", "resized"]

#: Axes by the name under which a kernel declares their lengths; those whose inequality matters least come first.
AXES: dict[str, Axes] = {
    "dims": Axes(("dim", "value_dim"), (64, 128, 32, 16, 256, 8, 96, 80, 48, 40, 24, 4)),
    "heads": Axes(("heads", "key_heads"), (2, 1, 8, 4, 16, 32), apart=True),
    "lengths": Axes(("queries", "keys"), (128, 256, 64, 512, 1024, 32, 16, 8, 1), multiples=True),
    "batch": Axes(("batch",), (1, 2, 4, 8), apart=True),
}


def resized(row: Row, lengths: Mapping[str, int]) -> Row:
    """The row with other lengths of some axes, in the words of the table.

    >>> from assay.conformance.interface.suite import Row
    >>> resized(Row("smoke", "normal", "17"), {"keys": 128, "dim": 64}).size
    '1x1/1:17x128:64/8'
    """
    shape = replace(parse_shape(row.size), **lengths)
    words = f"{shape.batch}x{shape.heads}/{shape.key_heads}:{shape.queries}x{shape.keys}:{shape.dim}/{shape.value_dim}"
    return replace(row, size=words)
