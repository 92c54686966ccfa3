"""Searches of libraries that return the nearest documents of every query: of every left document among the right.

Sources: ``sklearn.neighbors.NearestNeighbors`` by brute force, ``faiss.IndexFlatIP`` and ``hnswlib.BFIndex``.  In one
collection the two nearest are asked for, of which a document itself may be one.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.document_similarity.interface import adapted
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["faiss", "hnswlib", "scikit_learn"]


def _kernel(name: str, package: str, function: Callable[..., Any], **conventions: str) -> Kernel:
    return Kernel(
        name,
        adapted(function, "numpy"),
        keywords=keywords_of(function, "document_similarity"),
        conventions=conventions,
        version=importlib.metadata.version(package),
    )


def nearest(indices: NDArray[Any], scores: NDArray[Any], *, alone: bool) -> tuple[int, int, Any]:
    """The best of the neighbours of every query, (queries, k); a query is none of its own neighbours."""
    wanted = scores.astype(np.float64)
    if alone:
        wanted[indices == np.arange(len(indices))[:, None]] = -np.inf
    i, place = np.unravel_index(int(np.argmax(wanted)), wanted.shape)
    return int(i), int(indices[i, place]), scores[i, place]


def scikit_learn(name: str) -> Kernel:
    importlib.import_module("sklearn.neighbors")
    return _kernel(name, "scikit-learn", _scikit_learn, through="distance")


def _scikit_learn(left: Any, right: Any = None) -> Any:
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=1, algorithm="brute", metric="cosine").fit(left if right is None else right)
    distances, indices = index.kneighbors(None if right is None else left)  # None: every document but itself
    i, j, distance = nearest(indices, -distances, alone=False)
    return i, j, 1.0 + distance


def faiss(name: str) -> Kernel:
    importlib.import_module("faiss")
    return _kernel(name, "faiss-cpu", _faiss)


def _faiss(left: Any, right: Any = None, *, measure: str = "cosine") -> Any:
    import faiss

    queries, documents = (np.array(x, np.float32, order="C") for x in (left, left if right is None else right))
    if measure == "cosine":
        for side in (queries, documents):
            faiss.normalize_L2(side)
    index = faiss.IndexFlatIP(documents.shape[1])
    index.add(documents)
    scores, indices = index.search(queries, 1 if right is not None else 2)
    return nearest(indices, scores, alone=right is None)


def hnswlib(name: str) -> Kernel:
    importlib.import_module("hnswlib")
    return _kernel(name, "hnswlib", _hnswlib, through="distance")


def _hnswlib(left: Any, right: Any = None, *, measure: str = "cosine") -> Any:
    import hnswlib

    documents = left if right is None else right
    index = hnswlib.BFIndex(space="cosine" if measure == "cosine" else "ip", dim=documents.shape[1])
    index.init_index(max_elements=len(documents))
    index.add_items(documents, np.arange(len(documents)))
    indices, distances = index.knn_query(left, k=1 if right is not None else 2)
    i, j, distance = nearest(indices.astype(np.int64), -distances, alone=right is None)
    return i, j, np.float32(1.0) + distance
