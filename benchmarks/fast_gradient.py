"""The exact and the fast gradient of attention, certificates included, against PyTorch's autograd.

    python benchmarks/fast_gradient.py exact [--n 4096] [--threads 2]  forward and backward, (1, 8, n, 64)
    python benchmarks/fast_gradient.py ratios [--n 65536]          the fast route; torch answers all queries
    python benchmarks/fast_gradient.py exponent [--most 20]        of n, in seconds; no torch
    python benchmarks/fast_gradient.py memory [--n 1000000]        MiB beyond inputs and results

Fast rows: float32, entries of Q and K uniform in [−B, B], V = sin(3KW/√d) and dO = cos(3QW/√d), scale 1/d.  The
requested error of each gradient is ε·max|gradient|, its signal.  ``ratios`` gives a thread to each and takes processor
time: where other work takes cores, torch's threads wait for each other, and its seconds say nothing.  Elsewhere there
are two threads; the processor is named below the table.
``exact`` compares our forward pass with our backward pass on top, and the backward pass alone, with torch's
scaled_dot_product_attention forward and backward.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
from timing import interleaved, publish

from assay.impl.cpu import attention, attention_gradient

_THREADS = 2
_ROUNDS = 5
_RELATIVE = 1e-4
_ROWS = ((4, 1.0, {}), (8, 0.5, {}), (4, 1.0, {"is_causal": True}), (4, 1.0, {"window": (2048, 0)}))
_ASKED = 1 << 12  # exponent, memory: the length whose requested error stands for all
_MIB = 1 << 20


def drawn(n: int, d: int, bound: float) -> tuple[np.ndarray, ...]:
    """Q, K, V and dO (1, 1, n, d)."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((d, d)).astype(np.float32) * np.float32(3.0 / np.sqrt(d))
    q, k = (rng.uniform(-bound, bound, (1, 1, n, d)).astype(np.float32) for _ in range(2))
    return q, k, np.sin(k @ mixing), np.cos(q @ mixing)


def fast(arrays: Any, error: Any, scale: float, options: dict[str, Any], threads: int = _THREADS) -> Any:
    q, k, v, g = arrays
    return attention_gradient.approximate(q, k, v, None, None, g, error, scale=scale, threads=threads, **options)


def asked(gradients: Any) -> tuple[float, ...]:
    return tuple(_RELATIVE * float(np.abs(x).max()) for x in gradients)


def of_torch(arrays: Any, scale: float | None, options: dict[str, Any], threads: int = _THREADS) -> Any:
    """A call of torch's forward and backward pass."""
    import torch  # not above: the process that measures memory does without

    torch.set_num_threads(threads)
    q, k, v = (torch.tensor(x, requires_grad=True) for x in arrays[:3])
    g = torch.tensor(arrays[3])

    def call() -> list[np.ndarray]:
        for x in (q, k, v):
            x.grad = None
        attended = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scale, **options)
        attended.backward(g)
        return [x.grad.numpy() for x in (q, k, v)]

    return call


def exactly(n: int, threads: int) -> None:
    rows = []
    clock = time.process_time if threads == 1 else time.perf_counter  # other work moves the former little
    for name in ("float32", "float64"):
        for causal in (False, True):
            rng = np.random.default_rng(0)
            q, k, v, g = (rng.standard_normal((1, 8, n, 64)).astype(name) for _ in range(4))
            output, lse = attention.exact(q, k, v, is_causal=causal, return_lse=True, threads=threads)
            theirs = of_torch((q, k, v, g), None, {"is_causal": causal}, threads)

            def forward(q: Any = q, k: Any = k, v: Any = v, causal: bool = causal) -> Any:
                return attention.exact(q, k, v, is_causal=causal, return_lse=True, threads=threads)

            def backward(
                arrays: Any = (q, k, v, output, lse, g), causal: bool = causal
            ) -> Any:  # fmt: skip
                return attention_gradient.exact(*arrays, is_causal=causal, threads=threads)

            seconds = interleaved({"torch": theirs, "forward": forward, "backward": backward}, _ROUNDS, clock)
            row: dict[str, Any] = {"dtype": name, "causal": causal}
            for statistic in ("min", "median"):
                whole = seconds["forward"][statistic] + seconds["backward"][statistic]
                row |= {
                    f"torch s {statistic}": seconds["torch"][statistic],
                    f"both s {statistic}": whole,
                    f"torch/both {statistic}": seconds["torch"][statistic] / whole,
                    f"torch/backward {statistic}": seconds["torch"][statistic] / seconds["backward"][statistic],
                }
            rows.append(row)
    publish("exact_gradient", rows, f"(1, 8, {n}, 64), threads: {threads}; {clock.__name__}")


