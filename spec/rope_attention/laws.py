"""ROPE-1 and ATT-1 as data: exact properties of attention with relative positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.spec.problem import Law

__all__ = ["LAWS"]

#: The laws.
LAWS: tuple[Law, ...] = ()
