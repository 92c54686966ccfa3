"""Provably hard instances: what the exact routes cost as n grows, and what a cheaper one gives away.

    python benchmarks/hardness.py [--most 8192]

Gap instances (OV-4: entries Θ(√log n), an error below 0.15 decides) at d = 8·log₂ n.  For every n: seconds of the
exact kernels, side by side; the rank that a polynomial needs for that error, from its proved least degree on the range
of the scores; whether ``approximate``, which has norms alone, certifies that; and the error of a kernel that may spend
no more than n features, the best polynomial of the degree that leaves, with what its output decodes to.  Below the
table the exponents of n in seconds, least squares on logarithms.

Then the exact side: a formula of 30 variables and 130 clauses to its vectors (OV-1), and every pair of these tried.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
import torch
from timing import interleaved, publish

import assay
from assay.impl.cpu import attention
from assay.impl.cpu.features import rank
from assay.spec.approximation import Infeasible, approximation, of_least_degree
from assay.spec.attention.perturbation import weight_error
from assay.spec.instances import families
from assay.spec.instances.truth import model_count, orthogonal_pairs
from assay.spec.reductions import reduction

_C = 8  # d large enough that random inner products stay below half of the planted one
_ROUNDS = 5
OV_1 = reduction("OV-1")


def exponential(x: Any) -> Any:
    return x.exp()


def affordable(d: int, features: int) -> int:
    """The largest degree whose monomials are at most ``features``."""
    degree = 0
    while rank(d, degree + 1) <= features:
        degree += 1
    return degree


def needed(d: int, interval: tuple[float, float], error: float) -> tuple[str, str]:
    """Degree and rank of the least polynomial whose output errs by at most ``error``·range(V) (ATT-2)."""
    try:
        degree = of_least_degree(exponential, interval, weight_error(error)).degree
    except Infeasible as reason:
        return "–", str(reason)
    return str(degree), f"2^{math.log2(rank(d, degree)):.1f}"


def row(n: int, seed: int) -> dict[str, Any]:
    d = _C * math.ceil(math.log2(n))
    problem = assay.hard("attention", "gap", n=n, d=d, seed=seed)
    q, k, v = (getattr(problem.instance, name).astype(np.float32) for name in ("query", "key", "value"))
    scale = problem.instance.scale
    tq, tk, tv = map(torch.from_numpy, (q, k, v))
    outputs: dict[str, Any] = {}

    def ours() -> None:
        outputs["assay"] = attention.exact(q, k, v, scale, threads=2)

    def theirs() -> None:
        outputs["torch"] = torch.nn.functional.scaled_dot_product_attention(tq, tk, tv, scale=scale).numpy()

    seconds = interleaved({"assay": ours, "torch": theirs}, _ROUNDS)
    try:
        attention.approximate(q, k, v, float(problem.accuracy), scale, fallback="raise")
        certified = "yes"
    except Infeasible as reason:
        certified = "refused"
        print(f"n = {n}: {reason}")
    scores = scale * (q[0, 0].astype(np.float64) @ k[0, 0].astype(np.float64).T)
    interval = (float(scores.min()), float(scores.max()))
    columns = q.shape[3]
    degree, least = needed(columns, interval, float(problem.accuracy))
    spent = affordable(columns, n)
    cheap = approximation(exponential, interval, spent)
    weight = np.polynomial.polynomial.polyval(scores, cheap.coefficients)
    with np.errstate(all="ignore"):
        answer = np.nan_to_num(weight @ v[0, 0].astype(np.float64) / weight.sum(1, keepdims=True)).clip(0.0, 1.0)
    worst = float(np.abs(answer - outputs["assay"][0, 0]).max())
    return {
        "n": n,
        "d": columns,
        "B/√ln n": problem.entry_bound_over_root_log,
        "scores": f"{interval[0]:.1f} … {interval[1]:.1f}",
        "assay s": seconds["assay"]["median"],
        "torch s": seconds["torch"]["median"],
        "exact decodes": all(problem.right(problem.decode(output)) for output in outputs.values()),
        "degree needed": degree,
        "rank needed": least,
        "certified": certified,
        "degree within n": spent,
        "its error": worst,
        "needs below": float(problem.accuracy),
        "decodes": problem.right(problem.decode(answer[None, None])),
    }


def exact_side(seed: int) -> list[dict[str, Any]]:
    formula = families.random_formula(seed, 30, 3, 4333)
    vectors = OV_1.apply(formula).target
    counts = []

    def tried() -> None:
        counts.append(orthogonal_pairs(vectors)[0])

    contenders = {
        f"{formula.variables} variables, {len(formula.clauses)} clauses to vectors": lambda: OV_1.apply(formula),
        f"every pair of {vectors.n} x {vectors.m}, d = {vectors.d}": tried,
        "models counted by splitting": lambda: counts.append(model_count(formula)),
    }
    seconds = interleaved(contenders, _ROUNDS)
    assert len(set(counts)) == 1, counts
    return [{"what": name, "median s": times["median"], "solutions": counts[0]} for name, times in seconds.items()]


def exponent(rows: list[dict[str, Any]], column: str) -> float:
    return float(np.polyfit(np.log([row["n"] for row in rows]), np.log([row[column] for row in rows]), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=8192, help="the largest n, a power of two from 512 on")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    lengths = [1 << j for j in range(8, chosen.most.bit_length())]
    rows = [row(n, chosen.seed) for n in lengths]
    later = rows[len(rows) // 2 :]  # where a call costs nothing beside its work
    found = ", ".join(f"{name} n^{exponent(later, f'{name} s'):.2f}" for name in ("assay", "torch"))
    publish("hardness", rows, f"exact routes, the longer half: {found}")
    publish("hardness-exact", exact_side(chosen.seed))


if __name__ == "__main__":
    main()
