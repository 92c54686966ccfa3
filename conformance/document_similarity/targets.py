"""The built-in kernels: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from typing import Any

from assay.conformance.document_similarity.interface import adapted
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import Target, keywords_of, lazily

__all__ = ["TARGETS"]


def built_in() -> Kernel:
    """assay's own kernel for the CPU, whose pair is exactly a best one."""
    from assay.impl.cpu import document_similarity

    function = document_similarity.exact
    keywords = keywords_of(function, "document_similarity")
    return Kernel("assay:cpu", adapted(function, "numpy"), keywords=keywords, conventions={"pair": "exact"})


def _library(
    module: str, function: str, name: str, precisions: tuple[str, ...], needed: str,
    findings: dict[str, str] | None = None, extra: str = "documents", **options: Any,
) -> Target:  # fmt: skip
    """A kernel of a library; ``needed``: the modules that it imports; ``extra``: what installs them."""
    load = lazily(f"{__package__}.{module}", function, name, **options)
    return Target(name, precisions, tuple(needed.split()), extra, load, findings or {})


_TABLE, _INDEX = "target_table", "target_index"
_TYPES = ("float64", "float32", "bfloat16", "float16")
_DOUBLE, _SINGLE = ("float64", "float32"), ("float32",)
_SKLEARN = {"small_norms": "norms below ten units of the type are taken for 1"}
_TORCH = {"small_norms": "norms below eps = 1e-8 are raised to it, as the documentation says"}

#: name → target.  Where no class is listed, or fewer than a library has types, docs/findings.md tells why.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "cupy:document_similarity",
            _TYPES,
            ("cupy",),
            "gpu",
            lazily(f"{__package__}.target_cupy", "built_in"),
            cuda=True,
        ),
        Target("assay:cpu", _TYPES, (), "", built_in),
        _library(_TABLE, "scikit_learn", "sklearn:cosine_similarity", _DOUBLE, "sklearn", _SKLEARN),
        _library(_INDEX, "scikit_learn", "sklearn:nearest_neighbors", _DOUBLE, "sklearn", _SKLEARN),
        _library(_TABLE, "scipy", "scipy:cdist", _DOUBLE, "scipy"),
        _library(
            _TABLE, "torch", "torch:cosine_similarity", (*_DOUBLE, "bfloat16-eager", "float16-eager"), "torch", _TORCH
        ),
        _library(_TABLE, "gensim", "gensim:matrix_similarity", _SINGLE, "gensim", sparse=False),
        _library(_TABLE, "gensim", "gensim:sparse_matrix_similarity", _SINGLE, "gensim", sparse=True),
        _library(_INDEX, "faiss", "faiss:flat", _SINGLE, "faiss"),
        _library(_INDEX, "hnswlib", "hnswlib:brute_force", (), "hnswlib", extra="hnswlib"),
    )
}
