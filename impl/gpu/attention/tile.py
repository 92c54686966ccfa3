"""What the kernels with tiles of scores (``tile.cuh``) are told: sizes, views of arrays, the options of a softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.gpu.machine import TYPES, Launch, view
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.impl.gpu.machine import Machine
    from assay.spec.softmax.masks import Masked

__all__ = ["COLUMNS", "ROWS", "THREADS", "UNLIMITED", "launch", "options", "work_of"]

ROWS, COLUMNS, THREADS = 64, 128, 256  # of a block, as in tile.cuh
_SHARED = 2 * ROWS * 36 + 32 * COLUMNS  # numbers in shared memory: two factors, and the rows that weights multiply
UNLIMITED = 1 << 62


def work_of(query: Any, name: str = "query") -> np.dtype[Any]:
    """The type of the arithmetic.  Raises :class:`InvalidInstance` for a type that no kernel has."""
    if query.dtype.name not in TYPES:
        raise InvalidInstance(f"{name}: dtype {query.dtype.name}, expected one of {', '.join(TYPES)}")
    return np.dtype(np.float64 if query.dtype.name == "float64" else np.float32)


def launch(blocks: int, work: np.dtype[Any]) -> Launch:
    """So many blocks, each with a tile."""
    return Launch(blocks, THREADS, _SHARED * work.itemsize)


def options(machine: Machine, instance: Masked, arrays: Mapping[str, Any], keep: list[Any]) -> dict[str, Any]:
    """The members of the struct ``Options``.

    instance: what tells of shapes and options; its numbers are not read.  keep: gets the arrays that are made here,
    which have to live until the kernel is started.
    """
    (b, h, n_q, _), n_k = instance.query.shape, instance.key.shape[2]
    left, right = instance.window or (None, None)
    mask, bias, lengths = (arrays[name] for name in ("mask", "bias", "key_lengths"))
    if lengths is not None:
        keep.append(lengths := lengths.astype(np.int64))
    assert instance.scale is not None
    return {
        "mask": view(machine, mask, (b, h, n_q, n_k)),
        "bias": view(machine, bias, (b, h, n_q, n_k)),
        "lengths": 0 if lengths is None else machine.address(lengths),
        "left": UNLIMITED if left is None else int(left),
        "right": 0 if instance.causal is not None else UNLIMITED if right is None else int(right),
        "bottom_right": int(instance.causal == "bottom-right"),
        "bias_type": 0 if bias is None else TYPES.index(bias.dtype.name),
        "scale": float(instance.scale),
        "softcap": float(instance.softcap or 0.0),
    }
