"""Reductions between problems: a graph whose arrows carry instances forward and answers back.

A formula becomes sets of vectors, which become an attention instance, and the output of any kernel that is accurate
enough becomes a model of the formula: ``path("satisfiability", "attention").apply(formula).decode(output)``.
Claims and proofs: proofs_notes/reductions.md.
"""

from __future__ import annotations

from assay.spec.reductions.graph import REDUCTIONS, dot, draw, path, paths, problems, reduction
from assay.spec.reductions.problems import (
    ClosestPair,
    Extremum,
    FurthestPair,
    GapMaxInnerProduct,
    KOrthogonalVectors,
    MaxInnerProduct,
    MonochromaticOrthogonalVectors,
    Satisfiability,
    Solutions,
    orthogonal_pairs,
    satisfiability,
)
from assay.spec.reductions.reduction import Composite, Reduced, Reduction
from assay.spec.reductions.sufficiency import largest_tolerances, sufficient_classes
from assay.spec.reductions.to_attention_gradient import Integral
from assay.spec.reductions.to_tensor_attention import GapKMaxInnerProduct

__all__ = [
    "REDUCTIONS",
    "ClosestPair",
    "Composite",
    "Extremum",
    "FurthestPair",
    "GapKMaxInnerProduct",
    "GapMaxInnerProduct",
    "Integral",
    "KOrthogonalVectors",
    "MaxInnerProduct",
    "MonochromaticOrthogonalVectors",
    "Reduced",
    "Reduction",
    "Satisfiability",
    "Solutions",
    "dot",
    "draw",
    "largest_tolerances",
    "orthogonal_pairs",
    "path",
    "paths",
    "problems",
    "reduction",
    "satisfiability",
    "sufficient_classes",
]
