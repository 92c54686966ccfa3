"""The polynomial method, its certificate included, against PyTorch's scaled_dot_product_attention: two threads each.

V = sin(3KW/√d) depends on K, entries of Q and K are uniform in [−B, B], scale 1/d; the requested error is ε times
max|out − mean V|, below which the mean of V is no answer.  Cold is the first call in the process for those sizes: the
search for a polynomial, its proof and the tables included, compiled kernels cached.

python benchmarks/fast_attention.py [n …]
python benchmarks/fast_attention.py --model     nanoseconds of one core, for the router
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from timing import interleaved, publish

from assay.impl.cpu import attention
from assay.spec.approximation import Infeasible

if TYPE_CHECKING:
    from collections.abc import Callable

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


def model() -> None:
    """Least-squares constants of the router in polynomial.py: processor time of one thread, relative residuals."""
    rng = np.random.default_rng(0)

    def nanoseconds(call: Callable[[], object]) -> float:
        call()
        spent = []
        for _ in range(5):
            start = time.process_time()
            call()
            spent.append(time.process_time() - start)
        return 1e9 * min(spent)

    def fitted(rows: list[tuple[float, float]], times: list[float]) -> list[float]:
        scaled = np.array(rows) / np.array(times)[:, None]
        return [round(float(x), 3) for x in np.linalg.lstsq(scaled, np.ones(len(times)))[0]]

    rows, times, n = [], [], 16384
    for d, d_v, error in ((2, 2, 1e-4), (4, 4, 1e-5), (4, 16, 1e-5), (4, 64, 1e-5), (8, 8, 1e-3), (8, 64, 1e-3)):
        q, k = rng.uniform(-1, 1, (2, 1, 1, n, d))
        v = rng.uniform(-1, 1, (1, 1, n, d_v))
        call = partial(attention.approximate, q, k, v, error, 1 / d, fallback="raise", threads=1)
        rank = int(call().route.split("rank ")[1].split(",")[0])
        rows.append((rank, rank * (d_v + 1)))
        times.append(nanoseconds(call) / (2 * n))
    print("polynomial: a point and feature, and each column:", fitted(rows, times))
    for dtype in ("float32", "float64"):
        rows, times, n = [], [], 1024
        for d, d_v in ((2, 2), (8, 8), (8, 64), (64, 64), (64, 8)):
            q, k = rng.uniform(-1, 1, (2, 1, 1, n, d)).astype(dtype)
            v = rng.uniform(-1, 1, (1, 1, n, d_v)).astype(dtype)
            rows.append((1.0, d + d_v))
            times.append(nanoseconds(partial(attention.exact, q, k, v, 1 / d, threads=1)) / n**2)
        print(f"exact, {dtype}: a pair, and each coordinate of K and V:", fitted(rows, times))


def main() -> None:
    if "--model" in sys.argv:
        model()
        return
    torch.set_num_threads(2)
    rows = [measured(row[0], n, *row[1:]) for n in map(int, sys.argv[1:] or ["65536"]) for row in _ROWS]
    publish("fast_attention", rows, "two threads; ratio of medians, torch / assay: above 1 assay is faster")


if __name__ == "__main__":
    main()
