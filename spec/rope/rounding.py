"""What a rotary kernel rounds, and the classes that make sense for it (proofs_notes/rope_attention.md, ROT-1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.spec.precision import PRECISIONS as MACHINES
from assay.spec.precision import Precision

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PRECISIONS", "Angles"]

_FLOAT32, _FLOAT64 = 2.0**-24, 2.0**-53


@dataclass(frozen=True)
class Angles:
    """The roundings between a position and a rotated pair.  Errors are relative unless said otherwise."""

    unit: float  # u_φ: of every operation on the way to an angle; 0: angles are exact
    trig: float  # ε_trig: the absolute error of cos and sin of any angle that occurs
    table: float = 0.0  # u_cs: of stored cosines and sines
    table_tiny: float = 0.0  # τ_cs: the absolute part of it
    stored: float = 0.0  # u_s: of the four stored products of a pair
    stored_tiny: float = 0.0  # τ_s: the absolute part of it
    exponent: int = 7  # roundings of an exponent (2l/r)·ln b before the power is taken
    power: int = 11  # roundings of a frequency after that: power or exp, reciprocal, the base itself
    angle: int = 3  # roundings of an angle after that: the product with the position, the reduction by 2π

    @classmethod
    def usual(cls, precision: Precision) -> Angles:
        """Angles in the type of the sums, cosines and sines within two ulps; they and products stored as others are."""
        unit, table = precision.working, (precision.stored, precision.stored_tiny)
        return cls(unit, 2 * unit, *table, *table)


def _class(machine: str, suffix: str, angles: Angles) -> Precision:
    return MACHINES[machine].with_(f"{machine}{suffix}", stages=(angles,))


def _half(name: str) -> tuple[Precision, ...]:
    """The classes of a 16-bit type, whose tables and products, where stored, are rounded as its outputs are."""
    machine = MACHINES[name]
    tables = Angles(_FLOAT32, 2 * _FLOAT32, machine.output, machine.output_tiny)
    return (
        _class(name, "-exact-angles", Angles(_FLOAT64, 4 * _FLOAT32)),
        machine,
        _class(name, "-tables", tables),
        MACHINES[f"{name}-eager"],
    )


#: The classes.  A plain name: angles in float64 for float64 and in float32 otherwise.  ``exact-angles``: angles, and
#: their reduction to [−π, π], in float64, for float64 exactly.  ``tables``: float32 angles, cosines and sines stored in
#: the type.  ``eager``: that, and the products stored in the type too.
PRECISIONS: Mapping[str, Precision] = {
    precision.name: precision
    for precision in (
        _class("float64", "-exact-angles", Angles(0.0, 4 * _FLOAT64)),
        MACHINES["float64"],
        _class("float32", "-exact-angles", Angles(_FLOAT64, 4 * _FLOAT32)),
        MACHINES["float32"],
        *_half("bfloat16"),
        *_half("float16"),
    )
}
