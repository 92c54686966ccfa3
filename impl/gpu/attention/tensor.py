"""What kernels with tiles on tensor cores (``tensor.cuh``) are told, and when they are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.impl.gpu.attention.tile import ROWS
from assay.impl.gpu.machine import Launch
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from assay.impl.gpu.machine import Machine
    from assay.spec.softmax.masks import Masked

__all__ = ["launch", "multiplied"]

_WARPS = 4  # of a block
_LINE = {"float16": 136, "bfloat16": 136, "float32": 132}  # numbers of a line in shared memory, as there


def launch(blocks: int, kind: np.dtype[Any], factors: int) -> Launch:
    """So many blocks, each with as many factors of a tile, of numbers of this type."""
    return Launch(blocks, 32 * _WARPS, factors * ROWS * _LINE[kind.name] * kind.itemsize)


def multiplied(machine: Machine, instance: Masked, products: str | None, unasked: Mapping[str, bool]) -> bool:
    """Whether tensor cores multiply: as ``products`` says, ``"tensor"`` or ``"fma"``, and without it as ``unasked``.

    unasked: the types that there is such a kernel of, and whether it is taken where nothing is asked.

    Raises :class:`InvalidInstance` for what this type or this machine has not.
    """
    name = instance.query.dtype.name
    if products not in (None, "fma", "tensor"):
        raise InvalidInstance(f"products: {products!r}, expected 'fma' or 'tensor'")
    if products == "tensor" and name not in unasked:
        raise InvalidInstance(f"products: tensor cores multiply {', '.join(unasked)} here, and not {name}")
    if products == "tensor" and not machine.has_tensor_cores:
        raise InvalidInstance("products: tensor cores need compute capability 8.0 or later")
    if products is not None:
        return products == "tensor"
    return machine.has_tensor_cores and unasked.get(name, False)
