"""Attention by a smaller transformer for the judge: :data:`SUITE`."""

from __future__ import annotations

from assay.conformance.interface.suite import Suite
from assay.conformance.small_transformers.families import TABLE, TYPICAL, build
from assay.conformance.small_transformers.interface import INTERFACE, criteria
from assay.conformance.small_transformers.meanings import MEANINGS
from assay.spec import small_transformers

__all__ = ["SUITE"]

SUITE = Suite(
    problem="small_transformers",
    spec=small_transformers,
    interface=INTERFACE,
    criteria=criteria,
    table=TABLE,
    build=build,
    meanings=MEANINGS,
    typical=TYPICAL,
)
