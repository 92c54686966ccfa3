"""What the scores of an instance are products of: rotated queries and keys, or queries, keys and W."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.rope import rotated, rotation
from assay.spec.rope import Instance as Rope

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.cpu.rope import Rotation
    from assay.spec.rope_attention.instance import Instance

__all__ = ["OFF", "Turned", "toeplitz", "turned", "turns_of"]

#: By how many roundings a computed score of rotated vectors may be off, relative to the product of norms (ROPE-3, -7)
OFF = {"float32": 10.0, "float64": 31.0}


@dataclass(frozen=True, eq=False)
class Turned:
    """Scores scale·Σ_e q_ia W_e(i − j) k_jb over the places (a, b) of a support, or scale·⟨q_i, k_j⟩ without one.

    query (b, h_q, n_q, d), key (b, h_k, n_k, d): in the type of the arithmetic.  magnitude: by what a rotation has
    multiplied both.  relative (s, n_q + n_k − 1), support (s, 2): as in :class:`assay.spec.rope_attention.Instance`.
    """

    query: NDArray[Any]
    key: NDArray[Any]
    relative: NDArray[Any] | None
    support: NDArray[np.int64] | None
    rotary: bool
    magnitude: float


def turned(instance: Instance, work: np.dtype[Any], threads: int | None = None) -> Turned:
    """Queries and keys of the type ``work``; those of the rotary form are rotated by their positions (ROT-8)."""
    query, key = (x.astype(work, copy=False) for x in (instance.query, instance.key))
    if instance.relative is not None:
        return Turned(query, key, instance.relative, np.array(instance.support, np.int64).reshape(-1, 2), False, 1.0)
    places = instance.positions()
    turns = turns_of(instance, max(int(each.max()) for each in places))
    query, key = (
        rotated(x, x[:, :0], positions, turns, threads)[0] for x, positions in zip((query, key), places, strict=True)
    )
    return Turned(query, key, None, None, True, turns.magnitude)


def turns_of(instance: Instance, furthest: int) -> Rotation:
    """By what a position turns the vectors of an instance.  furthest: the position that ``dynamic`` scales for."""
    return rotation(
        Rope(
            np.zeros((1, 1, 1, instance.query.shape[3]), np.float32), None, np.array([furthest]), instance.base,
            instance.layout, instance.rotary_dim, instance.scaling, instance.factor, instance.original_length,
            instance.low_frequency, instance.high_frequency, instance.truncate, instance.attention_factor,
        )
    )  # fmt: skip


def toeplitz(rows: NDArray[Any], queries: int, keys: int) -> NDArray[Any]:
    """(…, queries, keys): entry i − j + keys − 1 of each row of (…, queries + keys − 1), as a view of contiguous rows.

    >>> toeplitz(np.arange(4), 2, 3)
    array([[2, 1, 0],
           [3, 2, 1]])
    """
    step = rows.strides[-1]
    return np.lib.stride_tricks.as_strided(
        rows[..., keys - 1 :], (*rows.shape[:-1], queries, keys), (*rows.strides[:-1], step, -step), writeable=False
    )