def ratios(n: int) -> None:
    """One thread each, in seconds of processor time, which other work on the machine moves little."""
    rows = []
    for d, bound, options in _ROWS:
        arrays, scale = drawn(n, d, bound), 1.0 / d
        row: dict[str, Any] = {"d": d, "B": bound, "mask": next(iter(options), "none")}
        if "window" in options:  # torch has no window; our exact kernel says what to ask for
            expected = attention_gradient.exact(*arrays[:3], None, None, arrays[3], scale=scale, **options)
            once = float("nan")
        else:
            call = of_torch(arrays, scale, options, threads=1)
            begun = time.process_time()
            expected = call()
            once = time.process_time() - begun  # seconds, so that once is enough
        error = asked(expected)
        found = fast(arrays, error, scale, options, threads=1)
        times = []
        for _ in range(_ROUNDS):
            begun = time.process_time()
            found = fast(arrays, error, scale, options, threads=1)
            times.append(time.process_time() - begun)
        row |= {"route": found.query.route.split(", scores")[0], "torch s": once, "fast s": statistics.median(times)}
        row |= {"fast min": min(times), "torch / fast": once / statistics.median(times)}
        for name, one, other, most in zip(("dQ", "dK", "dV"), found, expected, error, strict=True):
            difference = np.abs(one.value.astype(np.float64) - other)
            row[f"{name} certified / true, of asked"] = f"{one.error.max() / most:.2g} / {difference.max() / most:.2g}"
        rows.append(row)
        print(row, flush=True)
    note = f"n = {n}, ε = {_RELATIVE:g} of the signal, float32, a thread each, processor time"
    publish("fast_gradient", rows, note)


def exponent(most: int) -> None:
    rows, slopes = [], []
    for d, bound, options in _ROWS[:3]:
        scale = 1.0 / d
        some = drawn(_ASKED, d, bound)
        error = asked(attention_gradient.exact(*some[:3], None, None, some[3], scale=scale, **options))
        lengths, seconds = [1 << j for j in range(12, most + 1)], []
        for n in lengths:
            arrays = drawn(n, d, bound)
            rounds = []
            for _ in range(3):
                begun = time.perf_counter()
                found = fast(arrays, error, scale, options)
                rounds.append(time.perf_counter() - begun)
            seconds.append(min(rounds))
            row = {"d": d, "B": bound, "mask": next(iter(options), "none"), "n": n, "s": seconds[-1]}
            rows.append({**row, "route": found.query.route.split(", scores")[0]})
        slope = float(np.polyfit(np.log(lengths), np.log(seconds), 1)[0])
        later = float(np.polyfit(np.log(lengths[len(lengths) // 2 :]), np.log(seconds[len(lengths) // 2 :]), 1)[0])
        slopes.append(f"d = {d}{' causal' if options else ''}: n^{slope:.2f}, the longer half n^{later:.2f}")
    publish("fast_gradient_exponent", rows, f"{'; '.join(slopes)}; least of 3")


def memory(n: int) -> None:
    rows = []
    for number in range(3):
        command = [sys.executable, __file__, "memory-of", "--n", str(n), "--row", str(number)]
        rows.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout))
    publish("fast_gradient_memory", rows, "a process each")


def memory_of(n: int, number: int) -> None:
    """One process: MiB by which the peak of the resident memory grows, without the results and their errors."""
    d, bound, options = _ROWS[number]
    some = drawn(_ASKED, d, bound)
    error = asked(attention_gradient.exact(*some[:3], None, None, some[3], scale=1.0 / d, **options))
    fast(some, error, 1.0 / d, options)  # compiled kernels are no part of it
    arrays = drawn(n, d, bound)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    found = fast(arrays, error, 1.0 / d, options)
    seconds = time.perf_counter() - begun
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    results = sum(one.value.nbytes + one.error.nbytes for one in found)
    row = {"d": d, "mask": next(iter(options), "none"), "n": n, "s": seconds}
    row |= {
        "peak MiB": grown / _MIB,
        "results and errors MiB": results / _MIB,
        "inputs MiB": 4 * arrays[0].nbytes / _MIB,
    }
    print(json.dumps(row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["exact", "ratios", "exponent", "memory", "memory-of"])
    parser.add_argument("--n", type=int)
    parser.add_argument("--most", type=int, default=20, help="exponent: the largest power of two")
    parser.add_argument("--threads", type=int, default=_THREADS, help="exact: with one, seconds of the processor")
    parser.add_argument("--row", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.part == "exact":
        exactly(chosen.n or 4096, chosen.threads)
    elif chosen.part == "ratios":
        ratios(chosen.n or 1 << 16)
    elif chosen.part == "exponent":
        exponent(chosen.most)
    elif chosen.part == "memory":
        memory(chosen.n or 1_000_000)
    else:
        memory_of(chosen.n or 1_000_000, chosen.row)


if __name__ == "__main__":
    main()
