"""Ordinary inputs: normal numbers in the shapes of daily work, on which the quality of a kernel is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.conformance.attention.families import parse_shape
from assay.conformance.attention.options import build
from assay.conformance.interface.suite import Case, Family

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assay.spec.precision import Precision

__all__ = ["ordinary"]

_FAMILY = Family("ordinary", "nothing: it measures", "", "quality")
_SIZES = ("1x2:16x16:16/16", "1x2:64x64:32/32", "1x1:32x256:64/64", "1x1:8x1024:64/16")


def ordinary(precision: Precision, seed: int) -> Iterator[Case]:
    """Normal queries, keys and values, a few sizes, the standard scale.  Same seed, same bytes."""
    for number, size in enumerate(_SIZES):
        instance = build("ordinary", "normal", parse_shape(size), (), 1000 * seed + number, precision)
        yield Case(f"normal {size}", _FAMILY, instance)
