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


def phase_errors(instance: Instance, output: Array) -> Array:
    """How far the angles of rotated pairs (1, 0) are off, in radians, at most π: (batch, heads, length, pairs)."""
    columns, half = paired(instance)[0], instance.rotated // 2
    exact = define(instance, 1e-12).midpoint
    got, right = (value[..., columns[:half]] + 1j * value[..., columns[half:]] for value in (output, exact))
    return np.asarray(np.abs(np.angle(got * right.conj())))


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
    positions = _angle_probes(precision, 1.0001, 0, (*(power + 1 for power in powers), 3))
    product = _angle_probes(precision, 16 / 9, 1, (171, 1365, 5461, 87381))
    frequencies = _angle_probes(precision, 5.7, 1, (*powers, 2))
    return (
        Stage("tables", "the cosines and sines", table, (), _table_probes(precision)),
        Stage("positions", "the positions", claimed, ("tables",), positions),
        Stage(
            "angles", "the product of position and frequency", claimed, ("positions", "frequencies", "tables"), product
        ),
        Stage("frequencies", "the frequencies", claimed - 4, ("tables",), frequencies),
    )


def _one_pair(
    precision: Precision, layout: str, positions: list[int], base: float = 10000.0, pair: int = 0
) -> Instance:
    """Pair number ``pair`` of two is (1, 0), and the other one 0."""
    numbers = unit_pairs(len(positions), 4, precision.storage, layout)
    numbers[..., (1 - pair) * (1 if layout == "halves" else 2)] = 0
    return Instance(numbers, numbers.copy(), np.array(positions), base, layout, provenance=Provenance("stages"))


def _angle_probes(precision: Precision, base: float, pair: int, positions: tuple[int, ...]) -> tuple[Probe, ...]:
    """One token a probe: the bits of the angle of one pair, as long as its error is no half turn."""

    def bits(instance: Instance, value: Array) -> Array:
        angle = int(instance.positions[0]) * base ** (-pair / 2)
        error = float(phase_errors(instance, value)[0, 0, 0, pair])
        if angle < 4 and error > 1:  # a small angle is no question of precision
            return np.zeros(value.shape)
        tellable = 4 * precision.output < error < 2.0  # beyond what rounding of the output explains
        return np.full(value.shape, math.log2(angle / error) if tellable else math.inf)

    instances = (_one_pair(precision, layout, [p], base, pair) for layout in _LAYOUTS for p in positions)
    return tuple(Probe(instance, functools.partial(bits, instance)) for instance in instances)


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
