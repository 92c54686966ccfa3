"""The classes that make sense for attention with relative positions (proofs_notes/rope_attention.md, ROT-9).

A class says what a kernel rounds between positions and rotated vectors (:class:`assay.spec.rotary.rounding.Angles`),
and what after them (:class:`assay.spec.softmax.rounding.Softmax`).  In the general form the first part is not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.spec.precision import PRECISIONS as MACHINES
from assay.spec.precision import Precision
from assay.spec.rotary.rounding import PRECISIONS as ROTATIONS
from assay.spec.rotary.rounding import Angles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["PRECISIONS"]


def _classes(storage: str) -> Iterator[Precision]:
    """The classes of one type, tight ones first."""
    for name, rotation in ROTATIONS.items():
        if rotation.storage == storage and not name.endswith("-eager"):
            yield rotation
    if storage == "float32":
        yield MACHINES["tf32"]
    machine = MACHINES[storage]
    if machine.output:
        rounded = {"table": machine.output, "table_tiny": machine.output_tiny}
        stored = {"stored": machine.output, "stored_tiny": machine.output_tiny}
        yield machine.with_(f"{storage}-composed", Angles, **rounded, **stored)
        yield MACHINES[f"{storage}-eager"]


#: The classes.  A plain name: angles in float64 for float64 and in float32 otherwise, rotated vectors stored in the
#: type, attention fused.  ``exact-angles`` and ``tables``: the rotation of these classes of rope, and the same fused
#: attention.  ``composed``: a rotation that stores tables, products and results in the type, before a fused attention.
#: ``eager``: every operation of rotation and attention stores its result in the type.
PRECISIONS: Mapping[str, Precision] = {
    precision.name: precision
    for storage in ("float64", "float32", "bfloat16", "float16")
    for precision in _classes(storage)
}
