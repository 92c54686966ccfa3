"""Indexes of libraries for the largest inner products, asked for everything above a threshold while rows change.

Sources: faiss (``IndexFlatIP`` and ``IndexHNSWFlat``), hnswlib and usearch.  One index holds the weights,
by neuron, and another the data, by point.  A graph is given its best chance: as many candidates as there are rows, and
their products computed anew, so that what is wrong is what the search did not find.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from assay.conformance.firing_neurons.target_table import BOTH_THRESHOLDS
from assay.conformance.interface.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["faiss_flat", "faiss_graph", "hnswlib", "usearch_exact", "usearch_graph"]


class Index(Protocol):
    """An index of rows by their ids, 0 to n − 1."""

    def change(self, ids: Array, rows: Array) -> None:
        """Give some ids other rows."""

    def above(self, query: Array, threshold: float) -> Array:
        """The ids whose inner product with a query, (d,), is above a threshold."""


def _structure(index: Callable[[Array], Index]) -> Callable[..., Any]:
    """The structure of two indexes of a library."""

    class Structure:
        def __init__(self, data: Array, weights: Array, *, threshold: float) -> None:
            self.data, self.weights = (np.array(x, np.float32, order="C") for x in (data, weights))
            self.threshold, self.of_weights, self.of_data = threshold, index(self.weights), index(self.data)

        def update(self, neurons: Array, weights: Array) -> None:
            self.weights[neurons] = weights
            self.of_weights.change(np.array(neurons), np.ascontiguousarray(self.weights[neurons]))

        def _asked(self, index: Index, queries: Array, rows: int, threshold: float | None) -> Array:
            answer = np.zeros((len(queries), rows), bool)
            for row, query in zip(answer, queries, strict=True):
                row[index.above(query, self.threshold if threshold is None else threshold)] = True
            return answer

        def fired(self, points: Array, *, threshold: float | None = None) -> Array:
            return self._asked(self.of_weights, self.data[points], len(self.weights), threshold)

        def data_of(self, neurons: Array, *, threshold: float | None = None) -> Array:
            return self._asked(self.of_data, self.weights[neurons], len(self.data), threshold)

    return Structure


def _kernel(name: str, module: str, package: str, index: Callable[[Array], Index]) -> Kernel:
    importlib.import_module(module)
    return Kernel(name, _structure(index), keywords=BOTH_THRESHOLDS, version=importlib.metadata.version(package))


def faiss_flat(name: str) -> Kernel:
    """``IndexIDMap2`` over ``IndexFlatIP``: rows are removed and added under their ids; a range search."""
    return _kernel(name, "faiss", "faiss-cpu", _FaissFlat)


def faiss_graph(name: str) -> Kernel:
    """``IndexHNSWFlat`` with inner products, which removes nothing: an update makes it anew; a range search."""
    return _kernel(name, "faiss", "faiss-cpu", _FaissGraph)


def hnswlib(name: str) -> Kernel:
    """``Index`` of space ``ip``: an item is added again under its label, which replaces it."""
    return _kernel(name, "hnswlib", "hnswlib", _Hnswlib)


def usearch_graph(name: str) -> Kernel:
    """``Index`` of metric ``ip``: a key is removed and added again."""
    return _kernel(name, "usearch.index", "usearch", _Usearch)


def usearch_exact(name: str) -> Kernel:
    """The same, searched exhaustively."""
    return _kernel(name, "usearch.index", "usearch", _UsearchExact)


class _FaissFlat:
    def __init__(self, rows: Array) -> None:
        import faiss

        self.index = faiss.IndexIDMap2(faiss.IndexFlatIP(rows.shape[1]))
        self.index.add_with_ids(rows, np.arange(len(rows)))

    def change(self, ids: Array, rows: Array) -> None:
        self.index.remove_ids(ids)
        self.index.add_with_ids(rows, ids)

    def above(self, query: Array, threshold: float) -> Array:
        found: Array = self.index.range_search(query[None], threshold)[2]
        return found


class _FaissGraph:
    def __init__(self, rows: Array) -> None:
        self.rows = rows.copy()
        self.make()

    def make(self) -> None:
        import faiss

        self.index = faiss.IndexHNSWFlat(self.rows.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = max(200, len(self.rows))
        self.index.hnsw.efSearch = max(200, len(self.rows))
        self.index.add(self.rows)

    def change(self, ids: Array, rows: Array) -> None:
        self.rows[ids] = rows
        self.make()

    def above(self, query: Array, threshold: float) -> Array:
        found: Array = self.index.range_search(query[None], threshold)[2]
        return found


class _Candidates:
    """A graph that finds candidates, whose products are computed anew."""

    def __init__(self, rows: Array) -> None:
        self.rows = rows.copy()

    def candidates(self, query: Array) -> Array:
        raise NotImplementedError

    def above(self, query: Array, threshold: float) -> Array:
        ids = self.candidates(query)
        return ids[self.rows[ids] @ query > threshold]


class _Hnswlib(_Candidates):
    def __init__(self, rows: Array) -> None:
        import hnswlib as library

        super().__init__(rows)
        self.index = library.Index("ip", rows.shape[1])
        self.index.init_index(len(rows), M=32, ef_construction=max(200, len(rows)))
        self.index.set_num_threads(1)
        self.index.set_ef(max(200, 2 * len(rows)))
        self.index.add_items(rows, np.arange(len(rows)))

    def change(self, ids: Array, rows: Array) -> None:
        self.rows[ids] = rows
        self.index.add_items(rows, ids)

    def candidates(self, query: Array) -> Array:
        for k in range(len(self.rows), 0, -1):  # fewer where the graph does not reach all
            try:
                return self.index.knn_query(query[None], k)[0][0].astype(np.int64)  # type: ignore[no-any-return]
            except RuntimeError:
                continue
        return np.zeros(0, np.int64)


class _Usearch(_Candidates):
    exact = False

    def __init__(self, rows: Array) -> None:
        from usearch.index import Index as Library

        super().__init__(rows)
        most = max(200, 2 * len(rows))
        self.index = Library(
            ndim=rows.shape[1], metric="ip", dtype="f32", connectivity=32, expansion_add=most, expansion_search=most
        )
        self.index.add(np.arange(len(rows), dtype=np.uint64), rows)

    def change(self, ids: Array, rows: Array) -> None:
        self.rows[ids] = rows
        self.index.remove(ids.astype(np.uint64))
        self.index.add(ids.astype(np.uint64), rows)

    def candidates(self, query: Array) -> Array:
        found = self.index.search(query, len(self.rows), exact=self.exact).keys
        return np.asarray(found).astype(np.int64)


class _UsearchExact(_Usearch):
    exact = True
