"""Formulas decided by Laplacian solves, cuts and sums of kernel graphs (OV-6 to OV-9, KG-17).

    python benchmarks/kernel_graph_hardness.py [--formulas 200] [--json FILE]

First: formulas near the threshold become points of a Gaussian graph and one right side (OV-7).  Elimination in float64
(KG-17) and LAPACK solve it, the decoder reads satisfiability and a model off the potentials, and the answers are
compared with python-sat's; balls say what the resistance is.  Second: the accuracy that every arrow asks for, and for
OV-9 the condition number and the accuracy of several functions.  Exit status 1 if elimination decides wrongly.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from assay.impl.cpu.kernel_graph.elimination import potentials, resistances
from assay.impl.cpu.kernel_graph.weighed import graph_of
from assay.spec.instances import families, truth
from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.kernel_graph.functions import named
from assay.spec.kernel_graph_solve import solved
from assay.spec.reductions import path, reduction
from assay.spec.reductions.to_kernel_graph import histogram_row

FUNCTIONS = (
    ("gaussian", 0.5), ("laplacian", 1.0), ("rational", 1.0), ("coulomb", 0.5), ("inverse_multiquadric", 1.0),
    ("matern", 1.5),
)  # fmt: skip


def lapack(target: Any, weights: Any) -> np.ndarray[Any, Any]:
    """The ordinary solve of the grounded Laplacian in float64."""
    laplacian = np.diag(weights.sum(axis=1)) - weights
    x = np.zeros(len(weights))
    try:
        x[:-1] = np.linalg.solve(laplacian[:-1, :-1], target.right_side[:-1])
    except np.linalg.LinAlgError:
        x[:] = 0.0
    return np.asarray(np.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0))


def decided(reduced: Any, x: Any) -> bool | None:
    """Whether potentials say that the formula is satisfiable; ``None`` where the decoder refuses them."""
    try:
        answer: bool = reduced.decode(x).satisfiable
    except ValueError:
        return None
    return answer


def one(seed: int, variables: int) -> dict[str, Any]:
    """One formula through OV-7."""
    formula = families.random_formula(seed, variables, 3, 3000 + 500 * (seed % 5))
    expected = truth.satisfying(formula) is not None
    reduced = path("satisfiability", "kernel_graph_solve").apply(formula)
    vectors, target = reduced.stages[-2:]
    begun = time.perf_counter()
    graph = graph_of(target.points, function="gaussian", parameter=target.parameter)
    found = potentials(graph, target.right_side)
    seconds = time.perf_counter() - begun
    answer = reduced.decode(found.value)
    enclosed = resistances(graph, [(0, vectors.n)])
    weights = np.ldexp(np.triu(graph.mantissa, 1), np.triu(graph.exponent, 1).astype(np.int32))
    weights = weights + weights.T
    ordinary = lapack(target, weights)
    degrees = weights.sum(axis=1)
    unit = math.exp(-2 * target.parameter * vectors.d)
    result = {
        "seed": seed, "variables": variables, "clauses": len(formula.clauses), "points": len(target.points),
        "satisfiable": expected, "right": answer.satisfiable == expected,
        "model": None if answer.model is None else formula.holds(answer.model),
        "resistance": float(enclosed.fraction(0) * Fraction(unit)), "bound": float(enclosed.error),
        "lapack": float(ordinary[0] - ordinary[vectors.n]) * unit,
        "lapack_right": decided(reduced, ordinary) == expected,
        # λ_max ≥ the largest degree, λ_2 ≤ 2·cut/size of a side
        "condition": float(degrees.max() / (2 * weights[: vectors.n, vectors.n :].sum() / min(vectors.n, vectors.m))),
        "seconds": seconds,
    }  # fmt: skip
    if seed % 20 == 0 and len(target.points) <= 64:
        exact = solved(target, 1e-30).energy
        result["error"] = abs(float(found.value[0] - found.value[vectors.n]) / float(exact.mid()) - 1)
    return result


def asked() -> list[dict[str, Any]]:
    """What accuracy every arrow asks for at 12 × 12 pairs, and OV-9 for each function."""
    rows = []
    rng = np.random.default_rng(0)
    for d in (4, 8, 16):
        source = OrthogonalVectors(rng.random((12, d)) < 0.7, rng.random((12, d)) < 0.7)
        for name, about in (("OV-6", "each sum"), ("OV-7", "the energy"), ("OV-8a", "the form"), ("OV-8b", "the form")):
            reduced = reduction(name).apply(source)
            value = float(reduced.accuracy)
            relative = value * math.exp(2 * reduced.target.parameter * d) if name == "OV-6" else value
            rows.append({"arrow": name, "d": d, "about": about, "accuracy": value, "relative": relative})
        for function, parameter in FUNCTIONS:
            for by in ("scalings", "shifts"):
                if (function, by) == ("gaussian", "shifts"):
                    continue
                row = histogram_row(named(function, parameter), d, 12, by)
                rows.append(
                    {"arrow": "OV-9", "function": function, "by": by, "d": d, "about": "each sum",
                     "accuracy": float(row.accuracy), "relative": row.relative, "condition": row.condition}
                )  # fmt: skip
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formulas", type=int, default=200)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = [one(seed, 4 + seed % 6) for seed in range(arguments.formulas)]
    wrong = sum(not each["right"] or each["model"] is False for each in found)
    yes = sum(each["satisfiable"] for each in found)
    models = sum(each["model"] is True for each in found)
    print(
        f"{len(found)} formulas of 4 to 9 variables, {yes} satisfiable; by elimination {wrong} wrong, {models} models"
    )
    print("condition        formulas   LAPACK wrong   off by 10 %   largest error bound   largest error (balls)")
    for low in range(0, 200, 10):
        here = [each for each in found if low <= math.log10(each["condition"]) < low + 10]
        if here:
            bad = sum(not each["lapack_right"] for each in here)
            off = sum(abs(each["lapack"] / each["resistance"] - 1) > 0.1 for each in here)
            bound = max(each["bound"] for each in here)
            errors = [each["error"] for each in here if "error" in each]
            most = f"{max(errors):.1e}" if errors else "–"
            print(f"10^{low}–10^{low + 10:<6} {len(here):>10} {bad:>14} {off:>13} {bound:>21.1e} {most:>23}")
    worst = max(found, key=lambda each: each["condition"])
    print(
        f"largest condition 10^{math.log10(worst['condition']):.0f}: resistance {worst['resistance']:.6g}, "
        f"LAPACK {worst['lapack']:.3g} (≤ 3: satisfiable, ≥ 16: not)"
    )
    print(f"seconds a formula, median {np.median([each['seconds'] for each in found]):.4f}")
    rows = asked()
    print("arrow   function               by        d    accuracy   relative   condition")
    for row in rows:
        power = f"10^{row['condition']:.1f}" if "condition" in row else ""
        name, by = row.get("function", row["about"]), row.get("by", "")
        accuracy = f"{row['accuracy']:8.1e}   {row['relative']:8.1e}"
        print(f"{row['arrow']:<7} {name:<22} {by:<9} {row['d']:<4} {accuracy}   {power}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"formulas": found, "asked": rows}, indent=1), encoding="utf-8")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
