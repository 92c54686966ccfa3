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
from assay.spec.rope.definition import paired
from assay.spec.rope.rounding import Angles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["phase_errors", "stages", "unit_pairs"]

_KEPT = math.inf  # an error of another kind
_PROVENANCE = Provenance("stages")


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
    odd = (*(power + 1 for power in powers), 3)
    return (
        Stage("tables", "the cosines and sines", table, (), _table_probes(precision)),
        Stage("positions", "the positions", claimed, ("tables",), _angle_probes(precision, 1.0001, 0, odd)),
        Stage(
            "angles",
            "the product of position and frequency",
            claimed,
            ("positions", "frequencies", "tables"),
            _angle_probes(precision, 16 / 9, 1, (171, 1365, 5461, 87381)),
        ),
        Stage(
            "frequencies", "the frequencies", claimed - 4, ("tables",), _angle_probes(precision, 5.7, 1, (*powers, 2))
        ),
    )


_LAYOUTS = ("halves", "pairs")  # a kernel that lacks one is asked in the other


def _angle_probes(precision: Precision, base: float, pair: int, positions: tuple[int, ...]) -> tuple[Probe, ...]:
    """One token a probe: the bits of the angle of one pair, as long as its error is no half turn."""

    def probe(position: int, layout: str) -> Probe:
        numbers = unit_pairs(1, 4, precision.storage, layout)
        numbers[..., (1 - pair) * (1 if layout == "halves" else 2)] = 0
        instance = Instance(numbers, numbers.copy(), np.array([position]), base, layout, provenance=_PROVENANCE)
        angle = position * base ** (-pair / 2)

        def bits(value: Array) -> Array:
            error = float(phase_errors(instance, value)[0, 0, 0, pair])
            if angle < 4 and error > 1:  # a small angle is no question of precision
                return np.zeros(value.shape)
            tellable = 4 * precision.output < error < 2.0  # beyond what rounding of the output explains
            return np.full(value.shape, math.log2(angle / error) if tellable else _KEPT)

        return Probe(instance, bits)

    return tuple(probe(position, layout) for layout in _LAYOUTS for position in positions)


def _table_probes(precision: Precision) -> tuple[Probe, ...]:
    """Angles 1 … 7, exact in every type: what is off then is off in cosines, sines or products."""

    def probe(layout: str) -> Probe:
        numbers = unit_pairs(7, 4, precision.storage, layout)
        numbers[..., 1 if layout == "halves" else 2] = 0  # the second pair, whose frequency is another question
        positions = np.arange(1, 8)
        instance = Instance(numbers, numbers.copy(), positions, layout=layout, provenance=_PROVENANCE)
        exact = define(instance, 1e-12).midpoint

        def bits(value: Array) -> Array:
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.asarray(-np.log2(np.abs(value - exact) / np.abs(exact)))

        return Probe(instance, bits)

    return tuple(map(probe, _LAYOUTS))
