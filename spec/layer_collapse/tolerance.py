"""What a correct stack of a precision class may err (a first draft: not proved yet)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec.layer_collapse.definition import define
from assay.spec.precision import PRECISIONS as MACHINES
from assay.spec.precision import Precision
from assay.spec.precision import precision as precision_named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.spec.layer_collapse.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["PRECISIONS", "tolerance"]

#: The classes that make sense for a stack: all but those of 8 bits.
PRECISIONS: Mapping[str, Precision] = {
    name: machine for name, machine in MACHINES.items() if not machine.storage.startswith("float8")
}


def tolerance(instance: Instance, precision: str | Precision, output: str = "tokens") -> Array:
    """The bound on the error of every correct stack of the class, (L, n, d)."""
    u = precision_named(precision, PRECISIONS)
    value = define(instance, 1e-9).midpoint
    rate = 64 * max(u.output, u.product, u.operand, u.stored, u.input_rounding)
    size = np.maximum.accumulate(np.abs(value).max(axis=(1, 2)))[:, None, None]
    return np.broadcast_to(rate * size * np.arange(1, len(value) + 1)[:, None, None], value.shape).copy()
