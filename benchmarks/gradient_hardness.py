"""Formulas decided by one gradient of a real library, and what the exact and the fast gradient make of gap instances.

    python benchmarks/gradient_hardness.py [--formulas 240] [--most 2048]

Random 3-SAT near the threshold, of 10, 12, 14 and 16 variables.  Each formula becomes an instance of GRAD-4; one
``backward()`` through torch's scaled_dot_product_attention in float32, bfloat16 and float16 and one vector–Jacobian
product of JAX in float32 give dK.  It decodes to satisfiable or not, with a model, and is compared with CaDiCaL.  The
same formula as an instance of GRAD-10: one ``backward()`` of the loss of the paper gives dL/dX.  Formulas of 2 to 4
variables take the route of GRAD-3, with all of its calls.  The levels are p(1 − p) summed, in units of the least one
that any satisfiable formula can have.

Gap instances (GRAD-9, entries Θ(√log n)) at d = 8·log₂ n: the exact kernel's dK decodes; ``approximate`` is asked for
the accuracy that the decoder needs.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from timing import publish

import assay
from assay.impl.cpu import attention_gradient
from assay.spec.approximation import Infeasible
from assay.spec.instances import families
from assay.spec.instances.truth import satisfying
from assay.spec.reductions import path

if TYPE_CHECKING:
    from assay.spec.attention_gradient import Instance
    from assay.spec.attention_gradient.loss import Loss
    from assay.spec.reductions import Reduced

_VARIABLES = (10, 12, 14, 16)
_C = 8


def backward(target: Instance) -> Any:
    """dK from one backward pass of torch, in the type of the instance."""
    kind = getattr(torch, target.query.dtype.name)
    arrays = (target.query, target.key, target.value, target.grad_output)
    q, k, v, g = (torch.tensor(x.astype(np.float64)).to(kind) for x in arrays)
    for x in (q, k, v):
        x.requires_grad_()
    torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=target.scale).backward(g)
    return k.grad.to(torch.float64).numpy()


def vjp(target: Instance) -> Any:
    """dK from one vector–Jacobian product of JAX; it wants as many columns of values as of keys."""
    wide = [(0, 0)] * 3 + [(0, target.key.shape[3] - 1)]
    arrays = (target.query, target.key, np.pad(target.value, wide), np.pad(target.grad_output, wide))
    q, k, v, g = (jax.numpy.asarray(x.swapaxes(1, 2)) for x in arrays)
    _, pull = jax.vjp(lambda *x: jax.nn.dot_product_attention(*x, scale=target.scale), q, k, v)
    return np.asarray(pull(g)[1]).astype(np.float64).swapaxes(1, 2)


def of_loss(target: Loss, dtype: str = "float64") -> Any:
    """dL/dX from one backward pass through the loss, with torch's scaled_dot_product_attention inside."""
    kind = getattr(torch, dtype)
    arrays = (target.queries, target.weights, target.keys, target.values @ target.value_weights, target.target)
    a, x, b, h, e = (torch.tensor(array).to(kind) for array in arrays)
    x.requires_grad_()
    attended = torch.nn.functional.scaled_dot_product_attention(
        (a @ x)[None, None], b[None, None], h[None, None], scale=target.scale
    )
    (0.5 * (attended[0, 0] - e).square().sum()).backward()
    return x.grad.to(torch.float64).numpy()


ROUTES = {
    "torch float32": ("attention_gradient", "float32", backward),
    "torch bfloat16": ("attention_gradient", "bfloat16", backward),
    "torch float16": ("attention_gradient", "float16", backward),
    "jax float32": ("attention_gradient", "float32", vjp),
    "loss, torch float32": ("loss_gradient", "float32", functools.partial(of_loss, dtype="float32")),
    "loss, torch float64": ("loss_gradient", "float64", of_loss),
}


