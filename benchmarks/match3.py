"""Match3 by one head of order 3, and which quantised ordinary heads compute it: a solver's answers, checked.

    python benchmarks/match3.py [--most 4]

For every M ≤ 5 and n ≤ 4 and some numbers of levels a solver decides whether an ordinary head computes Match3
(:func:`assay.spec.tensor_attention.match3.quantised_heads`).  A head that it finds is executed on all sequences; where
it finds none, its proof is checked by unit propagation alone (:mod:`assay.spec.instances.refutation`).
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np
from pysat.solvers import Solver
from timing import publish

from assay.spec import tensor_attention
from assay.spec.instances.refutation import refutes, steps
from assay.spec.tensor_attention.match3 import QuantisedHeads, matches, matching_head, quantised_heads

_LEVELS = ((2, 2, 2), (2, 4, 4), (3, 2, 2), (3, 4, 4), (4, 4, 4))  # scores, values, outputs


def tables(heads: QuantisedHeads, model: set[int]) -> tuple[Any, Any, Any]:
    tokens = range(heads.modulus)

    def level(kind: str, levels: int, *index: int) -> int:
        return next(at for at in range(levels) if heads.variable(kind, *index, at) in model)

    scores = np.array([[level("score", heads.scores, x, y) for y in tokens] for x in tokens])
    values = np.array([level("value", heads.values, y) for y in tokens])
    read = np.array([[heads.variable("read", x, at) in model for at in range(heads.levels)] for x in tokens])
    return scores, values, read


def decided(modulus: int, length: int, scores: int, values: int, levels: int) -> dict[str, Any]:
    heads = quantised_heads(modulus, length, scores=scores, values=values, levels=levels)
    begin = time.perf_counter()
    with Solver(name="cadical153", bootstrap_with=[list(c) for c in heads.clauses], with_proof=True) as solver:
        found = solver.solve()
        model = {literal for literal in solver.get_model() if literal > 0} if found else set()
        proof = [] if found else list(steps(solver.get_proof()))
    seconds = time.perf_counter() - begin
    begin = time.perf_counter()
    checked = heads.computes(*tables(heads, model)) if found else refutes(heads.clauses, proof)
    return {
        "M": modulus, "n": length, "scores": scores, "values": values, "outputs": levels, "d ≤": scores - 1,
        "clauses": len(heads.clauses), "a head": "exists" if found else "none", "lemmas": len(proof),
        "checked": checked, "solver s": seconds, "checker s": time.perf_counter() - begin,
    }  # fmt: skip


def heads_of_order_3(count: int) -> list[dict[str, Any]]:
    rows = []
    for modulus, n in ((5, 4), (7, 8), (31, 16), (101, 24)):
        for dtype in ("float64", "float32"):
            right, least = 0, np.inf
            for seed in range(count):
                numbers = np.random.default_rng(seed).integers(0, modulus, n)
                head, wanted = matching_head(numbers, modulus, 3, dtype), matches(numbers, modulus, 3)
                lse = tensor_attention.define(head.instance, output="log_sum_exp").midpoint
                right += bool((head.decode(lse) == wanted).all())
                least = min(least, float(np.abs(lse.ravel() - head.threshold).min()))
            rows.append(
                {
                    "M": modulus, "n": n, "type": dtype, "sequences": count, "right": right,
                    "proved margin": head.margin, "least margin": least, "scale": head.instance.scale,
                }
            )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=4, help="the longest sequences")
    chosen = parser.parse_args()
    of_order_3 = heads_of_order_3(20)
    publish("match3_heads", of_order_3, "one head of order 3 and rank 4, read at its log-sum-exp")
    rows = [
        decided(modulus, length, *levels)
        for modulus in (3, 4, 5)
        for length in range(2, chosen.most + 1)
        for levels in _LEVELS
        if not (length == 4 and modulus > 3 and levels[0] == 4)  # millions of clauses
    ]
    publish("match3", rows, "ordinary heads with so many levels; d ≤: what queries and keys of 0 and 1 may have")
    sys.exit(not all(row["checked"] for row in rows) or any(row["right"] < row["sequences"] for row in of_order_3))


if __name__ == "__main__":
    main()
