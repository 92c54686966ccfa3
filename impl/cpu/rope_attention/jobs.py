"""One key head, the query heads that attend to it under the same symbols, and what norms say of their scores."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.impl.cpu.attention.plan import SLACK, U
from assay.impl.cpu.rope_attention.symbols import Symbols
from assay.impl.cpu.rope_attention.turned import OFF
from assay.spec.approximation import Infeasible
from assay.spec.enclosure.float64 import exp_float64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from assay.impl.cpu.rope_attention.turned import Turned
    from assay.spec.rope_attention.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["Job", "jobs", "longest", "operator_norm"]

_LARGEST_RADIUS = 40.0  # e^s varies by e^(2·40), which is all that float64 coefficients can express
_BLOCK = 1 << 16  # offsets
_LEAST_EXPONENT = -745.2  # e^x is 0 in float64 below it
_LARGEST_SIZE = 2.0**1000  # of W and of keys
_SMALLEST_FACTOR = 2.0**-1022  # below it a product with a power of two rounds


@dataclass(frozen=True, eq=False)
class Job:
    """What one key head and some of its query heads bring to the sums; everything is float64.

    query (heads, d, n_q): rounded products of the scale, two powers of two and the query.  key (d, n_k): the key over a
    power of two, at most 1.  columns (d_v + 1, n_k): (v − middle)/grow, at most 1, and a row of ones.
    least, largest, middle, grow, half (d_v,): of the values; half ≥ |v − middle|.
    visible (n_q + n_k − 1,): whether query i sees key j, at i − j + n_k − 1.  seen (n_q,): how many keys a row sees.
    radius: at least Σ_e |q_a||W_e||k_b| of every score.  weight_error: bounds the relative error of symbols.weight.
    shifted: at least the error of a score that comes from the rotation.
    """

    batch: int
    key_head: int
    heads: tuple[int, ...]
    query: Array
    key: Array
    columns: Array
    least: Array
    largest: Array
    middle: Array
    grow: Array
    half: Array
    symbols: Symbols
    visible: NDArray[np.bool_]
    seen: NDArray[np.int64]
    radius: float
    weight_error: float
    shifted: float

    @functools.cached_property
    def ends(self) -> tuple[int, int]:
        """The first offset that is visible, and the last one; (0, −1) where none is."""
        shown = np.flatnonzero(self.visible)
        return (int(shown[0]), int(shown[-1])) if len(shown) else (0, -1)

    def keys(self, first: int, last: int) -> tuple[int, int]:
        """Rows first … last − 1 see no keys but those from the first number to before the second."""
        (low, high), n_k = self.ends, self.key.shape[1]
        return max(first + n_k - 1 - high, 0), min(last - 1 + n_k - low, n_k)

    @property
    def spread(self) -> Array:
        """(d_v,): range(V), rounded up."""
        found: Array = (self.largest - self.least) * SLACK
        return found

    @property
    def magnitude(self) -> Array:
        return np.maximum(np.abs(self.least), np.abs(self.largest))


def jobs(instance: Instance, scores: Turned) -> Iterator[Job]:
    """Yield the jobs of an instance; those that share symbols follow each other and have the same object of them.

    Raises :class:`Infeasible` where scores are too large for any polynomial.
    """
    b, _, n_q, _ = instance.query.shape
    h_k, n_k = instance.key.shape[1:3]
    rows = None if instance.relative_bias is None else instance.relative_bias.astype(np.float64)
    lengths = np.full(b, n_k) if instance.key_lengths is None else instance.key_lengths
    for length in dict.fromkeys(int(each) for each in lengths):
        if length == 0:
            continue
        offset = length - n_q if instance.causal == "bottom-right" else 0
        visible = _visible(instance, offset, n_q, length)
        part = slice(n_k - length, None)  # the offsets that occur
        here, unit, norm = None, 1.0, 1.0
        if scores.relative is not None:
            here = scores.relative[:, part].astype(np.float64, order="C")
            unit = _power(max(float(here.max(initial=0.0)), -float(here.min(initial=0.0))))
            here /= unit
            norm = operator_norm(here, scores)
        for row in range(1 if rows is None else len(rows)):
            weight, error, allowed = _weight(None if rows is None else rows[row, part], visible)
            symbols = Symbols(n_q, length, here, weight)
            count = np.concatenate([[0], np.cumsum(allowed, dtype=np.int64)])
            seen = count[length : length + n_q] - count[:n_q]
            for batch in np.flatnonzero(lengths == length):
                for key_head in range(h_k):
                    members = range(key_head * instance.group, (key_head + 1) * instance.group)
                    if rows is not None and len(rows) > 1:
                        members = range(row, row + 1) if row in members else range(0)
                    if members:
                        yield _job(
                            instance, scores, int(batch), key_head, tuple(members), length, unit, norm, symbols,
                            allowed, seen, error,
                        )  # fmt: skip


def _job(
    instance: Instance, scores: Turned, batch: int, key_head: int, heads: tuple[int, ...], length: int, unit: float,
    norm: float, symbols: Symbols, visible: NDArray[np.bool_], seen: NDArray[np.int64], error: float,
) -> Job:  # fmt: skip
    assert instance.scale is not None
    key = np.ascontiguousarray(scores.key[batch, key_head, :length].T, np.float64)
    largest_key = _power(float(np.abs(key).max(initial=0.0)))
    factor = instance.scale * (unit * largest_key)
    if instance.scale and not abs(factor) >= _SMALLEST_FACTOR:
        raise Infeasible(f"a scale, W and keys whose product is {factor:.3g}: it is no normal number")
    query = np.ascontiguousarray(scores.query[batch, list(heads)].swapaxes(1, 2), np.float64) * factor
    key = key / largest_key  # not in place: it may be the array of the caller
    norms = longest(query.swapaxes(0, 1)) * longest(key) * norm
    radius = min(norms, _by_entries(query, key, symbols, scores)) * SLACK
    if not radius <= _LARGEST_RADIUS:
        raise Infeasible(f"scores of up to {radius:.3g} in size, of which the polynomial method serves 40")
    value = instance.value[batch, key_head, :length].astype(np.float64)
    least, largest = value.min(axis=0), value.max(axis=0)
    middle = least / 2.0 + largest / 2.0
    half = np.maximum(largest - middle, middle - least) * (1.0 + 2.0**-50)
    grow = np.ldexp(1.0, np.clip(np.frexp(half)[1], -1000, 1023))
    columns = np.ones((value.shape[1] + 1, length))
    columns[:-1] = ((value - middle) / grow).T
    shifted = 2.0**-500
    if scores.rotary:
        # a rotated coordinate that is no normal number is off by 2^-1074 beside
        lost = (abs(factor) * longest(key) + longest(query.swapaxes(0, 1)) / largest_key) * math.sqrt(len(key))
        shifted += (OFF["float64"] * U * norms + lost * 2.0**-1072) * SLACK
    return Job(
        batch, key_head, heads, query, key, columns, least, largest, middle, grow, half, symbols, visible, seen,
        radius, error, shifted,
    )  # fmt: skip


def _visible(instance: Instance, offset: int, queries: int, keys: int) -> NDArray[np.bool_]:
    """(queries + keys − 1,): which offsets the causal mask and the window leave."""
    left, right = instance.window or (None, None)
    if instance.causal is not None:
        right = 0
    apart = np.arange(queries + keys - 1) - (keys - 1)  # i − j
    visible = np.ones(len(apart), np.bool_)
    if left is not None:
        visible &= apart <= left - offset
    if right is not None:
        visible &= apart >= -right - offset
    return visible


def _weight(bias: Array | None, visible: NDArray[np.bool_]) -> tuple[Array, float, NDArray[np.bool_]]:
    """e^(bias − its maximum) where it is visible, a bound on its relative error, and where a key is seen at all."""
    if bias is None:
        return visible.astype(np.float64), 0.0, visible
    allowed = visible & (bias != -np.inf)
    if not allowed.any():
        return np.zeros(len(bias)), 0.0, allowed
    shown = bias[allowed]
    weight = np.zeros(len(bias))
    with np.errstate(over="ignore", under="ignore"):
        difference = shown - shown.max()
        weight[allowed] = exp_float64(difference)
    furthest = min(-float(difference.min()), -_LEAST_EXPONENT)
    return weight, (8.0 + 1.01 * furthest) * U, allowed


def _power(size: float) -> float:
    """A power of two that is at least ``size``, and 1 for 0."""
    if not size < _LARGEST_SIZE:
        raise Infeasible(f"numbers of up to {size:.3g} in size, of which the polynomial method serves 2^1000")
    return math.ldexp(1.0, max(math.frexp(size)[1], -1000)) if size else 1.0


def longest(points: Array) -> float:
    """At least the largest 2-norm of points, whose coordinates are along the first axis."""
    with np.errstate(over="ignore"):
        squares = np.square(points).sum(axis=0).max(initial=0.0)
    return math.sqrt(float(squares)) * SLACK + 2.0**-500


def operator_norm(relative: Array, scores: Turned) -> float:
    """At least the 2-norm of |W| of every offset: ‖W‖₂² ≤ ‖W‖₁‖W‖_∞."""
    assert scores.support is not None
    largest = 0.0
    for first in range(0, relative.shape[1], _BLOCK):
        sums = np.zeros((2, scores.query.shape[3], min(_BLOCK, relative.shape[1] - first)))
        for row, (a, b) in zip(relative[:, first : first + _BLOCK], scores.support, strict=True):
            sums[0, a] += np.abs(row)
            sums[1, b] += np.abs(row)
        one, two = np.sqrt(sums.max(axis=1, initial=0.0))  # their product is neither too large nor too small
        largest = max(largest, float((one * two).max(initial=0.0)))
    return largest * SLACK


def _by_entries(query: Array, key: Array, symbols: Symbols, scores: Turned) -> float:
    """At least Σ_e max|q_a|·max|W_e|·max|k_b|."""
    queries, keys = np.abs(query).max(axis=(0, 2), initial=0.0), np.abs(key).max(axis=1, initial=0.0)
    if symbols.relative is None or scores.support is None:
        return float((queries * keys).sum())
    sizes = np.maximum(symbols.relative.max(axis=1, initial=0.0), -symbols.relative.min(axis=1, initial=0.0))
    return float((queries[scores.support[:, 0]] * sizes * keys[scores.support[:, 1]]).sum())
