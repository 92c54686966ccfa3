"""Solves of kernel graphs: iterations, proved errors and seconds against SciPy's dense Cholesky and plain gradients.

    python benchmarks/kernel_graph_solve.py [--part dense] [--part large] [--part preconditioners] [--most 100000]
    python benchmarks/kernel_graph_solve.py --part elimination

``dense`` compares the two proved bounds with the true error, from a dense solve; ``large`` with that of a solve that
goes on as far as float64 reaches.  ``elimination`` takes minutes and runs only where asked for.
Each part prints a table and writes ``benchmarks/results/kernel_graph_solve_<part>.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from timing import publish

from assay.impl import cpu
from assay.impl.cpu.kernel_graph import cells, flows
from assay.spec.kernel_graph_solve import orthogonal

graphs = cpu.kernel_graph
Rows = list[dict[str, Any]]


def case(n: int, d: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(n + d)
    return rng.random((n, d)), orthogonal(rng.standard_normal(n))


def widths(d: int) -> list[tuple[str, float, str]]:
    return [
        ("gaussian", 2.0, "σ = 0.5"), ("gaussian", 50.0, "σ = 0.1"), ("gaussian", 200.0, "σ = 0.05"),
        ("gaussian", 1 / (2 * 0.03**2), "σ = 0.03"), ("coulomb", d / 2, "z^(−d/2)"), ("matern", 0.5, "Matérn ½"),
    ]  # fmt: skip


def dense(n: int = 3000) -> Rows:
    """Both bounds, the true error, seconds of ours, of a dense Cholesky and of gradients without preconditioner."""
    rows = []
    for d in (2, 3, 8):
        for function, parameter, words in widths(d):
            x, b = case(n, d)
            try:
                begun = time.perf_counter()
                found = graphs.solve(x, b, function=function, parameter=parameter, tolerance=1e-8)
                seconds = time.perf_counter() - begun
            except ValueError as reason:
                print(d, words, str(reason)[:100])
                continue
            begun = time.perf_counter()
            whole = graphs.graph(x, function, parameter)
            weights = whole.tile(slice(0, n), slice(0, n))
            matrix = np.diag(weights.sum(axis=1)) - weights
            factor = scipy.linalg.cho_factor(matrix + matrix.diagonal().mean() / n)
            true = scipy.linalg.cho_solve(factor, b)
            dense_seconds = time.perf_counter() - begun
            true += scipy.linalg.cho_solve(factor, b - matrix @ true)
            true -= true.mean()
            norm = np.sqrt(true @ matrix @ true)
            off = found.value - found.value.mean() - true
            counts = {}
            degrees = matrix.diagonal()
            for name, inner in (("plain", None), ("jacobi", scipy.sparse.diags_array(1 / degrees))):
                count = [0]

                def stop(
                    y: Any, count: list[int] = count, true: Any = true, matrix: Any = matrix, norm: float = norm
                ) -> None:
                    count[0] += 1
                    e = y - y.mean() - true
                    if np.sqrt(max(e @ matrix @ e, 0.0)) <= 1e-8 * norm:
                        raise StopIteration

                with contextlib.suppress(StopIteration):
                    scipy.sparse.linalg.cg(matrix, b, rtol=1e-15, maxiter=1000, M=inner, callback=stop)
                counts[name] = count[0]
            rows.append(
                {
                    "n": n, "d": d, "function": words, "preconditioner": found.preconditioner,
                    "iterations": found.iterations, "plain": counts["plain"], "jacobi": counts["jacobi"],
                    "least": found.least, "true": float(np.sqrt(off @ matrix @ off) / norm), "error": found.error,
                    "status": found.status, "seconds": seconds, "dense s": dense_seconds,
                }
            )  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def measured(solver: Any, y: Any) -> float:
    """|y|_L, to some digits."""
    y = y - y.mean()
    return float(np.sqrt(max(y @ solver.product(y, 1e-12)[0], 0.0)))


def large(most: int) -> Rows:
    """Solves beyond what is dense; the true error is the distance to a solve that goes on to the end of float64."""
    rows = []
    for d, n in ((2, 100_000), (3, 100_000), (2, 20_000), (3, 20_000)):
        for sigma in (0.05, 0.03, 0.1):
            if n > most:
                continue
            x, b = case(n, d)
            begun = time.perf_counter()
            solver = graphs.solver(x, parameter=1 / (2 * sigma * sigma))
            found = solver.solve(b, 1e-8)
            seconds = time.perf_counter() - begun
            near = solver.solve(b, 1e-14, found.iterations + 20)  # as near as float64 comes; its own bound is shown
            true = measured(solver, found.value - near.value) / measured(solver, near.value)
            rows.append(
                {
                    "n": n, "d": d, "σ": sigma, "preconditioner": found.preconditioner, "iterations": found.iterations,
                    "products": found.products, "least": found.least, "true": true, "error": found.error,
                    "error / true": found.error / true, "reference": near.error, "status": found.status,
                    "seconds": seconds,
                }
            )  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def preconditioners(n: int = 4000) -> Rows:
    """Iterations of every preconditioner, for graphs from wide to local."""
    rows = []
    for sigma in (0.3, 0.1, 0.05, 0.03, 0.015):
        x, b = case(n, 2)
        row: dict[str, Any] = {"n": n, "d": 2, "σ": sigma}
        for name in ("jacobi", "cells", "truncated", "multigrid", "sparsifier", None):
            found = graphs.solve(x, b, parameter=1 / (2 * sigma * sigma), tolerance=1e-8, preconditioner=name)
            row[name or "chosen"] = found.iterations if name else f"{found.preconditioner} {found.iterations}"
        rows.append(row)
        print(row, flush=True)
    return rows


def elimination(n: int = 5000) -> Rows:
    """One solve by elimination at the largest size that it takes, and what it proves (KG-17)."""
    x = case(n, 2)[0]
    rows = []
    for sigma in (0.05,):
        parameter = 1 / (2 * sigma * sigma)
        begun, used = time.perf_counter(), time.process_time()
        found = graphs.eliminate(x, function="gaussian", parameter=parameter, pairs=np.array([[0, 1]]))
        rows.append(
            {
                "n": n, "d": 2, "σ": sigma, "width of R": float((found.upper[0] - found.lower[0]) / found.lower[0]),
                "seconds": time.perf_counter() - begun, "processor seconds": time.process_time() - used,
            }
        )  # fmt: skip
    return rows


def attack(count: int = 10_000) -> Rows:
    """Bounds by flows against the true energy of a dense pseudo-inverse, with doubts that are used up adversely."""
    rng = np.random.default_rng(0)
    functions = [("gaussian", 3.0), ("gaussian", 30.0), ("coulomb", 1.0), ("polynomial", 2.0), ("matern", 1.5)]
    wrong, least, done = 0, np.inf, 0
    while done < count:
        n, d = int(rng.integers(2, 40)), int(rng.integers(1, 6))
        x = rng.random((n, d)) * rng.choice([1.0, 1.0, 1e-3], (n, 1))
        function, parameter = functions[int(rng.integers(len(functions)))]
        graph = graphs.graph(x, function, parameter)
        weights = graph.tile(slice(0, n), slice(0, n))
        matrix = np.diag(weights.sum(axis=1)) - weights
        values, vectors = np.linalg.eigh(matrix)
        if values[1] < 1e-9 * values[-1]:
            continue  # the dense eigenvalues are not accurate enough to compare with
        inverse = vectors[:, 1:] / values[1:] @ vectors[:, 1:].T
        through = flows.flows(graph, cells.divided(graph.points, int(rng.integers(1, n + 1))))
        for power in range(3):
            r = np.linalg.matrix_power(inverse / np.abs(inverse).max(), power) @ rng.standard_normal(n)
            r -= r.mean()
            given = r + rng.choice([0.0, 1e-12, 1e-3, 1.0]) * np.abs(r).max() * rng.standard_normal(n)
            bound, energy = through.bound(given, np.abs(given - r)), np.sqrt(r @ inverse @ r)
            wrong += bound < energy * (1 - 1e-6)
            least = min(least, bound / energy)
            done += 1
    return [{"cases": done, "bounds below the energy": int(wrong), "least bound / energy": float(least)}]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--part", action="append", choices=["dense", "large", "preconditioners", "elimination", "attack"]
    )
    parser.add_argument("--most", type=int, default=100_000)
    given = parser.parse_args()
    for part in given.part or ["dense", "large", "preconditioners", "attack"]:
        rows = {
            "dense": dense, "large": lambda: large(given.most), "preconditioners": preconditioners,
            "elimination": elimination, "attack": attack,
        }[part]()  # fmt: skip
        publish(f"kernel_graph_solve_{part}", rows)
