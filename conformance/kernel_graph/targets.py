"""The built-in kernels: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.conformance.interface.targets import Target

__all__ = ["TARGETS"]

TARGETS: dict[str, Target] = {}
