"""The exact CPU kernel against PyTorch's scaled_dot_product_attention and NumPy's formula.

    python benchmarks/exact_attention.py [--threads 2] [--only long|others|widths|few|small] [--rounds 7]

With one thread seconds are those of the thread that calls, which other work on the machine moves little, and NumPy's
formula is left out.  With several, each call waits until the threads of the library that was called before it have
fallen asleep: they wait busily for a while, and would take from the next one.  The formula holds all scores, so that
it runs only where they take at most half a gibibyte.  Of ``small`` each time is that of a call among many, one after
the other, so that the clock and the first look at the caches do not count.  To measure what a processor with AVX2 alone
would do, both sides are held to it:

    NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+avx2,+fma ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 \\
    MKL_ENABLE_INSTRUCTIONS=AVX2 python benchmarks/exact_attention.py --threads 1
"""

from __future__ import annotations

import argparse
import functools
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from timing import interleaved, publish

from assay.conformance.attention.target_numpy import formula
from assay.impl import cpu

if TYPE_CHECKING:
    from collections.abc import Callable

#: (batch, heads, key heads, queries, keys, dim): long rows, then single-query and odd ones, and small calls.
_LONG = tuple((1, 8, 8, n, n, 64) for n in (2048, 4096, 8192))
_OTHERS = (
    (1, 8, 8, 512, 512, 64),
    (2, 4, 4, 1000, 1000, 80),
    (1, 1, 1, 4096, 4096, 32),
    (1, 8, 8, 1, 4096, 64),
    (1, 32, 8, 1, 4096, 128),
)
_WIDTHS = tuple((1, 2, 2, 2048, 2048, d) for d in (4, 16, 32, 64, 128))
_FEW = ((1, 8, 8, 1, 4096, 64), (1, 32, 8, 1, 4096, 128), (1, 8, 8, 4, 4096, 64))
_SMALL = ((1, 1, 1, 3, 3, 8), (2, 4, 4, 17, 17, 16), *((1, 8, 8, n, n, 64) for n in (32, 64, 128)))
_PARTS = {"long": _LONG, "others": _OTHERS, "widths": _WIDTHS, "few": _FEW, "small": _SMALL}
_MANY = 1 << 24  # products of scores with columns: about how much a time of small calls is taken of
_MOST_SCORES = 1 << 29  # bytes
_REST = 0.3  # seconds: Intel's OpenMP waits busily for 0.2


def timed(size: tuple[int, ...], dtype: str, threads: int, rounds: int, *, causal: bool) -> dict[str, dict[str, float]]:
    b, h, h_k, n_q, n_k, d = size
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((b, *shape, d)).astype(dtype) for shape in ((h, n_q), (h_k, n_k), (h_k, n_k)))
    tq, tk, tv = (torch.from_numpy(x) for x in (q, k, v))
    scale = float(1 / np.sqrt(d))
    sdpa = torch.nn.functional.scaled_dot_product_attention
    contenders: dict[str, Callable[[], Any]] = {
        "assay": lambda: cpu.attention.exact(q, k, v, scale, is_causal=causal, threads=threads),
        "torch": lambda: sdpa(tq, tk, tv, is_causal=causal, scale=scale, enable_gqa=h != h_k),
    }
    clock = time.thread_time if threads == 1 else time.perf_counter
    if size in _SMALL:
        calls = min(max(_MANY // (b * h * n_q * n_k * d), 1), 200)
        contenders = {name: functools.partial(_repeated, call, calls) for name, call in contenders.items()}
        times = interleaved(contenders, rounds, clock)
        return {name: {which: t / calls for which, t in found.items()} for name, found in times.items()}
    if threads > 1 and h == h_k and b * h * n_q * n_k * q.itemsize <= _MOST_SCORES:
        contenders["numpy"] = lambda: formula(q, k, v, scale=scale, is_causal=causal)
    return interleaved(contenders, rounds, clock, rest=0.0 if threads == 1 else _REST)


def _repeated(call: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        call()


def row(size: tuple[int, ...], dtype: str, threads: int, rounds: int, *, causal: bool) -> dict[str, object]:
    times = timed(size, dtype, threads, rounds, causal=causal)
    b, h, h_k, n_q, n_k, d = size
    shown: dict[str, object] = {
        "shape": f"{b}×{h}/{h_k}: {n_q}×{n_k}: {d}",
        "dtype": dtype,
        "mask": "causal" if causal else "none",
    }
    for name in ("assay", "torch", "numpy"):
        for statistic in ("min", "median"):
            shown[f"{name} {statistic} ms"] = 1e3 * times[name][statistic] if name in times else "–"
    for peer in ("torch", "numpy"):
        shown[f"{peer} / assay"] = times[peer]["min"] / times["assay"]["min"] if peer in times else "–"
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=list(_PARTS), action="append", help="default: long, others and small")
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    rows = [
        row(size, dtype, chosen.threads, chosen.rounds, causal=causal)
        for dtype in ("float32", "float64")
        for size in (size for part in chosen.only or ("long", "others", "small") for size in _PARTS[part])
        for causal in ((False, True) if size[3] > 4 and size not in _SMALL else (False,))
    ]
    clock = "seconds of the calling thread" if chosen.threads == 1 else "wall"
    publish("exact_attention", rows, f"threads: {chosen.threads}; {clock}; ratios of minima: above 1 assay is faster")


if __name__ == "__main__":
    main()
