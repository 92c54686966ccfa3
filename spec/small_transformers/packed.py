"""The converse: many small attentions are one large one, packed without a mask (ST-6).

Every part gets a word of its own, and the words keep queries away from the keys of other parts.  It is sequence packing
by the scores alone, and so a family of instances in which a kernel that mixes parts shows.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.problem import InvalidInstance, Provenance
from assay.spec.small_transformers.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["packed", "separation", "unpacked", "words"]


def words(parts: int) -> NDArray[np.int8]:
    """(parts, r): distinct words of 0 and 1 with the same number of ones, r the least length that has enough.

    >>> words(3).tolist()
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    >>> words(100).shape
    (100, 9)
    """
    if parts < 1:
        raise ValueError(f"parts: {parts}, expected at least 1")
    length = next(r for r in itertools.count(1) if math.comb(r, r // 2) >= parts)
    weight = next(w for w in range(length + 1) if math.comb(length, w) >= parts)
    chosen = itertools.islice(itertools.combinations(range(length), weight), parts)
    made = np.zeros((parts, length), dtype=np.int8)
    for row, places in enumerate(chosen):
        made[row, list(places)] = 1
    return made


def separation(score_range: float, keys: int, error: float, scale: float) -> float:
    """b = (2R + ln(N/ε))/|σ|: how far apart scores of different parts have to be for an error of ε·range(V)."""
    if not 0.0 < error < 1.0 or scale == 0.0 or not math.isfinite(scale):
        raise ValueError(f"error {error!r} and scale {scale!r}: expected one between 0 and 1, and another than 0")
    return (2 * score_range + math.log(keys / error)) / abs(scale)


def packed(parts: Sequence[Instance], error: float = 1e-6) -> Instance:
    """One instance whose output is that of the parts, one after the other, within ``error``·range(V) per column.

    parts: without masks, of the same batches, heads, dimensions, scale, dtype and oracle.  Foreign keys weigh at most
    ``error`` in the stored numbers: the entry of the words is rounded up.
    Raises :class:`~assay.spec.problem.InvalidInstance` where the parts do not fit each other.

    >>> x = np.arange(4.0).reshape(1, 1, 4, 1)
    >>> packed([Instance(x, x, x), Instance(-x, x, -x)]).query.shape
    (1, 1, 8, 3)
    """
    if not parts:
        raise InvalidInstance("query: no parts, expected at least one")
    first = parts[0]
    scale = first.scale
    assert scale is not None
    for part in parts:
        alike = (
            part.scale == scale
            and part.query.dtype == first.query.dtype
            and all(getattr(part, x).shape[:2] == getattr(first, x).shape[:2] for x in ("query", "key"))
            and part.query.shape[3] == first.query.shape[3]
            and part.value.shape[3] == first.value.shape[3]
        )
        if not alike or part.is_causal or part.mask is not None:
            raise InvalidInstance(
                f"query: {part.describe()}, expected parts without masks that are alike in all but length"
            )
    most = max(_largest_score(part, other) for part in parts for other in parts)
    keys = sum(part.key.shape[2] for part in parts)
    entry = _root_above(separation(most, keys, error, scale), first.query.dtype)
    code = words(len(parts)).astype(np.float64)
    sign = math.copysign(1.0, scale)
    query = [_joined(part.query, -entry * word) for part, word in zip(parts, code, strict=True)]
    key = [_joined(part.key, sign * entry * (1.0 - word)) for part, word in zip(parts, code, strict=True)]
    return Instance(
        np.concatenate(query, axis=2),
        np.concatenate(key, axis=2),
        np.concatenate([part.value for part in parts], axis=2),
        oracle_size=first.oracle_size,
        scale=scale,
        oracle=first.oracle,
        provenance=Provenance(family="ST-6", truth={"error": error, "parts": len(parts)}),
    )


def unpacked(output: NDArray[np.float64], parts: Sequence[Instance]) -> list[NDArray[np.float64]]:
    """The rows of a packed output, part by part."""
    cuts = np.cumsum([part.query.shape[2] for part in parts])[:-1]
    return np.split(output, cuts, axis=2)


def _largest_score(one: Instance, other: Instance) -> float:
    """R: at least |s| of every query of one part and key of another."""
    assert one.scale is not None
    query = np.sqrt(np.square(one.query.astype(np.float64)).sum(axis=3)).max()
    key = np.sqrt(np.square(other.key.astype(np.float64)).sum(axis=3)).max()
    return float(abs(one.scale) * query * key * (1 + 1e-9))


def _root_above(b: float, dtype: np.dtype[np.generic]) -> float:
    """The entry x of the words, a number of the type with x² ≥ b."""
    root = math.sqrt(b) * (1 + 2.0**-50)
    stored = np.asarray(root, dtype=np.float64).astype(dtype)
    while float(stored) < root:
        stored = np.nextafter(stored, np.asarray(np.inf, dtype=dtype))
    if not np.isfinite(float(stored)):
        raise InvalidInstance(f"query: {dtype.name} has no number of {root:.3g}, expected a longer type")
    return float(stored)


def _joined(x: NDArray[np.floating], word: NDArray[np.float64]) -> NDArray[np.floating]:
    tail = np.broadcast_to(word, (*x.shape[:3], len(word))).astype(x.dtype)
    return np.concatenate([x, tail], axis=3)
