"""Which columns are turned together, and by which cosines and sines: certified for every position."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec import flint_context
from assay.spec.rotary.frequencies import frequencies, magnitude

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.enclosure import Arithmetic
    from assay.spec.rotary.options import Rotary, Tokens

    Array = NDArray[np.float64]

__all__ = ["paired", "rotation"]


def paired(instance: Rotary) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """The rotated columns, first members of the pairs before second ones, their partners, and the signs of these."""
    half = instance.rotated // 2
    first = np.arange(half) * (1 if instance.layout == "halves" else 2)
    second = first + (half if instance.layout == "halves" else 1)
    return np.concatenate([first, second]), np.concatenate([second, first]), np.repeat([-1.0, 1.0], half)


def rotation(instance: Tokens, arithmetic: Arithmetic) -> tuple[Any, Any]:
    """C and S, certified: balls of shape (batch, length, r), the columns in the order of :func:`paired`.

    They are evaluated once for every distinct position and pair.
    """
    b, _, n, _ = instance.query.shape
    alone = np.zeros((b, 1, n, instance.rotated), np.float32)
    turned = instance.replace(query=alone, key=None, rotary_dim=None, layout="halves")
    return _rotation(_Turned(turned.digest(), arithmetic, turned))


@dataclass(frozen=True)
class _Turned:
    """What C and S depend on: positions, frequencies and arithmetic, and of what is rotated batch and length alone."""

    digest: bytes
    arithmetic: Arithmetic
    instance: Tokens = field(compare=False)


@functools.lru_cache(maxsize=256)  # asked for again by the keys, by the tolerance, and by inputs with other numbers
def _rotation(turned: _Turned) -> tuple[Any, Any]:
    instance, arithmetic = turned.instance, turned.arithmetic
    distinct, place = np.unique(instance.positions.astype(np.int64), return_inverse=True)
    at = np.broadcast_to(place.reshape(instance.positions.shape), instance.query.shape[::2])[..., None]
    tables = np.empty((2, len(distinct), instance.rotated // 2), dtype=object)
    with flint_context.bits(arithmetic.precision + 128):
        theta, m = frequencies(instance)[2], magnitude(instance)
        for row, pair in np.ndindex(*tables.shape[1:]):
            sin, cos = (theta[pair] * int(distinct[row])).sin_cos()
            tables[:, row, pair] = m * cos, m * sin
    members = np.tile(np.arange(instance.rotated // 2), 2)  # both of a pair have its angle
    cos, sin = (arithmetic.around(table)[at, members] for table in tables)
    return cos, sin
