"""Attention of order k on the CPU, exact, differentiated and approximate, against torch and simplicial-attention.

    python benchmarks/tensor_attention.py exact                  order 3, n = 256 and 512, d = 16
    python benchmarks/tensor_attention.py windows                against gathered torch; the exponent of n
    python benchmarks/tensor_attention.py backward               against torch autograd of the dense form
    python benchmarks/tensor_attention.py memory                 MiB beyond inputs and results: exact, approximate
    python benchmarks/tensor_attention.py approximate            order 3, d = 4, B = 1, ε = 1e-6; orders 2 to 5
    python benchmarks/tensor_attention.py phase                  which B a rank of at most n serves, by order
    python benchmarks/tensor_attention.py certificates [--cases 10000]    exit status 1 if one is below the truth

The peers, in float32: ``dense`` multiplies keys and values of all pairs out and attends to them by two matrix products
and a softmax; ``sdpa`` hands the same products to torch's scaled_dot_product_attention; ``einsum`` is three-operand
torch.einsum; ``simplicial`` is simplicial-attention's naive_two_simplicial_attend (Wang 2025, PyPI), which contracts
by opt_einsum.  A thread each, and seconds of processor time.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
from timing import interleaved, publish

from assay.impl.cpu import features, tensor_attention, tensor_attention_gradient
from assay.spec.approximation import Infeasible, exp_of_degree
from assay.spec.attention.perturbation import output_error

_THREADS = 1  # on a machine that other work shares, threads of torch wait for each other and disturb what follows
_ROUNDS = 7
_MIB = 1 << 20
_ERROR = 1e-6
_WINDOWS = (64, 32)


def drawn(n: int, d: int, order: int = 3, dtype: str = "float32", d_v: int | None = None) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, (1, 1, n, d)) for _ in range(order)]
    arrays += [rng.standard_normal((1, 1, n, d_v or d)) for _ in range(order - 1)]
    return [x.astype(dtype) for x in arrays]


def products(one: Any, other: Any) -> Any:
    return (one[:, :, :, None] * other[:, :, None]).flatten(2, 3)


def dense(q: Any, k: Any, l: Any, v: Any, w: Any) -> Any:  # noqa: E741
    import torch

    score = (q * q.shape[3] ** -0.5) @ products(k, l).transpose(-1, -2)
    return torch.softmax(score, -1) @ products(v, w)


def sdpa(q: Any, k: Any, l: Any, v: Any, w: Any) -> Any:  # noqa: E741
    import torch

    return torch.nn.functional.scaled_dot_product_attention(q, products(k, l), products(v, w))


def einsum(q: Any, k: Any, l: Any, v: Any, w: Any) -> Any:  # noqa: E741
    import torch

    score = torch.einsum("bhic,bhjc,bhkc->bhijk", q * q.shape[3] ** -0.5, k, l)
    weight = torch.softmax(score.flatten(3), -1).view_as(score)
    return torch.einsum("bhijk,bhjc,bhkc->bhic", weight, v, w)


def simplicial(q: Any, k: Any, l: Any, v: Any, w: Any) -> Any:  # noqa: E741
    from simplicial_attention.simplicial_attention import naive_two_simplicial_attend

    return naive_two_simplicial_attend(q, (k, l), (v, w))


def gathered(q: Any, k: Any, l: Any, v: Any, w: Any) -> Any:  # noqa: E741
    """The windows of 2-simplicial attention by gathering: query i attends to j in (i − w1, i] and k in (i − w2, i]."""
    import torch

    n, d = q.shape[2:]
    at = [torch.arange(n)[:, None] - torch.arange(width - 1, -1, -1)[None] for width in _WINDOWS]
    k, v = (x[:, :, at[0].clamp(min=0)] for x in (k, v))
    l, w = (x[:, :, at[1].clamp(min=0)] for x in (l, w))  # noqa: E741
    score = (k * (q * d**-0.5)[:, :, :, None]) @ l.transpose(-1, -2)
    hidden = (at[0] < 0)[:, :, None] | (at[1] < 0)[:, None]
    weight = torch.softmax(score.masked_fill(hidden, -math.inf).flatten(3), -1).view_as(score)
    return ((weight @ w) * v).sum(3)


def exactly() -> None:
    import torch

    torch.set_num_threads(_THREADS)
    rows = []
    for n in (256, 512):
        arrays = drawn(n, 16)
        tensors = [torch.tensor(x) for x in arrays]
        expected = dense(*(x.double() for x in tensors)).numpy()
        peers = {"dense": dense, "einsum": einsum, "simplicial": simplicial, "sdpa": sdpa}
        calls: dict[str, Any] = {"ours": lambda arrays=arrays: tensor_attention.exact(*arrays, threads=_THREADS)}
        calls |= {name: functools.partial(peer, *tensors) for name, peer in peers.items()}
        with torch.no_grad():
            seconds = interleaved(calls, _ROUNDS, time.process_time)
        for name, call in calls.items():
            row: dict[str, Any] = {"n": n, "d": 16, "kernel": name, **{f"s {k}": v for k, v in seconds[name].items()}}
            row |= {f"× ours {k}": v / seconds["ours"][k] for k, v in seconds[name].items()}
            row["error"] = float(np.abs(np.asarray(call()) - expected).max())
            rows.append(row)
    publish("tensor_attention_exact", rows, f"float32, order 3, {_THREADS} thread")


def windowed() -> None:
    import torch

    torch.set_num_threads(_THREADS)
    options = {"is_causal": True, "window": _WINDOWS, "threads": _THREADS}
    rows = []
    for n in (1024, 2048, 4096):
        arrays = drawn(n, 16)
        tensors = [torch.tensor(x) for x in arrays]
        ours = functools.partial(tensor_attention.exact, *arrays, **options)
        theirs = functools.partial(gathered, *tensors)
        with torch.no_grad():
            seconds = interleaved({"ours": ours, "gathered": theirs}, _ROUNDS, time.process_time)
            difference = float(np.abs(ours() - theirs().numpy()).max())
        row: dict[str, Any] = {"n": n, "windows": str(_WINDOWS)}
        row |= {f"{name} s {k}": v for name, times in seconds.items() for k, v in times.items()}
        row |= {f"ratio {k}": seconds["gathered"][k] / seconds["ours"][k] for k in ("min", "median")}
        rows.append({**row, "difference": difference})
    lengths = [1 << j for j in range(10, 16)]
    times = []
    for n in lengths:
        arrays = drawn(n, 16)
        times.append(min(clocked(functools.partial(tensor_attention.exact, *arrays, **options)) for _ in range(3)))
    slope = float(np.polyfit(np.log(lengths), np.log(times), 1)[0])
    note = f"float32, d = 16, causal, {_THREADS} thread; n^{slope:.2f} from {lengths[0]} to {lengths[-1]}"
    publish("tensor_attention_windows", rows, f"{note}")


def repeated(call: Any, times: int) -> None:
    for _ in range(times):
        call()


def clocked(call: Any) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


def backward() -> None:
    import torch

    torch.set_num_threads(_THREADS)
    rows = []
    for n in (128, 256):
        *arrays, gradient = [*drawn(n, 16), drawn(n, 16)[4]]
        tensors, incoming = [torch.tensor(x, requires_grad=True) for x in arrays], torch.tensor(gradient)
        output, lse = tensor_attention.exact(*arrays, return_lse=True, threads=_THREADS)

        def whole(tensors: Any = tensors, incoming: Any = incoming) -> Any:
            for x in tensors:
                x.grad = None
            dense(*tensors).backward(incoming)
            return [x.grad.numpy() for x in tensors]

        def forward(tensors: Any = tensors) -> Any:
            return dense(*tensors)

        def ours(arrays: Any = arrays, gradient: Any = gradient) -> Any:
            output, lse = tensor_attention.exact(*arrays, return_lse=True, threads=_THREADS)
            return tensor_attention_gradient.exact(*arrays, output, lse, gradient, threads=_THREADS)

        behind = functools.partial(tensor_attention_gradient.exact, *arrays, output, lse, gradient, threads=_THREADS)
        seconds = interleaved(
            {"torch": whole, "torch forward": forward, "ours": ours, "backward": behind}, _ROUNDS, time.process_time
        )
        row: dict[str, Any] = {"n": n, "d": 16}
        for k in ("min", "median"):
            row |= {f"ours s {k}": seconds["ours"][k], f"torch s {k}": seconds["torch"][k]}
            row[f"both ratio {k}"] = seconds["torch"][k] / seconds["ours"][k]
            alone = seconds["torch"][k] - seconds["torch forward"][k]
            row[f"backward ratio {k}"] = alone / seconds["backward"][k]
        row["difference"] = max(
            float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(ours(), whole(), strict=True)
        )
        rows.append(row)
    note = "both: forward and backward pass; backward: torch's both less its forward pass, against our backward pass"
    publish("tensor_attention_backward", rows, f"float32, order 3, {_THREADS} thread; {note}")


def memory() -> None:
    rows = []
    for part, n in (("exact", 1024), ("gradient", 512), ("approximate", 100_000), ("approximate", 1_000_000)):
        command = [sys.executable, __file__, "memory-of", "--part", part, "--n", str(n)]
        rows.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout))
    publish("tensor_attention_memory", rows, f"order 3, {_THREADS} thread, a process each")


def memory_of(part: str, n: int) -> None:
    """One process: MiB by which the peak of the resident memory grows, the results left out."""
    d = 4 if part == "approximate" else 16
    dtype = "float64" if part == "approximate" else "float32"

    def call(arrays: list[np.ndarray]) -> Any:
        if part == "exact":
            return [tensor_attention.exact(*arrays, threads=_THREADS)]
        if part == "gradient":
            return tensor_attention_gradient.exact(*arrays, None, None, arrays[4], threads=_THREADS)
        found = tensor_attention.approximate(*arrays, scale=1 / d, error=_ERROR, fallback="raise", threads=_THREADS)
        return [found.value]

    call(drawn(64, d, 3, dtype))  # compiled kernels are no part of it
    arrays = drawn(n, d, 3, dtype)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    results = call(arrays)
    seconds = time.perf_counter() - begun
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    row = {"what": part, "n": n, "d": d, "s": seconds, "MiB beyond results": grown / _MIB}
    row["MiB beyond results"] -= sum(x.nbytes for x in results) / _MIB
    row |= {"inputs MiB": sum(x.nbytes for x in arrays) / _MIB, "dense scores MiB": arrays[0].itemsize * n**3 / _MIB}
    print(json.dumps(row))


def approximately() -> None:
    rows = []
    arrays = drawn(256, 4, 3, "float64")
    options: dict[str, Any] = {"scale": 0.25, "threads": 1}
    fast = functools.partial(tensor_attention.approximate, *arrays, error=_ERROR, fallback="raise", **options)
    slow = functools.partial(tensor_attention.exact, *arrays, **options)
    ten = functools.partial(repeated, fast, 10)  # in a row: one call of a millisecond would find cold caches
    seconds = interleaved({"exact": slow, "approximate": ten}, _ROUNDS, time.process_time)
    seconds["approximate"] = {k: v / 10 for k, v in seconds["approximate"].items()}
    found = fast()
    row: dict[str, Any] = {"order": 3, "n": 256, "route": found.route.split(", scores")[0]}
    row |= {"s": seconds["approximate"]["min"], "certified": float(found.error.max())}
    row |= {"true": float(np.abs(found.value - slow()).max())}
    row |= {f"exact / it {k}": seconds["exact"][k] / seconds["approximate"][k] for k in ("min", "median")}
    rows.append(row)
    slopes = []
    for order in (2, 3, 4, 5):
        lengths = [1000, 3162, 10_000, 31_623, 100_000, 316_228, 1_000_000] if order == 3 else [10_000, 100_000]
        times = []
        for n in lengths:
            arrays = drawn(n, 4, order, "float64")
            call = functools.partial(
                tensor_attention.approximate, *arrays, error=_ERROR, fallback="raise", scale=0.25, threads=1
            )
            call()
            times.append(min(clocked(call) for _ in range(3)))
            found = call()
            few = [arrays[0][:, :, :2], *arrays[1:]]
            row = {"order": order, "n": n, "route": found.route.split(", scores")[0], "s": times[-1]}
            row["certified"] = float(found.error.max())
            exact = tensor_attention.exact(*few, scale=0.25) if n ** (order - 1) <= 1e8 else None
            row["true"] = "–" if exact is None else float(np.abs(found.value[:, :, :2] - exact).max())
            rows.append({**row, "exact / it min": "–", "exact / it median": "–"})
        if order == 3:
            longer = len(lengths) // 2
            slopes = [float(np.polyfit(np.log(lengths[at:]), np.log(times[at:]), 1)[0]) for at in (0, longer)]
    note = f"order 3: n^{slopes[0]:.2f}, the longer half n^{slopes[1]:.2f}; float64, d = 4, B = 1, ε = {_ERROR:g}"
    publish("tensor_attention_approximate", rows, f"{note}, a thread")


def phase() -> None:
    """For d = log₂ n: the largest B whose scores, up to B^k, a polynomial of rank at most n serves to 1e-3·range(V)."""
    rows = []
    for power in (10, 12, 14, 16, 18, 20):
        n = d = power
        n = 1 << power
        degree = max(g for g in range(64) if features.rank(d, g) <= n)
        low, high = 0.0, 8.0
        for _ in range(12):
            middle = (low + high) / 2
            good = output_error(min(exp_of_degree(middle, degree).error, 1.0)) <= 1e-3
            low, high = (middle, high) if good else (low, middle)
        for order in (2, 3, 4, 5):
            bound = low ** (1.0 / order)
            row: dict[str, Any] = {"n": n, "d": d, "degree": degree, "rank": features.rank(d, degree), "order": order}
            row |= {"scores up to": low, "largest B": bound, "B / (ln n)^(1/k)": bound / math.log(n) ** (1.0 / order)}
            for factor in (0.95, 1.1):  # on both sides of the line: all entries ±B, the worst case for norms
                row[f"certified at {factor} B"] = attempted(order, d, factor * bound, degree)
            rows.append(row)
    publish("tensor_attention_phase", rows, "scale 1/d, entries ±B, error 1e-3 of range(V)")


def attempted(order: int, d: int, bound: float, degree: int) -> str:
    """The degree that ``approximate`` takes for 64 points with all entries ±B by norms alone, or why it refuses."""
    rng = np.random.default_rng(0)
    arrays = [bound * rng.choice([-1.0, 1.0], (1, 1, 64, 1)) * np.ones(d) for _ in range(order)]
    arrays += [rng.choice([-1.0, 1.0], (1, 1, 64, 1)) for _ in range(order - 1)]
    try:
        found = tensor_attention.approximate(*arrays, scale=1 / d, error=2e-3, fallback="raise", memory=1 << 34)
    except Infeasible as reason:
        return str(reason)[:40]
    taken = int(found.route.split("degree ")[1].split(",")[0])
    return f"degree {taken}" + ("" if taken <= degree else " (rank > n)")


def certificates(cases: int) -> None:
    worst, counts, below = 0.0, {"certified": 0, "refused": 0}, 0
    seed = 0
    while counts["certified"] < cases:
        seed += 1
        rng = np.random.default_rng(seed)
        order, d, d_v = int(rng.integers(2, 6)), int(rng.integers(1, 5)), int(rng.integers(1, 4))
        most = {2: 40, 3: 16, 4: 9, 5: 6}[order]
        n_q, *lengths = (int(x) for x in rng.integers(1, most, order))
        size = rng.uniform(0.05, 1.5)
        query = size * pattern(rng, n_q, d)
        keys = [pattern(rng, n, d) for n in lengths]
        values = [rng.standard_normal((n, d_v)) * 10.0 ** rng.uniform(-6, 6, d_v) for n in lengths]
        if rng.random() < 0.3:  # the sharp case of ATT-2: two groups
            values = [np.where(key[:, :1] > 0, 1.0, 0.0) * np.ones(d_v) for key in keys]
        dtype = ("float64", "float32")[seed % 2]
        arrays = [x.astype(dtype)[None, None] for x in (query, *keys, *values)]
        scale, largest = float(rng.choice([1.0, -0.5, 1 / 3])), math.prod(float(np.abs(x).max()) for x in values)
        error = max(largest, 1e-30) * 10.0 ** rng.uniform(-10, 0)
        try:
            found = tensor_attention.approximate(*arrays, scale=scale, error=error, fallback="raise", threads=1)
        except Infeasible:
            counts["refused"] += 1
            continue
        counts["certified"] += 1
        long = [x.astype(np.longdouble)[0, 0] for x in arrays]
        key, value = (
            functools.reduce(lambda a, b: (a[:, None] * b[None]).reshape(-1, a.shape[1]), modes)
            for modes in (long[1:order], long[order:])
        )
        weight = np.exp(np.longdouble(scale) * long[0] @ key.T)
        ratio = np.abs(found.value[0, 0] - weight @ value / weight.sum(axis=1)[:, None]) / found.error[0, 0]
        worst, below = max(worst, float(ratio.max())), below + bool((ratio > 1).any() or found.error.max() > error)
    publish(
        "tensor_attention_certificates", [{**counts, "below the truth": below, "largest error / certificate": worst}]
    )
    sys.exit(below > 0)


def pattern(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    kind = rng.integers(4)
    if kind == 0:
        return rng.uniform(-1, 1, (n, d))
    if kind == 1:  # scores at the ends of the range that norms allow
        return rng.choice([-1.0, 1.0], (n, 1)) * np.ones(d)
    if kind == 2:  # a few large points: moments far above what the sampled scores say
        return rng.uniform(-1, 1, (n, d)) * np.where(rng.random((n, 1)) < 0.1, 1.0, 0.05)
    return rng.choice([-1.0, 1.0], (n, d)) * 10.0 ** rng.uniform(-3, 0, d)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {
        "exact": exactly, "windows": windowed, "backward": backward, "memory": memory, "approximate": approximately,
        "phase": phase,
    }  # fmt: skip
    parser.add_argument("what", choices=[*parts, "certificates", "memory-of"])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--part", default="exact")
    parser.add_argument("--n", type=int, default=1024)
    chosen = parser.parse_args()
    if chosen.what == "certificates":
        certificates(chosen.cases)
    elif chosen.what == "memory-of":
        memory_of(chosen.part, chosen.n)
    else:
        parts[chosen.what]()


if __name__ == "__main__":
    main()
