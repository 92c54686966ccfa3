"""Sparsifiers of kernel graphs: errors over seeds, at 20,000 points, of peers, and an attack on the certificate.

    python benchmarks/kernel_graph_sparsify.py [--part seeds] [--part large] [--part peers] [--part attack]

Each part prints a table and writes ``benchmarks/results/kernel_graph_sparsify_<part>.json``.  ``large`` takes some
minutes and 3.2 GB; it runs only where asked for.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from timing import publish

from assay.impl import cpu

graphs = cpu.kernel_graph
Rows = list[dict[str, Any]]
CASES = [
    (2, "gaussian", 2.0), (2, "gaussian", 200.0), (3, "coulomb", 0.5), (3, "gaussian", 50.0), (4, "gaussian", 2.0),
    (5, "coulomb", 1.0), (6, "gaussian", 1.0), (7, "coulomb", 1.5), (8, "gaussian", 2.0), (8, "gaussian", 8.0),
]  # fmt: skip


def drawn(n: int, d: int, seed: int) -> Any:
    return np.random.default_rng(seed).random((n, d))


def seeds(count: int, n: int = 500, error: float = 0.5) -> Rows:
    """The error proved for every seed, in every case."""
    rows = []
    for d, function, parameter in CASES:
        errors, ratios, attempts = [], [], []
        for seed in range(count):
            found = graphs.sparsify(drawn(n, d, seed), function=function, parameter=parameter, error=error, seed=seed)
            errors.append(found.error)
            ratios.append(found.error * np.sqrt(2.0 * len(found.edges[0]) / n))
            attempts.append(found.attempts)
        rows.append(
            {
                "n": n, "d": d, "function": function, "parameter": parameter, "asked": error, "seeds": count,
                "within": sum(e <= error for e in errors), "largest": max(errors),
                "median ε√D": float(np.median(ratios)), "largest ε√D": float(max(ratios)), "most drawn": max(attempts),
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def large(n: int = 20_000, error: float = 0.3) -> Rows:
    """One sparsifier at the largest size that is proved by factorisation."""
    rows = []
    for d, function, parameter in ((3, "gaussian", 2.0),):
        begun = time.perf_counter()
        found = graphs.sparsify(drawn(n, d, 0), function=function, parameter=parameter, error=error)
        degree = 2.0 * len(found.edges[0]) / n
        rows.append(
            {
                "n": n, "d": d, "function": function, "parameter": parameter, "error": found.error,
                "mean degree": degree, "ε√D": found.error * np.sqrt(degree), "attempts": found.attempts,
                "seconds": time.perf_counter() - begun, "proof": found.proof,
            }
        )  # fmt: skip
    return rows


def peers(n: int = 1000) -> Rows:
    """Graphs of stag and networkit, with their weights, and ours with as many edges: intervals proved by certify."""
    x = drawn(n, 2, 0)
    whole = graphs.graph(x, "gaussian", 5.0)
    dense = whole.tile(slice(0, n), slice(0, n))
    from scipy.sparse import csr_array

    made: dict[str, Any] = {}
    try:
        import stag.cluster
        import stag.utility

        found = stag.cluster.approximate_similarity_graph(stag.utility.DenseMat(x), 5.0)
        made["stag.cluster.approximate_similarity_graph"] = csr_array(found.adjacency().to_scipy())
    except Exception as reason:  # a peer that is not there or not as its page says
        print(f"stag: {reason!r}"[:200])
    try:
        import networkit as nk

        graph = nk.Graph(n, weighted=True)
        for i in range(n):
            for j in range(i + 1, n):
                graph.addEdge(i, j, dense[i, j])
        graph.indexEdges()
        for name, ratio in (("RandomEdgeSparsifier", 0.05), ("LocalDegreeSparsifier", 0.05)):
            kept = getattr(nk.sparsification, name)().getSparsifiedGraphOfSize(graph, ratio)
            made[f"networkit.{name}"] = csr_array(nk.algebraic.adjacencyMatrix(kept))
    except Exception as reason:
        print(f"networkit: {reason!r}"[:200])
    ours = graphs.sparsify(x, parameter=5.0, error=0.3)
    made["assay"] = ours.graph
    rows = []
    for name, matrix in made.items():
        matrix = csr_array((matrix + matrix.T) / 2)
        matrix.setdiag(0.0)
        matrix.eliminate_zeros()
        scale = dense.sum() / matrix.sum()
        for how, factor in (("as it is", 1.0), ("scaled to the same total", scale)):
            found = graphs.certify(whole, matrix * factor)
            rows.append(
                {
                    "graph": name, "weights": how, "edges": matrix.nnz // 2, "lower": found.lower, "upper": found.upper,
                    "attained": f"{found.attained[0]:.4g} … {found.attained[1]:.4g}",
                }
            )  # fmt: skip
    return rows


def attack(count: int = 10_000) -> Rows:
    """Small graphs with weights of many sizes: how often a proved interval excludes a quotient in rational numbers."""
    from fractions import Fraction

    rng = np.random.default_rng(0)
    wrong = proved = 0
    tightest = np.inf
    for _ in range(count):
        n = int(rng.integers(2, 7))
        span = rng.choice([0.0, 2.0, 8.0, 20.0])
        g, h = (np.triu(np.exp(span * rng.standard_normal((n, n))), 1) for _ in range(2))
        h *= rng.random((n, n)) < 0.7
        if rng.random() < 0.3:
            h = g * (1.0 + 1e-15 * rng.integers(-4, 5, (n, n)))
        found = graphs.certify(g + g.T, h + h.T)
        vectors = [np.arange(n) == k for k in range(n)] + [rng.standard_normal(n) for _ in range(3)]
        proved += found.lower > 0
        for x in vectors:
            steps = [(i, j, (Fraction(float(x[i])) - Fraction(float(x[j]))) ** 2) for i in range(n) for j in range(i)]
            below = sum((Fraction(float(g[j, i])) * s for i, j, s in steps), Fraction(0))
            above = sum((Fraction(float(h[j, i])) * s for i, j, s in steps), Fraction(0))
            if below == 0:
                continue
            wrong += not Fraction(found.lower) * below <= above
            if np.isfinite(found.upper):
                wrong += not above <= Fraction(found.upper) * below
                tightest = min(tightest, float(Fraction(found.upper) * below / above) if above else np.inf)
    return [
        {"graphs": count, "lower bound above 0": proved, "quotients outside": wrong, "least upper / quotient": tightest}
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=["seeds", "large", "peers", "attack"])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--cases", type=int, default=10_000)
    given = parser.parse_args()
    for part in given.part or ["seeds", "peers", "attack"]:
        rows = {
            "seeds": lambda: seeds(given.seeds), "large": large, "peers": peers, "attack": lambda: attack(given.cases),
        }[part]()  # fmt: skip
        publish(f"kernel_graph_sparsify_{part}", rows)
