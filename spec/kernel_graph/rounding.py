"""How kernels compute squared distances, and the classes of arithmetic of kernel graphs (KTOL-0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from assay.spec.precision import PRECISIONS as MACHINES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.spec.precision import Precision

__all__ = ["FORMS", "PRECISIONS", "Distances"]

#: The distance classes; each allows what those before it allow.
FORMS: tuple[str, ...] = ("given", "difference", "expansion")


@dataclass(frozen=True)
class Distances:
    """How a kernel computes ‖x − y‖².

    form: ``given``: coordinates are subtracted as they are stored.  ``difference``: they may be scaled or centred
    before.  ``expansion``: ‖x‖² − 2⟨x, y⟩ + ‖y‖², also as one product, scaled or centred or not.
    """

    form: str

    @classmethod
    def usual(cls, precision: Precision) -> Self:
        """Differences, of coordinates that may be scaled or centred before."""
        return cls("difference")


def _classes(name: str) -> list[Precision]:
    machine = MACHINES[name]
    given, expansion = (machine.with_(f"{name}-{form}", Distances, form=form) for form in ("given", "expansion"))
    return [given, machine, expansion]


#: The classes.  A plain name: distances from differences, of coordinates that may be scaled or centred before.
#: ``given``: the coordinates are subtracted as they are stored.  ``expansion``: ‖x‖² − 2⟨x, y⟩ + ‖y‖².
PRECISIONS: Mapping[str, Precision] = {
    machine.name: machine
    for name in ("float64", "float32", "tf32", "bfloat16", "float16")
    for machine in _classes(name)
}
