"""FN-11 as data: exact properties of what fires (proofs_notes/firing_neurons.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.spec.problem import Law

__all__ = ["LAWS"]

#: The laws of firing neurons.
LAWS: tuple[Law, ...] = ()
