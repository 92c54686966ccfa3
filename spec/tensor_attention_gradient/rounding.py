"""The classes that make sense for the gradient of attention of order k: all but those of 8 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.spec.tensor_attention.rounding import PRECISIONS as FORWARD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.spec.precision import Precision

__all__ = ["PRECISIONS"]

#: Those of the forward pass, in which a gradient is stored.
PRECISIONS: Mapping[str, Precision] = {
    name: machine for name, machine in FORWARD.items() if not machine.storage.startswith("float8")
}
