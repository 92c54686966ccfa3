"""Formulas decided by attention of orders 2, 3 and 4, through torch and the exact kernel of assay.

    python benchmarks/tensor_hardness.py [--formulas 210] [--variables 30]

Random 3-SAT near the threshold.  Each formula becomes k sets of 2^(N/k) vectors and these an instance of order k
(KOV-1, TEN-3), whose output a dense torch formulation and the exact kernel compute in the instance's type.  Every
answer is compared with CaDiCaL, and every model with the formula.  Then one formula of 30 variables through order 3,
n = 1,024, by the exact kernel.  Gap instances (TEN-7) have entries Θ((log n)^(1/k)), whose B is put beside that of
TEN-3.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from timing import publish

from assay.impl.cpu import tensor_attention as cpu
from assay.spec.instances import families
from assay.spec.instances.truth import satisfying
from assay.spec.reductions import path, reduction

if TYPE_CHECKING:
    from assay.spec.tensor_attention import HigherOrder

_VARIABLES = {2: (8, 10, 12, 14), 3: (9, 12, 15), 4: (8, 12, 16)}
_TYPES = ("float32", "bfloat16", "float16")
ROUTE = path("satisfiability", "tensor_attention")


def tensors(instance: HigherOrder) -> tuple[Any, list[Any], list[Any]]:
    kind = getattr(torch, instance.query.dtype.name)
    query, keys, values = (
        [torch.tensor(x.astype(np.float64)).to(kind) for x in arrays]
        for arrays in ([instance.query], instance.mode_keys, instance.mode_values)
    )
    return query[0], keys, values


def dense(instance: HigherOrder) -> Any:
    """Keys and values of all combinations, and torch's attention to them; the output as float64."""
    query, (key, *keys), (value, *values) = tensors(instance)
    for other in keys:
        key = (key[:, :, :, None] * other[:, :, None]).flatten(2, 3)
    for other in values:
        value = (value[:, :, :, None] * other[:, :, None]).flatten(2, 3)
    made = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=instance.scale)
    return made.to(torch.float64).numpy()


def exact(instance: HigherOrder) -> Any:
    """The exact kernel; a type shorter than float32 is widened first, which changes no number."""
    wide = {name: x.astype(np.float32) for name, x in instance.arrays().items()}
    return cpu.exact(*wide.values(), scale=instance.scale)


def formulas(count: int) -> list[dict[str, Any]]:
    tally: dict[tuple[int, str, str], dict[str, Any]] = {}
    for seed in track(range(count), "formulas", console=Console(stderr=True)):
        k = 2 + seed % 3
        formula = families.random_formula(seed, _VARIABLES[k][seed // 3 % len(_VARIABLES[k])])
        truth = satisfying(formula) is not None
        for dtype in _TYPES:
            reduced = ROUTE.apply(formula, k=k, dtype=dtype)
            for name, kernel in (("torch, dense", dense), ("assay.impl.cpu, exact", exact)):
                zeros = ("formulas", "right", "satisfiable", "models right", "n to")
                row = tally.setdefault(
                    (k, dtype, name), {"order": k, "type": dtype, "kernel": name, **dict.fromkeys(zeros, 0)}
                )
                answer = reduced.decode(kernel(reduced.target))
                row["formulas"] += 1
                row["right"] += answer.satisfiable == truth
                row["satisfiable"] += truth
                row["models right"] += answer.model is not None and formula.holds(answer.model)
                row["n to"] = max(row["n to"], reduced.sizes["n"])
    return [tally[key] for key in sorted(tally)]


def large(variables: int) -> list[dict[str, Any]]:
    """One satisfiable and one unsatisfiable formula of so many variables, through order 3."""
    rows = []
    for wanted in (True, False):
        seed = next(s for s in range(100) if (satisfying(families.random_formula(s, variables)) is not None) == wanted)
        formula = families.random_formula(seed, variables)
        reduced = ROUTE.apply(formula, k=3, dtype="float32")
        begin = time.perf_counter()
        output = exact(reduced.target)
        seconds = time.perf_counter() - begin
        answer = reduced.decode(output)
        low, high = output[output <= 0.65], output[output > 0.65]
        rows.append(
            {
                "variables": variables, "clauses": len(formula.clauses), "seed": seed, "n": reduced.sizes["n"],
                "combinations": reduced.sizes["combinations"], "d": reduced.sizes["d"], "B": float(reduced.sizes["B"]),
                "satisfiable": wanted, "decoded": answer.satisfiable,
                "model holds": answer.model is not None and formula.holds(answer.model),
                "largest yes": float(low.max(initial=0.0)), "least no": float(high.min(initial=1.0)),
                "seconds": seconds,
            }
        )  # fmt: skip
    return rows


def entries() -> list[dict[str, Any]]:
    """B of TEN-3 and TEN-7 at d = 8·log₂ n, t = d/4 and a gap of one half, for growing n."""
    rows = []
    for k in (2, 3, 4):
        for bits in (8, 16, 32, 64):
            sizes = {"sizes": (2**bits,) * k, "d": 8 * bits, "threshold": 2 * bits, "gap": Fraction(1, 2)}
            plain, gap = (float(reduction(name).sizes(sizes)["B"]) for name in ("TEN-3", "TEN-7"))
            root = (bits * math.log(2)) ** (1 / k)
            rows.append(
                {
                    "order": k, "log₂ n": bits, "B of TEN-3": plain, "B of TEN-7": gap,
                    "TEN-3/(ln n)^(1/k)": plain / root, "TEN-7/(ln n)^(1/k)": gap / root,
                }
            )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formulas", type=int, default=210)
    parser.add_argument("--variables", type=int, default=30)
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    rows = formulas(chosen.formulas)
    publish("tensor_hardness", rows, "random 3-SAT near the threshold; every answer beside CaDiCaL's")
    publish("tensor_hardness_entries", entries(), "d = 8 log₂ n, t = d/4, gap 1/2, scale 1/d′")
    largest = large(chosen.variables)
    publish("tensor_hardness_large", largest, "one formula of each kind, by the exact kernel in float32")
    wrong = any(row["right"] < row["formulas"] for row in rows)
    wrong |= any(row["decoded"] != row["satisfiable"] for row in largest)
    sys.exit(wrong)


if __name__ == "__main__":
    main()
