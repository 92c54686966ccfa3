"""How the arrays of a call may lie in memory: as data, for arrays of any number of axes.

NumPy's convention is followed: the last two axes are matrices, and what comes before them is a stack.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LAYOUTS", "Layout"]


@dataclass(frozen=True)
class Layout:
    """How the arrays of a call lie in memory.  The values are the same in every layout.

    swap: two axes, counted from the last, that are exchanged in memory (``None``: C order).
    offset: how many elements precede the first one.
    gap: how many elements lie between the rows of the last axis in memory.
    step: the distance of two neighbours, as in a slice of a larger array.
    reverse: the last axis but one is stored backwards: a negative stride, only for frameworks that have them.
    expanded: an axis, but for the last, whose slices are all equal is stored once (stride 0).
    packed: positional arrays are slices of one array, in which everything of one position lies side by side.
    alternate: every second array alone lies so, and the first, the third … lie in C order.
    far: the number of an axis of the stack whose slices lie 2³² elements apart, in a sparse mapping.
    by_the_way: a call is not about its layout, and is made as well where the layout changes nothing.
    """

    name: str = "contiguous"
    swap: tuple[int, int] | None = None
    offset: int = 0
    gap: int = 0
    step: int = 1
    reverse: bool = False
    expanded: bool = False
    packed: bool = False
    alternate: bool = False
    far: int | None = None
    by_the_way: bool = False


#: Every layout, by name.
LAYOUTS: dict[str, Layout] = {
    "contiguous": Layout(),
    "permuted": Layout("permuted", swap=(-3, -2)),
    "mixed": Layout("mixed", swap=(-3, -2), alternate=True),
    "transposed": Layout("transposed", swap=(-2, -1)),
    "offset": Layout("offset", offset=7),
    "gap": Layout("gap", gap=5),
    "spaced": Layout("spaced", step=2),
    "reversed": Layout("reversed", reverse=True),
    "expanded": Layout("expanded", expanded=True),
    "packed": Layout("packed", packed=True),
    "far-batches": Layout("far-batches", far=0),
    "far-heads": Layout("far-heads", far=1),
}
