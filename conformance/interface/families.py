"""Families that every problem has, because they are about calls and memory and not about what is computed.

A problem puts them into its table with rows of its own, or takes the usual rows from the functions below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.suite import Family, Row, rows

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "CHANGES",
    "CONCURRENT",
    "FAR_STRIDES",
    "LARGE_GRID",
    "LAYOUTS",
    "STATE",
    "called_before",
    "called_together",
    "laid_out",
]

LAYOUTS = Family(
    "layouts",
    "strides assumed: permuted, offset, padded, spaced, reversed, expanded or packed memory",
    "pytorch/pytorch#181133, #163597, #112577, #187506; huggingface/candle#3703; "
    "torch-spyre#4331; BobMcDear/attorch#14",
)
FAR_STRIDES = Family(
    "far-strides",
    "offsets in 32 bits: strides of 2³² elements, as a cache or a slice of a large array has them",
    "Dao-AILab/flash-attention#2611, #2260, #1500; fla-org/flash-linear-attention#769; tilelang#330",
)
STATE = Family(
    "state",
    "something kept from another call: a result by shape, address or a few elements, a scale, a mask, a workspace",
    "lucidrains/rotary-embedding-torch#11; MemOS#2315; maclocal-api#92",
)
CONCURRENT = Family(
    "concurrent",
    "a workspace, a cache or a flag that calls of several threads share",
    "assay's bank",
)
LARGE_GRID = Family(
    "large-grid",
    "heads and batches in great number: a race of tiles, a head's tail written over the next head",
    "ninfer-3090#43; hipfire#575; FlagGems#898; BobMcDear/attorch#14",
    keeps=("heads", "batch"),
)


def laid_out(pattern: str, size: str, *options: str) -> tuple[Family, tuple[Row, ...]]:
    """One input in every layout but those whose slices lie far apart."""
    table = rows("smoke", pattern, size, *options, layout="permuted")
    for level, names in (("smoke", "gap offset"), ("standard", "transposed reversed spaced packed")):
        for name in names.split():
            table += rows(level, pattern, size, *options, layout=name)
    return LAYOUTS, table


def called_before(pattern: str, size: str, *changes: str) -> tuple[Family, tuple[Row, ...]]:
    """One input after another call with other numbers, at the same addresses, and after each of ``changes``."""
    table = rows("smoke", pattern, size, after="numbers")
    for change in changes:
        table += rows("standard", pattern, size, after=change) + rows("standard", pattern, size, after=f"same {change}")
    return STATE, table


def called_together(pattern: str, size: str) -> tuple[Family, tuple[Row, ...]]:
    """One input while other threads call the kernel with other numbers."""
    return CONCURRENT, rows("standard", pattern, size, beside="numbers same")


def _other_numbers(instance: Any) -> Any:
    """Every real array that the instance must have, backwards along its last axis and negated: as large, elsewhere."""
    arrays = {name: array for name, array in instance.arrays().items() if not instance.is_option(name)}
    real = {name: array for name, array in arrays.items() if array.dtype.kind not in "biu"}
    return instance.replace(
        **{
            name: np.ascontiguousarray(-array.astype(np.float64)[..., ::-1]).astype(array.dtype)
            for name, array in real.items()
        }
    )


#: Changes between one call and the next that every instance has: ``same`` is a return to what was asked before.
CHANGES: dict[str, Callable[[Any], Any]] = {"same": lambda instance: instance, "numbers": _other_numbers}
