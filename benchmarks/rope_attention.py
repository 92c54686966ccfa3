"""Attention with relative positions: the certified near-linear routes against our exact tiled kernel.

Entries of Q and K are uniform in [−B, B], those of W in [−1, 1], V is normal; d = d_v = 4, scale 1/d, float32, and the
requested error is ε·max|V|, ε = 1e-4.

    python benchmarks/rope_attention.py ratios [--sizes 65536 262144]     W on the diagonal, |S| = d = 4
    python benchmarks/rope_attention.py exponent [--most 20]              of n from 2^12, in seconds
    python benchmarks/rope_attention.py memory [--n 1000000]              beyond inputs and outputs
    python benchmarks/rope_attention.py mechanisms [--n 65536]            one route for every mechanism
    python benchmarks/rope_attention.py routes [--most 16]                which route the router takes, and which wins
    python benchmarks/rope_attention.py heads [--tokens 256]              a small rotary model on a real text

The exact kernel answers the first of the queries where that takes long, and its time is counted for all of them; they
are its slowest under no mask, where all queries cost the same, and nowhere else is it cut.  Two threads each.
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from timing import interleaved, publish

from assay.impl.cpu import rope_attention
from assay.spec.approximation import Infeasible
from assay.spec.rope_attention import Instance, define
from assay.spec.rope_attention.bias import alibi, t5

if TYPE_CHECKING:
    from collections.abc import Callable

_THREADS = 2
_ROUNDS = 5
_D = 4
_RELATIVE = 1e-4
_DIAGONAL = tuple((a, a) for a in range(_D))
_PAIRS = 1 << 29  # queries times keys that the exact kernel answers
_JUDGED = 16  # rows compared with the definition
_MIB = 1 << 20


def drawn(n: int, bound: float) -> tuple[np.ndarray[Any, Any], ...]:
    """Q, K and V."""
    rng = np.random.default_rng(0)
    q, k = (rng.uniform(-bound, bound, (1, 1, n, _D)).astype(np.float32) for _ in range(2))
    return q, k, rng.standard_normal((1, 1, n, _D)).astype(np.float32)


def weights(n: int, places: int = _D) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).uniform(-1, 1, (places, 2 * n - 1)).astype(np.float32)


def rotations(n: int) -> np.ndarray[Any, Any]:
    """The rotary W itself, for the layout of pairs: (cos, sin, −sin, cos) of every block."""
    apart = np.arange(2 * n - 1) - (n - 1.0)
    rows = []
    for block in range(_D // 2):
        angle = apart * 10000.0 ** (-2 * block / _D)
        rows += [np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)]
    return np.array(rows, np.float32)


def mechanisms(n: int) -> dict[str, dict[str, Any]]:
    ones = {"relative": np.ones((_D, 2 * n - 1), np.float32), "support": _DIAGONAL}
    blocks = tuple((2 * b + i, 2 * b + j) for b in range(_D // 2) for i in range(2) for j in range(2))
    table = np.random.default_rng(2).standard_normal((32, 1)).astype(np.float32)
    return {
        "causal": {**ones, "is_causal": True},
        "window of n/8, causal": {**ones, "is_causal": True, "window": (n // 8, None)},
        "ALiBi of slope 1/256, causal": {**ones, "is_causal": True, "relative_bias": alibi([2.0**-8], n, n)},
        "T5 bias": {**ones, "relative_bias": t5(table, n, n)},
        "rotary, causal": {"is_causal": True},
        "rotary and ALiBi, causal": {"is_causal": True, "relative_bias": alibi([2.0**-8], n, n)},
        "general W, diagonal": {"relative": weights(n), "support": _DIAGONAL},
        "rotary W as a general one": {"relative": rotations(n), "support": blocks, "layout": "halves"},
    }


def stated(route: str, pattern: str) -> str:
    found = re.search(pattern, route)
    return found[1] if found else "–"


def true_error(arrays: tuple[Any, ...], options: dict[str, Any], value: Any) -> float:
    """The largest of the last queries, against the definition."""
    (q, k, v), n = arrays, arrays[0].shape[2]
    first, rows = n - min(_JUDGED, n), min(_JUDGED, n)
    part = dict(options)
    for name in ("relative", "relative_bias"):
        if name in part:
            part[name] = part[name][:, first : first + n + rows - 1]
    if part.pop("is_causal", False):
        part["causal"] = "bottom-right"
    if "relative" not in part:
        part["query_positions"] = np.arange(first, n)
    if part.get("window") and part.get("causal") is None:
        raise ValueError("a window without a causal mask is not shifted")
    exact = define(Instance(q[:, :, first:], k, v, scale=1.0 / _D, **part), relative=1e-9)
    return float(np.abs(value[:, :, first:].astype(np.float64) - exact.midpoint).max())


def exact_call(arrays: tuple[Any, ...], options: dict[str, Any]) -> tuple[Callable[[], Any], float]:
    """The exact kernel on as many queries as it may answer, and how many times as long all of them take."""
    (q, k, v), n = arrays, arrays[0].shape[2]
    masked = options.get("is_causal") or options.get("window")
    rows = n if masked else min(n, max(256, _PAIRS // n))
    part = dict(options)
    for name in ("relative", "relative_bias"):
        if name in part:
            part[name] = part[name][:, : rows + n - 1]
    return (
        lambda: rope_attention.exact(q[:, :, :rows], k, v, scale=1.0 / _D, threads=_THREADS, **part),
        n / rows,
    )


def compared(n: int, bound: float, options: dict[str, Any], route: str, rounds: int = _ROUNDS) -> dict[str, Any]:
    arrays = drawn(n, bound)
    error = _RELATIVE * float(np.abs(arrays[2]).max())

    def ours() -> Any:
        return rope_attention.approximate(
            *arrays, error=error, scale=1.0 / _D, route=route, threads=_THREADS, memory=1 << 31, **options
        )

    found = ours()
    exact, times_as_many = exact_call(arrays, options)
    times = interleaved({"ours": ours, "exact": exact}, rounds)
    quick, slow = times["ours"]["median"], times["exact"]["median"] * times_as_many
    return {
        "degree": stated(found.route, r"degree (\d+)"),
        "pairs or rank": stated(found.route, r"(?:, |rank )(\d+)(?: pairs|,)"),
        "s": quick,
        "min s": times["ours"]["min"],
        "exact s": slow,
        "exact / ours": slow / quick,
        "of minima": times["exact"]["min"] * times_as_many / times["ours"]["min"],
        "certified / asked": float(found.error.max()) / error,
        "true / asked": true_error(arrays, options, found.value) / error,
        "route": found.route.split(":")[0],
    }


def ratios(sizes: list[int]) -> None:
    rows = []
    for n in sizes:
        for bound in (0.5, 1.0):
            print(f"n = {n}, B = {bound}", file=sys.stderr, flush=True)
            options = {"relative": weights(n), "support": _DIAGONAL}
            rows.append({"n": n, "B": bound} | compared(n, bound, options, "fourier"))
    publish("rope_attention_ratios", rows, f"general W, |S| = d = d_v = 4, ε = 1e-4 of max|V|; {_ROUNDS} rounds")


def exponent(most: int) -> None:
    rows, sizes, seconds = [], [], []
    for power in range(12, most + 1):
        n = 1 << power
        arrays, w = drawn(n, 0.5), weights(n)
        error = _RELATIVE * float(np.abs(arrays[2]).max())

        def ours(arrays: Any = arrays, w: Any = w, error: float = error) -> Any:
            return rope_attention.approximate(
                *arrays, w, error=error, scale=1.0 / _D, support=_DIAGONAL, route="fourier", threads=_THREADS
            )

        found, times = ours(), []
        for _ in range(5):
            begun = time.perf_counter()
            ours()
            times.append(time.perf_counter() - begun)
        sizes.append(n)
        seconds.append(statistics.median(times))
        rows.append({"n": n, "degree": stated(found.route, r"degree (\d+)"), "s": seconds[-1], "min s": min(times)})
        print(rows[-1], file=sys.stderr, flush=True)
    slope = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
    upper = float(np.polyfit(np.log(sizes[4:]), np.log(seconds[4:]), 1)[0])
    publish("rope_attention_exponent", rows, f"time grows like n^{slope:.3f}; from 2^16 on like n^{upper:.3f}")


def memory(n: int) -> None:
    small = drawn(300, 0.5)
    rope_attention.approximate(*small, weights(300), error=0.1, support=_DIAGONAL, route="fourier", threads=_THREADS)
    rows = []
    for allowed in (1 << 30, 1 << 29):
        arrays, w = drawn(n, 0.5), weights(n)
        error = _RELATIVE * float(np.abs(arrays[2]).max())
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        before, begun = resident_peak(), time.perf_counter()
        found = rope_attention.approximate(
            *arrays, w, error=error, scale=1.0 / _D, support=_DIAGONAL, route="fourier", threads=_THREADS,
            memory=allowed,
        )  # fmt: skip
        rows.append(
            {
                "n": n, "allowed MiB": allowed / _MIB, "s": time.perf_counter() - begun,
                "inputs MiB": sum(x.nbytes for x in (*arrays, w)) / _MIB, "output MiB": found.value.nbytes / _MIB,
                "beyond both MiB": (resident_peak() - before - found.value.nbytes) / _MIB,
                "certified / asked": float(found.error.max()) / error,
            }
        )  # fmt: skip
    publish("rope_attention_memory", rows, "general W, |S| = d = d_v = 4")


def resident_peak() -> int:
    """Bytes, since it was last cleared."""
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def table(n: int) -> None:
    rows = []
    for name, options in mechanisms(n).items():
        print(name, file=sys.stderr, flush=True)
        rows.append({"mechanism": name} | compared(n, 0.5, options, "fourier"))
        if name == "rotary, causal":
            rows.append({"mechanism": name} | compared(n, 0.5, options, "polynomial"))
    publish("rope_attention_mechanisms", rows, f"n = {n}, B = 0.5, ε = 1e-4 of max|V|, d = d_v = 4, {_ROUNDS} rounds")


def routes(most: int) -> None:
    rows = []
    for name in mechanisms(8):
        for power in range(10, most + 1, 2):
            n = 1 << power
            options, arrays = mechanisms(n)[name], drawn(n, 0.5)
            error = _RELATIVE * float(np.abs(arrays[2]).max())
            row: dict[str, Any] = {"mechanism": name, "n": n}

            def call(route: str | None, arrays: Any = arrays, options: Any = options, error: float = error) -> Any:
                return rope_attention.approximate(
                    *arrays, error=error, scale=1.0 / _D, route=route, threads=_THREADS, **options
                )

            calls = {}
            for route in rope_attention.ROUTES:
                try:
                    call(route)
                    calls[route] = lambda route=route, call=call: call(route)
                except Infeasible:
                    row[f"{route} s"] = "–"
            times = interleaved(calls, 5)
            for route in rope_attention.ROUTES:
                row[f"{route} s"] = times[route]["median"] if route in times else "–"
            row["wins"] = min(times, key=lambda route: times[route]["median"])
            taken = call(None).route
            row["router"] = "polynomial" if taken.startswith("rotated") else taken.split(":")[0].split()[0]
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    publish("rope_attention_routes", rows, "B = 0.5, ε = 1e-4 of max|V|, d = d_v = 4, float32")


def heads(tokens: int) -> None:
    """Every head of the small model: torch's kernel judged, and the rank that a certificate would need."""
    import torch

    from assay.impl.cpu.attention.choice import geometric_mean, least_errors
    from assay.impl.models import fetch, open_model, standard_text
    from assay.spec import attention

    model = open_model(fetch("smollm2"))
    ids = model.encode(standard_text(), tokens)
    layers: list[Any] = []
    model.hidden(ids, layers.append)
    rows = []
    for layer, given in enumerate(layers):
        row: dict[str, Any] = {"layer": layer}
        for precision, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
            q, k, v = (
                torch.from_numpy(np.ascontiguousarray(x[None])).to(kind) for x in (given.query, given.key, given.value)
            )
            group = q.shape[1] // k.shape[1]
            out = torch.nn.functional.scaled_dot_product_attention(
                q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1), is_causal=True, scale=given.scale
            )
            stored = [x.to(torch.float32).numpy() for x in (q, k, v)]
            instance = attention.Instance(*stored, given.scale, True)
            ratio = attention.define(instance, 1e-12).ratio(
                out.to(torch.float64).numpy(), attention.tolerance(instance, precision)
            )
            row[precision] = float(ratio.max())
            row[f"failing heads, {precision}"] = int((ratio.max(axis=(0, 2, 3)) > 1).sum())
        q, k = given.query.astype(np.float64), given.key.astype(np.float64)
        d, needed = q.shape[2], []
        for head in range(len(q)):
            keys = k[head // (len(q) // len(k))]
            centred = keys - keys.mean(axis=0)
            radius = given.scale * np.linalg.norm(q[head], axis=1).max() * np.linalg.norm(centred, axis=1).max()
            scores = given.scale * np.tril(q[head] @ centred.T)
            second = float((np.square(scores).sum(axis=1) / np.arange(1, len(scores) + 1)).max())
            needed.append((radius, math.sqrt(second), least_degree(radius, second, least_errors, geometric_mean)))
        radii, roots, degrees = zip(*needed, strict=True)
        row |= {
            "scores ≤, least head": min(radii), "largest head": max(radii), "root mean square, least": min(roots),
            "degree, least head": str(min(degrees)) if min(degrees) < math.inf else "> 64",
            "rank, least head": f"{math.comb(d + int(min(degrees)), d):.1e}" if min(degrees) < math.inf else "–",
            "heads with a degree": sum(degree < math.inf for degree in degrees),
        }  # fmt: skip
        rows.append(row)
    publish("rope_attention_heads", rows, f"SmolLM2-135M-Instruct, {tokens} tokens of English, ε = 1e-3 of range(V)")


def least_degree(radius: float, second: float, least_errors: Any, geometric_mean: Any) -> float:
    """The least degree that norms or the second moment would allow for an error of 1e-3 of range(V)."""
    if radius > 40.0:
        return math.inf
    for degree, error in enumerate(least_errors(float(radius))):
        ratios = (2.0 ** (k / 2) for k in range(11))
        by_moment = min(error / geometric_mean(2, t) * (1 + second * (t / radius) ** 2) for t in ratios)
        if min(error, by_moment if degree >= 2 else math.inf) <= 2e-3:
            return degree
    return math.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("ratios", "exponent", "memory", "mechanisms", "routes", "heads"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[65536, 262144])
    parser.add_argument("--n", type=int)
    parser.add_argument("--most", type=int)
    parser.add_argument("--tokens", type=int, default=256)
    chosen = parser.parse_args()
    {
        "ratios": lambda: ratios(chosen.sizes),
        "exponent": lambda: exponent(chosen.most or 20),
        "memory": lambda: memory(chosen.n or 1_000_000),
        "mechanisms": lambda: table(chosen.n or 65536),
        "routes": lambda: routes(chosen.most or 16),
        "heads": lambda: heads(chosen.tokens),
    }[chosen.part]()


if __name__ == "__main__":
    main()
