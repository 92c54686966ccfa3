"""One key head, the query heads that attend to it, and what norms and low moments say of their scores."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import features
from assay.impl.cpu.features import Band

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from assay.spec.attention.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["Head", "Scatter", "heads", "scatter"]


@dataclass(frozen=True, eq=False)
class Head:
    """One key head of one batch, and the query heads that attend to it.

    ``query_norm``, ``key_norm``, ``least`` and ``largest`` bound the stored numbers rigorously, with every rounding
    outwards; ATT-5 relies on that.  ``centre`` and ``mean`` need not be exact.
    """

    batch: int
    number: int  # the number of the key head in its batch
    queries: NDArray[Any]  # (group, n_q, d)
    key: NDArray[Any]  # (length, d); the length may be 0
    value: NDArray[Any]  # (length, d_v)
    scale: float
    band: Band
    banded: bool  # some row may not attend to all keys
    centre: Array  # (d,): about the mean key
    mean: Array  # (d_v,): about the mean value
    query_norm: float  # at least ‖q‖₂ of every query
    key_norm: float  # at least ‖k − centre‖₂ of every key
    least: Array  # (d_v,): the least value of every column
    largest: Array  # (d_v,): the largest

    @functools.cached_property
    def dtype(self) -> str:
        return self.key.dtype.name

    @functools.cached_property
    def points(self) -> int:
        """The number of keys and queries."""
        return len(self.key) + int(self.queries.shape[0] * self.queries.shape[1])

    @functools.cached_property
    def magnitude(self) -> Array:
        return np.maximum(np.abs(self.least), np.abs(self.largest))

    @functools.cached_property
    def spread(self) -> Array:
        """(d_v,): range(V), rounded up."""
        with np.errstate(over="ignore"):
            return (self.largest - self.least) * (1.0 + 2.0**-50)

    @functools.cached_property
    def middle(self) -> Array:
        return self.least / 2.0 + self.largest / 2.0

    @functools.cached_property
    def half(self) -> Array:
        """(d_v,): at least |v − middle|."""
        with np.errstate(over="ignore"):
            return np.maximum(self.largest - self.middle, self.middle - self.least) * (1.0 + 2.0**-50)

    @functools.cached_property
    def grow(self) -> Array:
        """(d_v,): the power of two next above ``half``, kept between 2^-1000 and 2^1023."""
        power: Array = np.ldexp(1.0, np.minimum(np.maximum(np.frexp(self.half)[1], -1000), 1023))
        return power


@dataclass(frozen=True, eq=False)
class Scatter:
    """Second moments of one head.  Only ``deviation`` is a proved bound; the rest guides the choice of a polynomial.

    axes (d, d): orthonormal columns, the principal axes of the keys.  weights (d,): mean squares of the centred keys
    along them, in decreasing order.  moment: the largest mean square of the scores of a query.  deviation (d_v,): at
    least √(mean (v − mean)²).
    """

    axes: Array
    weights: Array
    moment: float
    deviation: Array


def heads(instance: Instance) -> Iterator[Head]:
    """Yield every key head of every batch, with the bounds that passes over its keys, values and queries measure."""
    b, _, n_q, d = instance.query.shape
    h_k, n_k = instance.key.shape[1:3]
    group = instance.group
    left, right = instance.window or (None, None)
    unlimited = n_q + n_k
    assert instance.scale is not None
    for batch in range(b):
        length = n_k if instance.key_lengths is None else int(instance.key_lengths[batch])
        offset = length - n_q if instance.causal == "bottom-right" else 0
        behind, ahead = (unlimited if side is None else min(int(side), unlimited) for side in (left, right))
        band = Band(offset, behind, 0 if instance.causal is not None else ahead, length)
        for number in range(h_k):
            queries = instance.query[batch, number * group : (number + 1) * group]
            key, value = instance.key[batch, number, :length], instance.value[batch, number, :length]
            centre, mean = np.zeros(d), np.zeros(value.shape[1])
            least = largest = mean
            if length:
                with np.errstate(over="ignore", invalid="ignore"):
                    centre = features.extent(key)[0] / length
                    total, least, largest = features.extent(value)
                    mean = total / length
            yield Head(
                batch, number, queries, key, value, instance.scale, band,
                instance.causal is not None or instance.window is not None, centre, mean,
                max(features.largest_norms(q, features.centred(np.zeros(d)))[0] for q in queries),
                features.largest_norms(key, features.centred(centre))[0] if length else 0.0,
                least, largest,
            )  # fmt: skip


def scatter(head: Head) -> Scatter:
    """The second moments of a head, from one pass over keys, values and queries.

    The pass does not use BLAS, because its threads would go on taking cores while they wait for more work.
    """
    n, d = head.key.shape
    total, squares = np.zeros((d, d)), np.zeros(head.value.shape[1])
    keys = features.centred(head.centre)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for first in range(0, n, features.BLOCK):
            last = min(first + features.BLOCK, n)
            total += features.second_moments(head.key, keys, first, last)
            squares += np.square(head.value[first:last].astype(np.float64) - head.mean).sum(axis=0)
        total /= n
        deviation = np.sqrt(squares / n) * (1.0 + (n + 8) * 2.0**-52) + 2.0**-500
    nothing = Scatter(np.eye(d), np.full(d, math.inf), math.inf, deviation)
    if not np.isfinite(total).all():
        return nothing
    weights, axes = (x[..., ::-1] for x in np.linalg.eigh(total))
    weights = np.maximum(weights, 0.0)
    root = features.Coordinates(np.zeros(d), 1.0, np.ascontiguousarray(axes * np.sqrt(weights)))
    largest = abs(head.scale) * max(features.largest_norms(query, root)[0] for query in head.queries)
    moment = largest * largest  # a power would raise OverflowError
    return Scatter(np.ascontiguousarray(axes), weights, moment, deviation) if moment < math.inf else nothing