def level(reduced: Reduced, found: Any) -> float:
    """The number that decides, in units of the least one of a satisfiable formula."""
    cut = float(reduced.accuracy)
    m, d = reduced.sizes["m"] - 1, reduced.stages[-2].d
    number = found[0, 0, 0, d] if found.ndim == 4 else -found[d, d]
    yes, no = m / (m + 1) ** 2, 1 / (16 * m)
    return float(number) / (2 * cut * yes / (yes - no))


def formulas(count: int) -> list[dict[str, Any]]:
    tally: dict[str, dict[str, Any]] = {}
    for name in ROUTES:
        tally[name] = {"route": name, "formulas": 0, "right": 0, "models right": 0, "satisfiable": 0}
        tally[name] |= {"least yes": math.inf, "largest no": -math.inf, "n to": 0}
    for seed in track(range(count), "formulas", console=Console(stderr=True)):
        formula = families.random_formula(seed, _VARIABLES[seed % len(_VARIABLES)])
        truth = satisfying(formula) is not None
        for name, (problem, dtype, gradient) in ROUTES.items():
            reduced = path("satisfiability", problem).apply(formula, dtype=dtype)
            found = gradient(reduced.target)
            answer = reduced.decode(found)
            row, number = tally[name], level(reduced, found)
            row["formulas"] += 1
            row["right"] += answer.satisfiable == truth
            row["satisfiable"] += truth
            row["models right"] += answer.model is not None and formula.holds(answer.model)
            key, best = ("least yes", min) if truth else ("largest no", max)
            row[key] = best(row[key], number)
            row["n to"] = max(row["n to"], reduced.sizes["n"])
    return list(tally.values())


def integrals() -> list[dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = defaultdict(dict)
    for seed in range(24):
        variables = 2 + seed % 3
        formula = families.random_formula(seed, variables, 2, 2000)
        reduced = path("satisfiability", "loss_integral").apply(formula)
        found = np.array([of_loss(loss) for loss in reduced.target.losses])
        right = reduced.decode(found).satisfiable == (satisfying(formula) is not None)
        row = rows[variables] or {"variables": variables, "formulas": 0, "right": 0, "calls": 0}
        rows[variables] = {**row, "formulas": row["formulas"] + 1, "right": row["right"] + right}
        rows[variables]["calls"] = max(row["calls"], len(found))
    return list(rows.values())


def gap(n: int) -> dict[str, Any]:
    d = _C * math.ceil(math.log2(n))
    problem = assay.hard("attention_gradient", "gap", n=n, d=d, seed=1)
    x = problem.instance
    begun = time.perf_counter()
    _, found, _ = attention_gradient.exact(x.query, x.key, x.value, None, None, x.grad_output, scale=x.scale)
    seconds = time.perf_counter() - begun
    try:
        accuracy = (1e30, float(problem.accuracy), 1e30)
        attention_gradient.approximate(x.query, x.key, x.value, None, None, x.grad_output, accuracy, scale=x.scale)
        certified = "yes"
    except Infeasible as reason:
        certified = f"refused: {reason}"
    answer = problem.decode(found)
    return {
        "n": n, "d": x.query.shape[3], "B/√ln n": problem.entry_bound_over_root_log, "exact s": seconds,
        "decodes": problem.right(answer), "pair": problem.right(answer) and bool(answer.pairs), "fast": certified,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formulas", type=int, default=240)
    parser.add_argument("--most", type=int, default=2048, help="the largest n of a gap instance, a power of two")
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    rows = formulas(chosen.formulas)
    publish(
        "gradient_hardness",
        rows,
        "levels in units of the least one of a satisfiable formula; others have at most (1 + 1/m)²/16",
    )
    several = integrals()
    publish("gradient_integral", several, "GRAD-3: every call is one backward pass in float64")
    gaps = [gap(1 << j) for j in range(8, chosen.most.bit_length())]
    publish("gradient_gap", gaps, f"GRAD-9, d = {_C}·log₂ n before the threshold's coordinates")
    wrong = any(row["right"] < row["formulas"] for row in rows + several) or not all(row["decodes"] for row in gaps)
    sys.exit(wrong)


if __name__ == "__main__":
    main()
