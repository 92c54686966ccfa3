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

    def above(self, queries: Array, threshold: float) -> tuple[Array, Array]:
        """The pairs (query, id) whose inner product is above a threshold; queries (k, d)."""


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
            answer[index.above(queries, self.threshold if threshold is None else threshold)] = True
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

        self.index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(rows.shape[1]))
        self.index.add_with_ids(rows, np.arange(len(rows)))

    def change(self, ids: Array, rows: Array) -> None:
        self.index.remove_ids(ids)
        self.index.add_with_ids(rows, ids)

    def above(self, queries: Array, threshold: float) -> tuple[Array, Array]:
        return _in_range(self.index, queries, threshold)


def _in_range(index: Any, queries: Array, threshold: float) -> tuple[Array, Array]:
    """The pairs that a range search of faiss finds."""
    ends, _, ids = index.range_search(queries, threshold)
    return np.repeat(np.arange(len(queries)), np.diff(ends.astype(np.int64))), ids


class _FaissGraph:
    def __init__(self, rows: Array) -> None:
        self.rows = rows.copy()
        self.make()

    def make(self) -> None:
        import faiss

        self.index: Any = faiss.IndexHNSWFlat(self.rows.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = max(200, len(self.rows))
        self.index.hnsw.efSearch = max(200, len(self.rows))
        self.index.add(self.rows)

    def change(self, ids: Array, rows: Array) -> None:
        self.rows[ids] = rows
        self.make()

    def above(self, queries: Array, threshold: float) -> tuple[Array, Array]:
        return _in_range(self.index, queries, threshold)


class _Candidates:
    """A graph that finds candidates, whose products are computed anew."""

    def __init__(self, rows: Array) -> None:
        self.rows = rows.copy()

    def candidates(self, queries: Array) -> Array:
        """The ids of the candidates of every query, (k, number)."""
        raise NotImplementedError

    def above(self, queries: Array, threshold: float) -> tuple[Array, Array]:
        ids = self.candidates(queries)
        at, place = np.nonzero((self.rows[ids] * queries[:, None]).sum(axis=2) > threshold)
        return at, ids[at, place]


class _Hnswlib(_Candidates):
    def __init__(self, rows: Array) -> None:
        import hnswlib as library

        super().__init__(rows)
        self.index: Any = library.Index("ip", rows.shape[1])
        self.index.init_index(len(rows), M=32, ef_construction=max(200, len(rows)))
        self.index.set_num_threads(1)
        self.index.set_ef(max(200, 2 * len(rows)))
        self.index.add_items(rows, np.arange(len(rows)))

    def change(self, ids: Array, rows: Array) -> None:
        self.rows[ids] = rows
        self.index.add_items(rows, ids)

    def candidates(self, queries: Array) -> Array:
        for k in range(len(self.rows), 0, -1):  # fewer where the graph does not reach all
            try:
                return np.asarray(self.index.knn_query(queries, k)[0]).astype(np.int64)
            except RuntimeError:
                continue
        return np.zeros((len(queries), 0), np.int64)


class _Usearch(_Candidates):
    exact = False

    def __init__(self, rows: Array) -> None:
        from usearch.index import Index as Library

        super().__init__(rows)
        most = max(200, 2 * len(rows))
        self.index: Any = Library(
            ndim=rows.shape[1], metric="ip", dtype="f32", connectivity=32, expansion_add=most, expansion_search=most
        )
        self.index.add(np.arange(len(rows), dtype=np.uint64), rows, threads=1)

    def change(self, ids: Array, rows: Array) -> None:
        self.rows[ids] = rows
        self.index.remove(ids.astype(np.uint64))
        self.index.add(ids.astype(np.uint64), rows, threads=1)

    def candidates(self, queries: Array) -> Array:
        """Where fewer are found than there are, the first one stands in for the others."""
        found = self.index.search(queries, len(self.rows), exact=self.exact, threads=1)
        if len(queries) == 1:
            return np.asarray(found.keys).astype(np.int64).reshape(1, -1)
        keys, counts = np.asarray(found.keys).astype(np.int64), np.asarray(found.counts)
        return np.where(np.arange(keys.shape[1]) < counts[:, None], keys, keys[:, :1])


class _UsearchExact(_Usearch):
    exact = True
