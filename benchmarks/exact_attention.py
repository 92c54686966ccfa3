"""The exact CPU kernel against PyTorch's scaled_dot_product_attention and NumPy's formula, two threads each.

python benchmarks/exact_attention.py
"""

from __future__ import annotations

import numpy as np
import torch
from timing import interleaved, publish

from assay.conformance.attention.target_numpy import formula
from assay.impl import cpu

_SIZES = ((1, 8, 512, 64), (1, 8, 2048, 64), (2, 4, 1000, 80), (1, 1, 4096, 32))


def timed(size: tuple[int, int, int, int], *, causal: bool) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal(size).astype(np.float32) for _ in range(3))
    tq, tk, tv = (torch.from_numpy(x) for x in (q, k, v))
    scale = float(1 / np.sqrt(size[3]))
    sdpa = torch.nn.functional.scaled_dot_product_attention
    return interleaved(
        {
            "assay": lambda: cpu.attention.exact(q, k, v, scale, is_causal=causal, threads=2),
            "torch": lambda: sdpa(tq, tk, tv, is_causal=causal, scale=scale),
            "numpy": lambda: formula(q, k, v, scale=scale, is_causal=causal),
        }
    )


def main() -> None:
    torch.set_num_threads(2)
    rows = []
    for size in _SIZES:
        for causal in (False, True):
            times = timed(size, causal=causal)
            least = {name: t["min"] for name, t in times.items()}
            rows.append(
                {"shape": "×".join(map(str, size)), "causal": causal}
                | {
                    f"{name} {statistic} s": t[statistic]
                    for name, t in times.items()
                    for statistic in ("min", "median")
                }
                | {f"assay / {peer}": least["assay"] / least[peer] for peer in ("torch", "numpy")}
            )
    publish("exact_attention", rows, "float32, two threads; ratios of minima: below 1 assay is faster")


if __name__ == "__main__":
    main()
