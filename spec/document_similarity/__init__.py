"""The most and the least similar pair of documents (Alman and Yu 2024; Salton, Wong and Yang 1975)."""

from __future__ import annotations

from assay.spec.document_similarity.criteria import CONVENTIONS, criteria, decision
from assay.spec.document_similarity.definition import define, similarities, symbolic
from assay.spec.document_similarity.instance import Instance, load
from assay.spec.document_similarity.laws import LAWS
from assay.spec.document_similarity.tolerance import PRECISIONS, errors, tolerance
from assay.spec.document_similarity.truth import best_pairs

__all__ = [
    "CONVENTIONS", "LAWS", "NAME", "OUTPUTS", "PRECISIONS", "Instance", "best_pairs", "criteria", "decision", "define",
    "errors", "load", "similarities", "symbolic", "tolerance",
]  # fmt: skip

NAME = "document_similarity"
OUTPUTS: tuple[str, ...] = ("similarity", "i", "j")
