"""One key head of attention of order k, its query heads, and what norms say of its scores (TEN-10)."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.attention.plan import SLACK
from assay.impl.cpu.features import Coordinates, centred, extent
from assay.spec.approximation import Infeasible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from assay.spec.tensor_attention.instance import HigherOrder

    Array = NDArray[np.float64]

__all__ = ["Head", "Norms", "heads", "norms"]

_ROWS = 1 << 15  # rows whose absolute values are in memory at a time
_VANISHED = 2.0**-300  # pays for powers that underflow
_LARGEST = 500  # of the exponents of all factors: far from overflow


@dataclass(frozen=True, eq=False)
class Norms:
    """Upper bounds over all rows x of a set: of ‖x‖₁, ‖x‖₂, ‖x‖_k and ‖x‖_∞, and of |x_c| for every column (d,)."""

    one: float
    two: float
    power: float
    largest: float
    columns: Array


@dataclass(frozen=True, eq=False)
class Head:
    """One key head of one batch and the query heads that attend to it.

    radius ≥ Σ_c |z_ic||x¹_{j_1 c}| ⋯ |x^{k−1}_{j_{k−1} c}| for the coordinates z of queries and x of keys, whose
    products stand for the scores; query_norm ≥ ‖z_i‖₂.  least, largest (d_v,): bounds of the products of values.
    ``radius``, ``query_norm``, ``least``, ``largest`` and ``deviation`` are proved, with every rounding outwards.
    """

    batch: int
    number: int  # the number of the key head in its batch
    queries: NDArray[Any]  # (group, n_q, d)
    keys: tuple[NDArray[Any], ...]  # (n_m, d) for every mode
    values: tuple[NDArray[Any], ...]  # (n_m, d_v)
    frames: tuple[Coordinates, ...]  # of every mode: keys over a power of two
    frame: Coordinates  # of queries: times the scale and all these powers
    radius: float
    query_norm: float
    grows: tuple[Array, ...]  # (d_v,) for every mode: powers of two, at least the largest value of each column
    mean: Array  # (d_v,): zeros, about which ``deviation`` is
    least: Array
    largest: Array
    deviation: Array  # (d_v,): at least the root of the mean square of the products of values

    @property
    def dtype(self) -> str:
        return str(self.queries.dtype.name)

    @functools.cached_property
    def combinations(self) -> int:
        return math.prod(len(key) for key in self.keys)

    @functools.cached_property
    def points(self) -> int:
        """The number of keys of all modes and of queries."""
        return sum(len(key) for key in self.keys) + int(self.queries.shape[0] * self.queries.shape[1])

    @functools.cached_property
    def grow(self) -> Array:
        """(d_v,): the product of ``grows``, at least the largest product of values."""
        return functools.reduce(np.multiply, self.grows)

    @functools.cached_property
    def magnitude(self) -> Array:
        return np.maximum(np.abs(self.least), np.abs(self.largest))

    @property
    def half(self) -> Array:
        """(d_v,): at least |v − middle| for the middle 0."""
        return self.magnitude

    @functools.cached_property
    def spread(self) -> Array:
        return (self.largest - self.least) * (1.0 + 2.0**-50)


def heads(instance: HigherOrder) -> Iterator[Head]:
    """Yield every key head of every batch.  Raises :class:`Infeasible` where numbers are too large or small."""
    group, order = instance.group, instance.order
    assert instance.scale is not None
    for batch in range(instance.query.shape[0]):
        for number in range(instance.mode_keys[0].shape[1]):
            queries = instance.query[batch, number * group : (number + 1) * group]
            keys = tuple(key[batch, number] for key in instance.mode_keys)
            values = tuple(value[batch, number] for value in instance.mode_values)
            yield _head(batch, number, queries, keys, values, instance.scale, order)


def _head(
    batch: int, number: int, queries: NDArray[Any], keys: tuple[NDArray[Any], ...], values: tuple[NDArray[Any], ...],
    scale: float, order: int,
) -> Head:  # fmt: skip
    powers = [_exponent(key) for key in keys]
    rows = queries.reshape(-1, queries.shape[2])
    if sum(map(abs, powers)) + abs(_exponent(rows)) + abs(math.frexp(scale)[1]) > _LARGEST:
        raise Infeasible("numbers too large or too small for products of powers in float64")
    frames = tuple(centred(np.zeros(key.shape[1]), 2.0**-power) for key, power in zip(keys, powers, strict=True))
    factor = math.ldexp(scale, sum(powers))
    of_keys = [norms(key, 2.0**-power, order) for key, power in zip(keys, powers, strict=True)]
    radius, query_norm = _radius(rows, factor, of_keys, order)
    extents = [extent(value)[1:] for value in values]
    grows = tuple(np.ldexp(1.0, np.maximum(np.frexp(np.maximum(-low, high))[1], -900)) for low, high in extents)
    if sum(float(np.abs(np.log2(x)).max(initial=0)) for x in grows) > 900:
        raise Infeasible("values too large or too small for their products in float64")
    least, largest, deviation = _values(values, extents, grows)
    return Head(
        batch, number, queries, keys, values, frames, centred(np.zeros(rows.shape[1]), factor), radius, query_norm,
        grows, np.zeros(values[0].shape[1]), least, largest, deviation,
    )  # fmt: skip


def _exponent(x: NDArray[Any]) -> int:
    """e with |x| ≤ 2^e for every number x, or 0 where all are 0."""
    largest = max(float(x.max(initial=0.0)), -float(x.min(initial=0.0)))
    return math.frexp(largest)[1]


def norms(rows: NDArray[Any], factor: float, order: int) -> Norms:
    """Upper bounds of the norms of factor·x over all rows x (n, d)."""
    one = two = power = largest = 0.0
    columns = np.zeros(rows.shape[1])
    for first in range(0, len(rows), _ROWS):
        x = np.abs(rows[first : first + _ROWS].astype(np.float64) * factor)
        one, two = max(one, float(_sums(x).max())), max(two, float(_sums(x * x).max()))
        power = max(power, float(_sums(_power(x, order)).max()))
        columns = np.maximum(columns, x.max(axis=0))
    largest = float(columns.max(initial=0.0))
    return Norms(
        one * SLACK, math.sqrt(two) * SLACK + _VANISHED, power ** (1.0 / order) * SLACK + _VANISHED, largest, columns
    )


def _power(x: Array, order: int) -> Array:
    """(x + 2^-80)^order for x ≥ 0, which does not underflow; a general power would take a hundred times as long."""
    with np.errstate(over="ignore"):
        return functools.reduce(np.multiply, [x + 2.0**-80] * order)


def _sums(x: Array) -> Array:
    """The sum of every row, several times as fast as ``x.sum(axis=1)`` where rows are short."""
    total: Array = np.einsum("ij->i", x)
    return total


def _radius(rows: NDArray[Any], factor: float, of_keys: list[Norms], order: int) -> tuple[float, float]:
    """The radius and the norm of the queries: the least of several bounds of Hölder for each row, the largest row."""
    largest = math.prod(x.largest for x in of_keys)
    by_column = functools.reduce(np.multiply, (x.columns for x in of_keys))

    def but(*modes: int) -> float:
        """The product of the largest numbers of all other modes."""
        return math.prod(x.largest for m, x in enumerate(of_keys) if m not in modes)

    every = range(len(of_keys))
    power = math.prod(x.power for x in of_keys)
    two = min(of_keys[m].two * but(m) for m in every)
    pairs = min((of_keys[m].two * of_keys[n].two * but(m, n) for m in every for n in range(m)), default=math.inf)
    most = min(pairs, min(of_keys[m].one * but(m) for m in every))
    radius = query_norm = 0.0
    for first in range(0, len(rows), _ROWS):
        z = np.abs(rows[first : first + _ROWS].astype(np.float64) * factor)
        root = np.sqrt(_sums(z * z))
        bounds = [
            z @ by_column,
            _sums(z) * largest,
            root * two,
            _sums(_power(z, order)) ** (1.0 / order) * power,
            z.max(axis=1) * most,
        ]
        radius = max(radius, float(np.minimum.reduce(bounds).max(initial=0.0)))
        query_norm = max(query_norm, float(root.max(initial=0.0)))
    return radius * SLACK * SLACK + _VANISHED, query_norm * SLACK + _VANISHED


def _values(
    values: tuple[NDArray[Any], ...], extents: list[tuple[Array, Array]], grows: tuple[Array, ...]
) -> tuple[Array, Array, Array]:
    """Bounds of the products of values from below and above, and of the root of their mean square.

    extents: the least and the largest value of each column.  grows: powers of two, at least the largest size in each
    column, in units of which squares are formed.
    """
    width = values[0].shape[1]
    least, largest, square = np.ones(width), np.ones(width), np.ones(width)
    for value, (low, high), grow in zip(values, extents, grows, strict=True):
        corners = np.array([least * low, least * high, largest * low, largest * high])
        least, largest = corners.min(axis=0), corners.max(axis=0)
        least, largest = (
            least - np.abs(least) * 2.0**-52 - 2.0**-1070,
            largest + np.abs(largest) * 2.0**-52 + 2.0**-1070,
        )
        total = np.zeros(width)
        for first in range(0, len(value), _ROWS):
            some = value[first : first + _ROWS].astype(np.float64) / grow
            total += np.einsum("ij,ij->j", some, some)
        square *= total / len(value) * (1.0 + len(value) * 2.0**-52) * SLACK
    deviation = (np.sqrt(square) * SLACK + _VANISHED) * functools.reduce(np.multiply, grows)
    return least, largest, deviation
