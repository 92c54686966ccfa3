"""Exact properties of self-attention networks (proofs_notes/layer_collapse.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.spec.problem import Law

__all__ = ["LAWS"]

LAWS: tuple[Law, ...] = ()
