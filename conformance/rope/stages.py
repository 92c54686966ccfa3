"""Where a rotary kernel loses precision: probes that are exact in every stage but one, even in a very short type.

Angles are read off the rotated pair (1, 0).  With four columns and the base b the second frequency is b^(−1/2), so that
a probe chooses it; positions are powers of two where only the frequency is to be seen, and the frequency is 3/4 or 1
where it is not.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.diagnosis.precision import Probe, Stage
from assay.spec.floats import dtype_named
from assay.spec.problem import Provenance
from assay.spec.rope import Instance, define
from assay.spec.rotary.rounding import Angles
from assay.spec.rotary.turning import paired

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["phase_errors", "stages", "unit_pairs"]

_LAYOUTS = ("halves", "pairs")  # a kernel that lacks one is asked in the other
_LEAST_BITS = 2.0  # of an angle of about 1
_MOST_UPHELD = 16.0  # bits of which positions of twenty bits still tell
_LENGTH = 0.25  # by which roundings may change the length of (1, 0), or leave of it in the other pair


def phase_errors(instance: Instance, output: Array) -> Array:
    """How far the angles of rotated pairs (1, 0) are off, in radians, at most π: (batch, heads, length, pairs)."""
    columns, half = paired(instance)[0], instance.rotated // 2
    exact = define(instance, 1e-12).midpoint
    got, right = (value[..., columns[:half]] + 1j * value[..., columns[half:]] for value in (output, exact))
    return np.asarray(np.abs(np.angle(got * right.conj())))


def _turned(instance: Instance, output: Array, pair: int) -> bool:
    """Whether what became of pair ``pair`` of two, (1, 0), is a pair of about its length there, and 0 elsewhere.

    An imprecise angle turns it too far or not far enough, and does nothing else to it.
    """
    columns, half = paired(instance)[0], instance.rotated // 2
    first, second = (output[..., columns[part]] for part in (slice(half), slice(half, None)))
    lengths = np.hypot(first, second)
    lengths[..., pair] -= 1
    return bool((np.abs(lengths) <= _LENGTH).all())


def unit_pairs(length: int, dim: int, dtype: str, layout: str = "halves") -> NDArray[np.generic]:
    """(1, 1, length, dim): every pair is (1, 0)."""
    columns = np.arange(dim)
    first = columns < dim // 2 if layout == "halves" else columns % 2 == 0
    return np.broadcast_to(first.astype(dtype_named(dtype)), (1, 1, length, dim)).copy()


@functools.cache
def stages(precision: Precision) -> tuple[Stage, ...]:
    """The stages, with their probes in the storage type of a class.  Same class, same probes."""
    angles = precision.of(Angles)
    claimed = 53.0 if angles.unit == 0 else -math.log2(angles.unit)
    table = -math.log2(max(angles.table, angles.trig))
    powers = tuple(1 << k for k in range(4, 21))
    slow = _slow_probes(precision)
    positions = (*_angle_probes(precision, 1.0001, 0, (*(power + 1 for power in powers), 3)), *slow)
    product = _angle_probes(precision, 16 / 9, 1, (171, 1365, 5461, 87381))
    frequencies = _angle_probes(precision, 5.7, 1, (*powers, 2))
    return (
        Stage("tables", "the cosines and sines", table, (), _table_probes(precision)),
        Stage(
            "positions", "the positions", claimed, ("tables",), positions,
            upheld=functools.partial(_upholding, precision),
        ),
        Stage(
            "angles", "the product of position and frequency", claimed, ("positions", "frequencies", "tables"), product
        ),
        Stage("frequencies", "the frequencies", claimed - 4, ("tables",), (*frequencies, *slow)),
    )  # fmt: skip


def _one_pair(
    precision: Precision, layout: str, positions: list[int], base: float = 10000.0, pair: int = 0
) -> Instance:
    """Pair number ``pair`` of two is (1, 0), and the other one 0."""
    numbers = unit_pairs(len(positions), 4, precision.storage, layout)
    numbers[..., (1 - pair) * (1 if layout == "halves" else 2)] = 0
    return Instance(numbers, numbers.copy(), np.array(positions), base, layout, provenance=Provenance("stages"))


def _angle_probes(precision: Precision, base: float, pair: int, positions: tuple[int, ...]) -> tuple[Probe, ...]:
    """One token a probe: the bits of the angle of one pair, as long as its error is no half turn.

    There are none where the kernel has done something else than turn the pair.
    """

    def bits(instance: Instance, value: Array) -> Array:
        if np.isfinite(value).all() and not _turned(instance, value, pair):
            return np.zeros(value.shape)
        angle = int(instance.positions[0]) * base ** (-pair / 2)
        error = float(phase_errors(instance, value)[0, 0, 0, pair])
        if angle < 4 and error > 1:  # a small angle is no question of precision
            return np.zeros(value.shape)
        tellable = 4 * precision.output < error < 2.0  # beyond what rounding of the output explains
        return np.full(value.shape, math.log2(angle / error) if tellable else math.inf)

    instances = (_one_pair(precision, layout, [p], base, pair) for layout in _LAYOUTS for p in positions)
    return tuple(Probe(instance, functools.partial(bits, instance)) for instance in instances)


def _slow_probes(precision: Precision) -> tuple[Probe, ...]:
    """Far positions and a frequency so low that the angle is about 1: no short type makes a large part of it wrong.

    A kernel that does is wrong about positions, as one is whose table ends, or that turns back from some position on.
    """

    def bits(instance: Instance, value: Array) -> Array:
        if not np.isfinite(value).all():  # the position is none of a short type
            return np.full(value.shape, math.inf)
        error = float(phase_errors(instance, value)[0, 0, 0, 1])
        right = _turned(instance, value, 1) and error <= 2.0**-_LEAST_BITS
        return np.full(value.shape, math.inf if right else 0.0)

    return tuple(
        Probe(instance, functools.partial(bits, instance))
        for layout in _LAYOUTS
        for position, k in ((21845, 14), (21846, 14), (1398101, 20), (1398102, 20))
        for instance in (_one_pair(precision, layout, [position], 4.0**k, 1),)
    )


def _upholding(precision: Precision, bits: float) -> tuple[Probe, ...]:
    """Positions that no type of so few bits has, and angles of which so few bits leave about an eighth unknown.

    In binary they are 101…01, so that roundings of every length are a third of a unit off, at both layouts.
    """
    position = 21845 if bits <= 10 else 1398101
    exponent = position.bit_length() - 1 - (round(bits) - 2)
    if not (exponent >= 1 and bits <= _MOST_UPHELD):
        return ()
    return _angle_probes(precision, 4.0**exponent, 1, (position, position + 2))


def _table_probes(precision: Precision) -> tuple[Probe, ...]:
    """Angles 1 … 7, exact in every type: what is off then is off in cosines, sines or products.

    The frequency of the second pair is another question.
    """

    def bits(instance: Instance, value: Array) -> Array:
        exact = define(instance, 1e-12).midpoint
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(-np.log2(np.abs(value - exact) / np.abs(exact)))

    instances = (_one_pair(precision, layout, list(range(1, 8))) for layout in _LAYOUTS)
    return tuple(Probe(instance, functools.partial(bits, instance)) for instance in instances)
