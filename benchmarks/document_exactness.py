"""Is the pair of the exact search ever not a best one?  Random and adversarial documents, against exact rationals.

    python benchmarks/document_exactness.py [--cases 10000]

Every case draws documents, options, a type and sizes of tiles, and compares the pair with
``assay.spec.document_similarity.best_pairs`` and the similarity with the certified one.  Exit status 1 if one is wrong.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any
from unittest.mock import patch

import ml_dtypes
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from timing import publish

from assay.impl import cpu
from assay.impl.cpu.document_similarity import presence, search
from assay.spec.document_similarity import Instance, best_pairs, define


def normal(rng: np.random.Generator, n: int, d: int) -> Any:
    return rng.standard_normal((n, d))


def presence_of_words(rng: np.random.Generator, n: int, d: int) -> Any:
    return (rng.random((n, d)) < rng.uniform(0.05, 0.95)) * 1.0


def counts(rng: np.random.Generator, n: int, d: int) -> Any:
    return rng.integers(-3, 6, (n, d)) * 1.0


def near(rng: np.random.Generator, n: int, d: int) -> Any:
    """Cosines that differ by less than float64 shows."""
    return 1 + (rng.random((n, d)) < 0.05) * 2.0**-40


def close(rng: np.random.Generator, n: int, d: int) -> Any:
    """Cosines that differ by about a rounding of float32, in both directions."""
    return rng.standard_normal(d) + 3e-8 * rng.standard_normal((n, d))


def parallel(rng: np.random.Generator, n: int, d: int) -> Any:
    """Ties: multiples of a few documents by powers of two."""
    return rng.standard_normal((3, d))[rng.integers(0, 3, n)] * 2.0 ** rng.integers(-3, 3, (n, 1))


def scales(rng: np.random.Generator, n: int, d: int) -> Any:
    """Norms of 60 decades, and numbers of 12 within a document."""
    return rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-15, 15, (n, 1)) * 10.0 ** rng.uniform(-6, 6, d)


DOCUMENTS = {each.__name__: each for each in (normal, presence_of_words, counts, near, close, parallel, scales)}
_TYPES = (np.float64, np.float32, ml_dtypes.bfloat16, np.float16)


def wrong(rng: np.random.Generator, kind: str) -> bool | None:
    """Whether the answer of one case is wrong; ``None`` where the type cannot hold the documents."""
    n, m, d = (int(x) for x in rng.integers(2, 40, 3))
    dtype = _TYPES[int(rng.integers(len(_TYPES)))]
    with np.errstate(over="ignore"):
        left, right = (DOCUMENTS[kind](rng, rows, d).astype(dtype) for rows in (n, m))
    for side in (left, right):
        side[~np.asarray(side != 0).any(axis=1)] = 1
        if not np.isfinite(side.astype(np.float64)).all():
            return None
    alone, least = rng.random() < 0.4, bool(rng.random() < 0.5)
    measure = str(rng.choice(["cosine", "inner_product"]))
    instance = Instance(left, None if alone else right, least, measure)
    tiles = [int(x) for x in rng.integers(2, 30, 3)]
    with (
        patch.multiple(search, _ROWS=tiles[0], _COLUMNS=tiles[1], _OPEN=tiles[2]),
        patch.multiple(presence, _ROWS=tiles[0], _COLUMNS=tiles[1], _LEAST_PAIRS=1),
    ):
        threads = int(rng.integers(1, 4))
        i, j, similarity = cpu.document_similarity.exact(
            left, instance.right, least=least, measure=measure, threads=threads
        )
    value = define(instance)
    off = abs(similarity - float(value.midpoint)) > float(value.radius) + np.spacing(abs(similarity))
    return (i, j) not in best_pairs(instance) or bool(off)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10000)
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # torch is imported, so that the search uses it
    rows = {kind: {"documents": kind, "cases": 0, "wrong": 0} for kind in DOCUMENTS}
    names = list(DOCUMENTS)
    for seed in track(range(chosen.cases), "exactness", console=Console(stderr=True), transient=True):
        kind = names[seed % len(names)]
        answer = wrong(np.random.default_rng(seed), kind)
        rows[kind]["cases"] += answer is not None
        rows[kind]["wrong"] += bool(answer)
    publish("document_exactness", list(rows.values()), "pairs against exact rationals, similarities against balls")
    sys.exit(any(row["wrong"] for row in rows.values()))


if __name__ == "__main__":
    main()
