"""Which neurons fire on which data, while weights change (Alman, Liang, Song, Zhang and Zhuo 2024)."""

from __future__ import annotations

from assay.spec.firing_neurons.criteria import criteria
from assay.spec.firing_neurons.definition import define, margins, queries, symbolic
from assay.spec.firing_neurons.instance import DATA_OF, FIRED, UPDATE, Call, Instance, data_of, fired, load, update
from assay.spec.firing_neurons.laws import LAWS
from assay.spec.firing_neurons.play import played
from assay.spec.firing_neurons.rounding import PRECISIONS, Correlations, incremental
from assay.spec.firing_neurons.tolerance import errors, tolerance

__all__ = [
    "DATA_OF", "FIRED", "LAWS", "NAME", "OUTPUTS", "PRECISIONS", "UPDATE", "Call", "Correlations", "Instance",
    "criteria", "data_of", "define", "errors", "fired", "incremental", "load", "margins", "played", "queries",
    "symbolic", "tolerance", "update",
]  # fmt: skip

NAME = "firing_neurons"
OUTPUTS: tuple[str, ...] = ("fired", "data_of")
