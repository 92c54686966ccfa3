"""The polynomial method, its certificate included, against PyTorch's scaled_dot_product_attention: two threads each.

V = sin(3KW/√d) depends on K, entries of Q and K are uniform in [−B, B], scale 1/d; the requested error is ε times
max|out − mean V|, below which the mean of V is no answer.  Cold is the first call in the process for those sizes: the
search for a polynomial, its proof and the tables included, compiled kernels cached.

python benchmarks/fast_attention.py [n …]
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from timing import interleaved, publish

from assay.impl.cpu import attention
from assay.spec.approximation import Infeasible

_ROWS = (
    ("float32", 2, 1.0, 1e-6),
    ("float32", 4, 1.0, 1e-6),
    ("float32", 8, 0.5, 1e-6),
    ("float32", 16, 0.5, 1e-3),
    ("float64", 2, 1.0, 1e-12),
    ("float64", 4, 0.5, 1e-12),
    ("float64", 8, 0.5, 1e-6),
)


def measured(dtype: str, n: int, d: int, bound: float, relative: float) -> dict[str, object]:
    rng = np.random.default_rng(0)
    q, k = (rng.uniform(-bound, bound, (1, 1, n, d)).astype(dtype) for _ in range(2))
    v = np.sin(3.0 * k @ (rng.standard_normal((d, d)) / np.sqrt(d))).astype(dtype)
    scale = 1.0 / d
    tq, tk, tv = (torch.from_numpy(x) for x in (q, k, v))
    sdpa = torch.nn.functional.scaled_dot_product_attention
    peer = sdpa(tq, tk, tv, scale=scale).numpy()
    error = relative * float(np.abs(peer - v.mean(axis=2, keepdims=True)).max())
    row: dict[str, object] = {"dtype": dtype, "d": d, "B": bound, "ε": relative, "n": n}
    attention.approximate(q[:, :, :300, :1], k[:, :, :300, :1], v[:, :, :300, :1], 1e-1, fallback="raise")  # compiled
    start = time.perf_counter()
    try:
        found = attention.approximate(q, k, v, error, scale, fallback="raise", threads=2)
    except Infeasible as reason:
        missing = ("warm s", "cold s", "torch s", "ratio", "cold ratio", "certified / requested")
        return row | dict.fromkeys(missing, "–") | {"route": str(reason)}
    cold = time.perf_counter() - start
    times = interleaved(
        {
            "assay": lambda: attention.approximate(q, k, v, error, scale, fallback="raise", threads=2),
            "torch": lambda: sdpa(tq, tk, tv, scale=scale),
        },
        rounds=5,
    )
    return row | {
        "warm s": times["assay"]["median"],
        "cold s": cold,
        "torch s": times["torch"]["median"],
        "ratio": times["torch"]["median"] / times["assay"]["median"],
        "cold ratio": times["torch"]["median"] / cold,
        "certified / requested": float(found.error.max()) / error,
        "route": found.route,
    }


def main() -> None:
    torch.set_num_threads(2)
    rows = [measured(row[0], n, *row[1:]) for n in map(int, sys.argv[1:] or ["65536"]) for row in _ROWS]
    publish("fast_attention", rows, "two threads; ratio of medians, torch / assay: above 1 assay is faster")


if __name__ == "__main__":
    main()
