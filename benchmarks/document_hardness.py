"""Formulas decided by libraries that look for similar documents (DOC-5), and what their approximate indexes give away.

    python benchmarks/document_hardness.py [--formulas 200]

First: formulas near the threshold become documents by every arrow (DOC-5a, DOC-5b, DOC-5c) and texts; real kernels
answer, scikit-learn and torch among them; their answers are compared with python-sat's.
Second: the recall of approximate indexes, HNSW (hnswlib, faiss) and IVF (faiss): planted instances as documents, of
which the exact search certifies the most similar pair, beside the same index on Gaussian documents.
Exit status 1 if an exact kernel decides a formula wrongly.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics.pairwise import cosine_similarity
from timing import publish

import assay
from assay.impl import cpu
from assay.spec.document_similarity import texts
from assay.spec.instances import families, truth
from assay.spec.reductions import reduction

if TYPE_CHECKING:
    from collections.abc import Callable

_ARROWS = ("DOC-5a", "DOC-5b", "DOC-5c")
_TOP = 1


def extreme(table: Any, instance: Any) -> tuple[int, int, float]:
    """The answer from all similarities."""
    worst = np.inf if instance.least else -np.inf
    table = np.array(table)
    if instance.right is None:
        np.fill_diagonal(table, worst)
    i, j = np.unravel_index(int(table.argmin() if instance.least else table.argmax()), table.shape)
    return int(i), int(j), float(table[i, j])


def by_sklearn(instance: Any) -> Any:
    return extreme(cosine_similarity(instance.left, instance.right), instance)


def by_texts(instance: Any) -> Any:
    """Lines of words, counted by scikit-learn."""
    lines = texts.written(instance)
    counter = CountVectorizer().fit(itertools.chain(*lines))
    sides = [counter.transform(side) for side in lines]
    return extreme(cosine_similarity(sides[0], sides[1] if len(sides) == 2 else None), instance)


def by_torch(dtype: str) -> Callable[[Any], Any]:
    def kernel(instance: Any) -> Any:
        kind = getattr(torch, dtype)
        left, right = (
            torch.nn.functional.normalize(torch.from_numpy(x).to(kind))
            for x in (instance.left, instance.left if instance.right is None else instance.right)
        )
        return extreme((left @ right.T).float().numpy(), instance)

    return kernel


def ours(instance: Any) -> Any:
    return cpu.document_similarity.exact(instance.left, instance.right, least=instance.least)


KERNELS: dict[str, Callable[[Any], Any]] = {
    "assay:cpu": ours,
    "scikit-learn": by_sklearn,
    "scikit-learn, texts": by_texts,
    "torch float32": by_torch("float32"),
    "torch bfloat16": by_torch("bfloat16"),
}


def formulas(count: int) -> list[dict[str, Any]]:
    rows = {
        (via, name): {"arrow": via, "kernel": name, "formulas": 0, "satisfiable": 0, "wrong": 0, "models found": 0}
        for via in _ARROWS
        for name in KERNELS
    }
    for seed in track(range(count), "formulas", console=Console(stderr=True), transient=True):
        formula = families.random_formula(seed, 6 + seed % 7, 3)
        satisfiable = truth.satisfying(formula) is not None
        for via in _ARROWS:
            problem = assay.hard("document_similarity", formula, via=via)
            for name, kernel in KERNELS.items():
                answer = problem.decode(kernel(problem.instance))
                row = rows[via, name]
                row["formulas"] += 1
                row["satisfiable"] += satisfiable
                row["wrong"] += answer.satisfiable != satisfiable
                row["models found"] += answer.model is not None and formula.holds(answer.model)
    return list(rows.values())


# --- approximate indexes ----------------------------------------------------------------------------------------------


def indexes() -> dict[str, Callable[[Any, Any], Any]]:
    """Name → function of (documents, queries), unit vectors in float32: the nearest document of every query."""
    import faiss
    import hnswlib

    def by_hnswlib(ef: int) -> Callable[[Any, Any], Any]:
        def search(documents: Any, queries: Any) -> Any:
            index = hnswlib.Index("ip", documents.shape[1])
            index.init_index(len(documents), ef_construction=200, M=16, random_seed=1)
            index.add_items(documents, num_threads=2)
            index.set_ef(ef)
            return index.knn_query(queries, k=_TOP, num_threads=2)[0][:, 0]

        return search

    def by_faiss(factory: str, **settings: int) -> Callable[[Any, Any], Any]:
        def search(documents: Any, queries: Any) -> Any:
            index = faiss.index_factory(documents.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
            index.train(documents)
            index.add(documents)
            for name, value in settings.items():
                faiss.ParameterSpace().set_index_parameter(index, name, value)
            return index.search(queries, _TOP)[1][:, 0]

        return search

    return {
        "faiss flat": by_faiss("Flat"),
        "hnswlib, ef 64": by_hnswlib(64),
        "hnswlib, ef 512": by_hnswlib(512),
        "faiss HNSW32, ef 64": by_faiss("HNSW32", efSearch=64),
        "faiss IVF64, 4 probes": by_faiss("IVF64,Flat", nprobe=4),
        "faiss IVF64, 32 probes": by_faiss("IVF64,Flat", nprobe=32),
    }


def collections(n: int, seed: int) -> dict[str, tuple[Any, Any]]:
    """Family → (left, right): two hard ones, and Gaussian documents with a pair at cosine 0.9."""
    rng = np.random.default_rng(seed)
    made: dict[str, tuple[Any, Any]] = {}
    for name, d in (("planted OV, d = 40", 40), ("planted OV, d = 64", 64)):
        vectors, _ = families.planted_vectors(seed, n, d)
        instance = reduction("DOC-5b").apply(vectors).target
        made[name] = (instance.left, instance.right)
    left, right = rng.standard_normal((2, n, 120)).astype(np.float32)
    i, j = (int(x) for x in rng.integers(n, size=2))
    right[j] = 0.9 * left[i] + np.sqrt(1 - 0.81) * right[j]
    made["Gaussian, d = 120"] = (left, right)
    return made


def recall(n: int, seeds: int) -> list[dict[str, Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for seed in track(range(seeds), "recall", console=Console(stderr=True), transient=True):
        for family, (left, right) in collections(n, seed).items():
            one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (left, right))
            best = cpu.document_similarity.exact(left, right)
            table = one @ other.T
            nearest = table.max(axis=1)
            for name, search in indexes().items():
                begun = time.perf_counter()
                answer = search(np.ascontiguousarray(other), np.ascontiguousarray(one))
                seconds = time.perf_counter() - begun
                row = rows.setdefault(
                    (family, name),
                    {"family": family, "index": name, "n": n, "instances": 0, "best pair": 0, "recall": 0.0, "s": 0.0},
                )
                reached = np.where(answer >= 0, table[np.arange(n), answer], -1)
                row["instances"] += 1
                row["best pair"] += bool(reached.max() >= best[2] - 1e-5)
                row["recall"] += float((reached >= nearest - 1e-5).mean()) / seeds
                row["s"] += seconds / seeds
    return list(rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formulas", type=int, default=200)
    parser.add_argument("--n", type=int, default=4096)
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    decided = formulas(chosen.formulas)
    publish("document_hardness", decided, "formulas of 6 to 12 variables at the threshold, against python-sat")
    note = "best pair: instances in which some query was given it; recall: queries whose nearest document was given"
    publish("index_recall", recall(chosen.n, chosen.seeds), note)
    sys.exit(any(row["wrong"] for row in decided))


if __name__ == "__main__":
    main()
