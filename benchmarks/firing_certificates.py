"""Is a bound of kept correlations ever below the true error?  Structures of firing neurons after updates and moves.

    python benchmarks/firing_certificates.py [--cases 10000] [--scheduler local]

Every case draws a type, a structure, sizes, a pattern of numbers and a history of updates and moves, and compares every
correlation that the structure keeps with the exact one, in rational numbers (FIRE-4 and FIRE-5).  Exit status 1 if one
bound is too small.  A history that overflows is counted as refused, and is no case.
"""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from typing import Any

import numpy as np
from campaign import add_scheduler, certified
from timing import publish

from assay.impl.cpu.firing_neurons import CorrelationTree, Recomputed, Table

_KINDS = {"tree": CorrelationTree, "table": Table, "recomputed": Recomputed}


def normal(rng: np.random.Generator, *shape: int) -> Any:
    return rng.standard_normal(shape)


def wild(rng: np.random.Generator, *shape: int) -> Any:
    """Sizes from 2^-60 to 2^30, of all kinds in one row."""
    return rng.standard_normal(shape) * 2.0 ** rng.integers(-60, 31, shape)


def cancelling(rng: np.random.Generator, *shape: int) -> Any:
    """Pairs of columns that nearly cancel in a product with equal ones."""
    x = rng.standard_normal(shape)
    x[..., 1::2] = -x[..., : 2 * (shape[-1] // 2) : 2] * (1 + 1e-6 * rng.standard_normal(x[..., 1::2].shape))
    return x


def tiny(rng: np.random.Generator, *shape: int) -> Any:
    """Products near the smallest numbers of float32."""
    return rng.standard_normal(shape) * 2.0 ** rng.integers(-75, -50, shape)


PATTERNS = (normal, wild, cancelling, tiny)


def case(seed: int) -> tuple[str, float] | None:
    """The pattern and structure, and the largest error over its bound; None where numbers overflow."""
    rng = np.random.default_rng(seed)
    dtype = str(rng.choice(["float64", "float32"]))
    pattern, name = PATTERNS[rng.integers(len(PATTERNS))], str(rng.choice(list(_KINDS)))
    n, m, d = (int(rng.integers(1, most)) for most in (6, 8, 13))
    data, weights = pattern(rng, n, d).astype(dtype), pattern(rng, m, d).astype(dtype)
    options = {"refresh": int(rng.integers(1, 40))} if name != "recomputed" else {}
    structure = _KINDS[name](data, weights, threshold=float(rng.standard_normal()), **options)
    for _ in range(int(rng.integers(0, 12))):
        which = rng.permutation(m)[: int(rng.integers(1, m + 1))]
        if rng.random() < 0.3:
            structure.update(which, pattern(rng, len(which), d).astype(dtype))
        else:
            points = rng.integers(0, n, int(rng.integers(1, n + 1)))
            size = 10.0 ** rng.uniform(-6, 2)
            structure.move(which, size * rng.standard_normal((len(which), len(points))), points)
    found = structure.correlations(np.arange(n))
    if not (np.isfinite(found.value).all() and np.isfinite(found.error).all()):
        return None
    worst = 0.0
    rows = [[Fraction(float(x)) for x in row] for row in data]
    columns = [[Fraction(float(x)) for x in row] for row in structure.weights]
    for i, r in np.ndindex(n, m):
        exact = sum((a * b for a, b in zip(rows[i], columns[r], strict=True)), Fraction(0))
        off, bound = abs(Fraction(float(found.value[i, r])) - exact), Fraction(float(found.error[i, r]))
        worst = max(worst, float(off / bound) if bound else (2.0 if off else 0.0))
    return f"{pattern.__name__}, {name}", worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    add_scheduler(parser)
    chosen = parser.parse_args()
    outcomes, refused = certified(case, chosen.cases, chosen.scheduler)
    rows: list[dict[str, Any]] = []
    for name in sorted({name for name, _ in outcomes}):
        ratios = [ratio for other, ratio in outcomes if other == name]
        rows.append({
            "pattern, structure": name, "certified": len(ratios), "worst error / bound": max(ratios),
            "median": float(np.median(ratios)), "too small": sum(ratio > 1.0 for ratio in ratios),
        })  # fmt: skip
    publish("firing_certificates", rows, f"{chosen.cases} structures, {refused} overflows refused")
    sys.exit(any(row["too small"] for row in rows))


if __name__ == "__main__":
    main()
