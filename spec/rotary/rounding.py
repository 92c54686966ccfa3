"""What a rotary kernel rounds, and the classes that make sense for it (proofs_notes/rope_attention.md, ROT-1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.spec.precision import PRECISIONS as MACHINES
from assay.spec.precision import Precision

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["PRECISIONS", "Angles"]


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
    angle: int = 5  # roundings of an angle after that: the product with the position, the reduction by 2π

    @classmethod
    def usual(cls, precision: Precision) -> Angles:
        """Angles in the type of the sums, cosines and sines within four ulps; these and products stored as others."""
        unit, table = precision.working, (precision.stored, precision.stored_tiny)
        return cls(unit, 4 * unit, *table, *table)


def _classes(storage: str) -> Iterator[Precision]:
    """The classes of one type, tight ones first."""
    machine = MACHINES[storage]
    exact = 0.0 if storage == "float64" else MACHINES["float64"].working
    yield machine.with_(f"{storage}-exact-angles", Angles, unit=exact, trig=8 * machine.working)
    yield machine
    if machine.output:
        yield machine.with_(f"{storage}-tables", Angles, table=machine.output, table_tiny=machine.output_tiny)
        yield MACHINES[f"{storage}-eager"]


#: The classes.  A plain name: angles in float64 for float64 and in float32 otherwise.  ``exact-angles``: angles, and
#: their reduction to one turn, in float64, for float64 exactly.  ``tables``: float32 angles, cosines and sines stored
#: in the type.  ``eager``: that, and the products stored in the type too.
PRECISIONS: Mapping[str, Precision] = {
    precision.name: precision
    for storage in ("float64", "float32", "bfloat16", "float16")
    for precision in _classes(storage)
}
