"""Formulas decided by attention with the true rotary embedding, through float32 angles, and by its gradient.

    python benchmarks/rope_attention_hardness.py [--formulas 220] [--gaps 12]

Random 3-SAT near the threshold, of 8, 10, 12 and 14 variables.  Each formula becomes an instance of ROPE-5a (OV-2) and
of ROPE-5b (OV-3, which counts), whose queries and keys are rotated with float32 frequencies, angles and tables before
torch's scaled_dot_product_attention, and one of ROPE-5d (GRAD-4), whose gradient torch takes through that rotation.
Every answer is compared with CaDiCaL, and counts with a counter.  Gap instances (ROPE-5c, OV-4) have entries Θ(√log n).
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from timing import publish

import assay
from assay.spec.instances import families
from assay.spec.instances.truth import model_count, satisfying
from assay.spec.problem import InvalidInstance
from assay.spec.reductions import path

if TYPE_CHECKING:
    from assay.spec.reductions.to_rope_attention import Backward
    from assay.spec.rope_attention import Instance

_VARIABLES = (8, 10, 12, 14)


def turned(x: Any, base: float) -> Any:
    """A tensor (…, n, d), each row rotated by its number: float32 frequencies, angles, cosines and sines."""
    n, d = x.shape[-2:]
    frequency = 1.0 / base ** (torch.arange(0, d, 2, dtype=torch.float32) / d)
    angle = torch.outer(torch.arange(n, dtype=torch.float32), frequency).repeat(1, 2)
    crossed = torch.cat([-x[..., d // 2 :], x[..., : d // 2]], dim=-1)
    return (x.float() * angle.cos() + crossed.float() * angle.sin()).to(x.dtype)


def tensors(instance: Instance) -> list[Any]:
    kind = getattr(torch, instance.query.dtype.name)
    return [torch.tensor(x.astype(np.float64)).to(kind) for x in (instance.query, instance.key, instance.value)]


def attended(instance: Instance) -> Any:
    """The output, as float64."""
    q, k, v = tensors(instance)
    q, k = turned(q, instance.base), turned(k, instance.base)
    made = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=instance.scale)
    return made.to(torch.float64).numpy()


def backward(target: Backward) -> Any:
    """dK from one backward pass through the rotation."""
    q, k, v = tensors(target.instance)
    k.requires_grad_()
    rotated = turned(q, target.instance.base), turned(k, target.instance.base)
    made = torch.nn.functional.scaled_dot_product_attention(*rotated, v, scale=target.instance.scale)
    made.backward(torch.tensor(target.grad_output.astype(np.float64)).to(made.dtype))
    return k.grad.to(torch.float64).numpy()


ROUTES = {
    "ROPE-5a, float32": ("rope_attention", "float32", False, attended),
    "ROPE-5a, float16": ("rope_attention", "float16", False, attended),
    "ROPE-5b, float32": ("rope_attention", "float32", True, attended),
    "ROPE-5d, float32": ("rope_attention_gradient", "float32", False, backward),
}


def formulas(count: int) -> list[dict[str, Any]]:
    tally: dict[str, dict[str, Any]] = {}
    for name in ROUTES:
        zeros = ("formulas", "refused", "right", "satisfiable", "counts right", "models right", "n to")
        tally[name] = {"route": name, **dict.fromkeys(zeros, 0)}
    for seed in track(range(count), "formulas", console=Console(stderr=True)):
        formula = families.random_formula(seed, _VARIABLES[seed % len(_VARIABLES)])
        truth, models = satisfying(formula) is not None, model_count(formula)
        for name, (problem, dtype, counts, kernel) in ROUTES.items():
            row = tally[name]
            row["formulas"] += 1
            try:
                reduced = path("satisfiability", problem, counts=counts).apply(formula, dtype=dtype)
            except InvalidInstance:
                row["refused"] += 1
                continue
            answer = reduced.decode(kernel(reduced.target))
            row["right"] += answer.satisfiable == truth
            row["satisfiable"] += truth
            row["counts right"] += counts and answer.count == models
            row["models right"] += answer.model is not None and formula.holds(answer.model)
            row["n to"] = max(row["n to"], reduced.sizes["n"])
    return list(tally.values())


def gaps(count: int) -> list[dict[str, Any]]:
    rows = []
    for number in range(count):
        n = 64 << (number % 3)
        problem = assay.hard(
            "rope_attention", "gap", n=n, d=8 * (n - 1).bit_length(), planted=number % 2, seed=number, dtype="float32"
        )
        answer = problem.decode(attended(problem.instance))
        rows.append(
            {
                "n": n, "d": problem.sizes["d"], "planted": number % 2, "B/√ln n": problem.entry_bound_over_root_log,
                "accuracy left": float(problem.accuracy), "right": problem.right(answer),
            }
        )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formulas", type=int, default=220)
    parser.add_argument("--gaps", type=int, default=12)
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    rows = formulas(chosen.formulas)
    publish("rope_attention_hardness", rows, "refused: the type holds the turned vectors too badly for the decoder")
    several = gaps(chosen.gaps)
    publish("rope_attention_gap", several, "ROPE-5c, positions 0 to n, float32 angles")
    wrong = any(row["right"] < row["formulas"] - row["refused"] for row in rows) or not all(r["right"] for r in several)
    sys.exit(wrong)


if __name__ == "__main__":
    main()
