"""What attention kernels that take another order of axes compute of arrays (batch, heads, length, dim)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.conformance.diagnosis.meanings import Meaning
from assay.spec.enclosure import Enclosure
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from assay.spec.attention import Instance
    from assay.spec.criterion import Criterion

    Criteria = Mapping[str, Criterion]

__all__ = ["LENGTHS_FOR_HEADS"]


def _criteria(instance: Instance, right: Callable[[Instance], Criteria | None]) -> Criteria | None:
    """Heads are attended to, for every token by itself; the outputs lie as they would in the right order."""
    if instance.query.shape[2] % instance.key.shape[2]:
        return None  # no groups of heads
    arrays = {name: getattr(instance, name).swapaxes(1, 2) for name in ("query", "key", "value")}
    try:
        other = instance.replace(**arrays)
    except InvalidInstance:  # a mask of another shape
        return None
    found = right(other)
    return None if found is None else {name: _back(criterion) for name, criterion in found.items()}


def _back(criterion: Criterion) -> Criterion:
    value = criterion.value
    if value is None:  # a certificate, which is held to the outputs beside it
        return criterion
    midpoint, radius = value.midpoint.swapaxes(1, 2), value.radius.swapaxes(1, 2)
    return criterion.about(Enclosure(midpoint, radius), criterion.allowed.swapaxes(1, 2))


#: A kernel of (batch, length, heads, dim) that is called with (batch, heads, length, dim).
LENGTHS_FOR_HEADS = Meaning(
    "lengths-for-heads",
    "arrays are taken as (batch, length, heads, dim): heads attend to heads, where tokens should to tokens",
    _criteria,
)
