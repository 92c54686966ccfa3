"""Self-attention networks, and the networks that they collapse to (Alman and Song 2025; Dong et al. 2021)."""

from __future__ import annotations

from assay.spec.layer_collapse.bounds import (
    Diameters,
    columns,
    computed_diameters,
    diameters,
    distances_to_collapse,
    kappa,
)
from assay.spec.layer_collapse.counterparts import counterpart, mixings, one_layer
from assay.spec.layer_collapse.criteria import criteria
from assay.spec.layer_collapse.definition import collapse, define, evaluate
from assay.spec.layer_collapse.instance import Instance, load
from assay.spec.layer_collapse.laws import LAWS
from assay.spec.layer_collapse.symbolic import symbolic
from assay.spec.layer_collapse.tolerance import PRECISIONS, tolerance

__all__ = [
    "LAWS", "NAME", "OUTPUTS", "PRECISIONS", "Diameters", "Instance", "collapse", "columns", "computed_diameters",
    "counterpart", "criteria", "define", "diameters", "distances_to_collapse", "evaluate", "kappa", "load", "mixings",
    "one_layer", "symbolic", "tolerance",
]  # fmt: skip

NAME = "layer_collapse"
OUTPUTS: tuple[str, ...] = ("tokens",)
