"""Attention with relative positions as SymPy expressions: exact, for tiny sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.rope_attention.instance import Instance

__all__ = ["symbolic"]


def symbolic(instance: Instance) -> NDArray[Any]:
    raise NotImplementedError
