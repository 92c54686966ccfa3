"""The built-in structures: their names, the classes that they document, and what must be installed for them."""

from __future__ import annotations

from assay.conformance.interface.targets import Target, lazily

__all__ = ["TARGETS"]

_TABLE, _INDEX, _CPU, _CUPY = "target_table", "target_index", "target_cpu", "target_cupy"
_TYPES = ("float64", "float32", "bfloat16", "float16")
_DOUBLE, _SINGLE = ("float64", "float32"), ("float32",)


def _library(
    module: str, function: str, name: str, precisions: tuple[str, ...], needed: str = "", extra: str = ""
) -> Target:
    """A structure of a library; ``needed``: the modules that it imports; ``extra``: what installs them."""
    load = lazily(f"{__package__}.{module}", function, name)
    return Target(name, precisions, tuple(needed.split()), extra, load)


def _gpu(name: str, function: str) -> Target:
    """A structure of assay's own for GPUs."""
    load = lazily(f"{__package__}.{_CUPY}", function, name)
    return Target(name, _TYPES, ("cupy",), "gpu", load, cuda=True)


#: name → target.  Where no class is listed, docs/findings.md tells why.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        _library(_CPU, "routed", "assay:cpu", _TYPES),
        _library(_CPU, "tree", "assay:cpu-tree", _TYPES),
        _library(_CPU, "table", "assay:cpu-table", _TYPES),
        _library(_CPU, "recomputed", "assay:cpu-recomputed", _TYPES),
        _gpu("cupy:firing_neurons", "table"),
        _gpu("cupy:firing_neurons-recomputed", "recomputed"),
        _library(_TABLE, "numpy_table", "numpy:table", _DOUBLE),
        _library(_TABLE, "numpy_scan", "numpy:scan", _DOUBLE),
        _library(_TABLE, "heaps", "heapq:stale_entries", _DOUBLE),
        _library(_TABLE, "sorted_lists", "sortedcontainers:lists", _DOUBLE, "sortedcontainers", "indexes"),
        _library(_TABLE, "torch_table", "torch:table", _DOUBLE, "torch", "torch"),
        _library(_INDEX, "faiss_flat", "faiss:range_search", _SINGLE, "faiss", "indexes"),
        _library(_INDEX, "faiss_graph", "faiss:hnsw_range_search", (), "faiss", "indexes"),
        _library(_INDEX, "hnswlib", "hnswlib:index", (), "hnswlib", "hnswlib"),
        _library(_INDEX, "usearch_exact", "usearch:exact", _SINGLE, "usearch", "indexes"),
        _library(_INDEX, "usearch_graph", "usearch:index", (), "usearch", "indexes"),
    )
}
