"""The polynomial method, its certificate included, against PyTorch's scaled_dot_product_attention and our exact kernel.

Entries of Q and K are uniform in [−B, B], V = sin(3KW/√d) depends on K, scale 1/d; two threads each.  The requested
error is ε·max|out − mean V|, below which the mean of V is no answer, or where a row says so ε·max|V|.

    python benchmarks/fast_attention.py ratios [--n 65536] [--rows 1 2 …]
    python benchmarks/fast_attention.py crossovers [--most 15] [--rows 1 2 …]    n from which it is faster than torch
    python benchmarks/fast_attention.py exponent [--most 22] [--rows 1 2 …]      of n, in seconds
    python benchmarks/fast_attention.py memory [--sizes n …] [--rows 1 2 …]      beyond inputs and outputs
    python benchmarks/fast_attention.py model                                    nanoseconds of one core, for the router
    python benchmarks/fast_attention.py quadratics                               what degree 2 could be certified for

Warm is a call like the one before.  Cold is the first call for its numbers in a process that has made one for others:
compiled kernels are loaded, but the polynomial is neither found nor proved, and tables are not made.  "–" stands where
the polynomial route is refused, for reasons that follow the table.  Where other work takes one of two cores, torch's
threads wait for each other, 8 ms at a time: ratios of medians mean something on a quiet machine only.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from timing import interleaved, publish

from assay.impl.cpu import attention, features
from assay.impl.cpu.kurtosis import kurtosis
from assay.spec.approximation import Infeasible
from assay.spec.attention import Instance, define

if TYPE_CHECKING:
    from collections.abc import Callable

    Arrays = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]

_THREADS = 2
_ROUNDS = 5
_COLD_RUNS = 3
_PAIRS = 1 << 32  # ratios: queries times keys; beyond it torch answers some of the queries, and its time counts for all
_PART = 8  # ratios: our exact kernel answers one in eight of the queries that torch does
_JUDGED = 64  # rows compared with the definition
_BLOCK = 1 << 16  # points made at a time: no more than the inputs is ever held
_MOST_RANK = 500  # crossovers: beyond it, far from where a call costs more than its work
_LEAST, _MOST = 8, 15  # crossovers: powers of two tried
_EXPONENTS = range(12, 23)
_ASKED = 1 << 12  # exponent, memory: the length whose requested error stands for all
_LONGEST = 30.0  # exponent: seconds of a call after which no longer one is made
_SIZES = (1 << 16, 1 << 20, 1 << 22, 10_000_000)
_MIB = 1 << 20
_QUERIES, _RENEWED = 4, 12  # quadratics: of each length; weights
_NOT = "–"
_MEASURED = (
    "rank", "degree", "warm s", "warm min", "cold s", "torch s", "torch min", "exact s",
    "torch / warm", "torch / cold", "exact / warm", "certified / asked", "true / asked",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What is asked, n apart."""

    dtype: str
    d: int
    bound: float
    relative: float
    of_values: bool = False  # the error is relative to max|V|

    def __str__(self) -> str:
        return f"{self.dtype}, d = {self.d}, B = {self.bound:g}, ε = {self.asked}"

    @property
    def asked(self) -> str:
        return f"{self.relative:.0e}".replace("e-0", "e-") + " of max|V|" * self.of_values

    @property
    def scale(self) -> float:
        return 1.0 / self.d

    def columns(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "d": self.d, "B": self.bound, "ε": self.asked}


ROWS = (
    Row("float32", 2, 1.0, 1e-6),
    Row("float32", 4, 1.0, 1e-6),
    Row("float32", 8, 0.5, 1e-6),
    Row("float32", 16, 0.5, 1e-3),
    Row("float32", 16, 0.5, 1e-6),
    Row("float32", 64, 1.0, 1e-3),
    Row("float32", 64, 1.0, 1e-3, of_values=True),
    Row("float64", 2, 1.0, 1e-12),
    Row("float64", 4, 0.5, 1e-12),
    Row("float64", 8, 0.5, 1e-6),
)


def drawn(row: Row, n: int) -> Arrays:
    """Q, K and V."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((row.d, row.d)) / np.sqrt(row.d)
    q, k, v = (np.empty((1, 1, n, row.d), row.dtype) for _ in range(3))
    for first in range(0, n, _BLOCK):
        part = np.s_[0, 0, first : min(first + _BLOCK, n)]
        for x in (q, k):
            x[part] = rng.uniform(-row.bound, row.bound, x[part].shape)
        v[part] = np.sin(3.0 * k[part] @ mixing)
    return q, k, v


def requested(row: Row, arrays: Arrays) -> float:
    """The error to ask for: ``row.relative`` in units of the signal, or of the values."""
    query, key, value = arrays
    if row.of_values:
        return row.relative * float(np.abs(value).max())
    some = query[:, :, : answered(query.shape[2])]
    signal = peer(row, (some, key, value))() - value.mean(axis=2, dtype=np.float64, keepdims=True)
    return row.relative * float(np.abs(signal).max())


def answered(n: int) -> int:
    """The queries that torch answers, of n: their signal is no larger than that of all."""
    return min(n, _PAIRS // n)


def peer(row: Row, arrays: Arrays) -> Callable[[], np.ndarray[Any, Any]]:
    """PyTorch's kernel, ready to be called."""
    import torch  # not above: the processes that measure cold calls do without

    torch.set_num_threads(_THREADS)
    q, k, v = map(torch.from_numpy, arrays)
    return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=row.scale).numpy()


def polynomial(row: Row, arrays: Arrays, error: float) -> Any:
    return attention.approximate(*arrays, error, row.scale, fallback="raise", threads=_THREADS)


def stated(route: str, word: str) -> str:
    """The number that follows a word in the route, or "a to b" where heads differ."""
    found = re.search(rf"{word} (\d+(?: to \d+)?)", route)
    assert found, route
    return found[1]


def said(reasons: dict[str, str]) -> str:
    return "".join(f"\nrefused, {what}: {reason}" for what, reason in reasons.items())


def announce(done: int, total: int, what: object) -> None:
    print(f"[{done + 1}/{total}] {what}", file=sys.stderr, flush=True)


def announce_length(n: int) -> None:
    print(f"  n = {n}", file=sys.stderr, flush=True)


def in_own_process(part: str, row: Row, n: int, error: float) -> dict[str, Any]:
    """What :func:`cold_call` or :func:`memory_of_call` finds in a process of its own."""
    command = [sys.executable, __file__, part, str(ROWS.index(row) + 1), str(n), error.hex()]
    found = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return dict(json.loads(found.stdout))


def cold_seconds(row: Row, n: int, error: float) -> list[float]:
    return [in_own_process("cold", row, n, error)["seconds"] for _ in range(_COLD_RUNS)]


def cold_call(row: Row, n: int, error: float) -> dict[str, Any]:
    """Seconds of a first call, after one for half as many points in fewer dimensions, smaller scores, larger errors."""
    arrays = drawn(row, n)
    q, k, v = (x[:, :, : max(2, n // 2), : max(1, row.d - 1)] for x in arrays)
    larger = max(4.0 * error, 1e-4 * float(np.abs(v).max()))
    attention.approximate(0.6 * q, k, v, larger, row.scale, fallback="raise", threads=_THREADS)
    even = features.Coordinates(np.zeros(2), np.sqrt(3.0) / row.bound, np.eye(2))
    few = k[0, 0, : features.BLOCK, -2:], even, 0, min(n, features.BLOCK)
    fourth, second = features.fourth_moments(*few), features.second_moments(*few)
    kurtosis([fourth], second, few[-1], 0.0)  # which that call may not have needed
    start = time.perf_counter()
    polynomial(row, arrays, error)
    return {"seconds": time.perf_counter() - start}


def memory_of_call(row: Row, n: int, error: float) -> dict[str, Any]:
    """MiB by which the peak of the resident memory grows in a call, without its output."""
    q, k, v = (x[:, :, :, :1] for x in drawn(row, 300))
    attention.approximate(q, k, v, 0.1, fallback="raise", threads=_THREADS)  # compiled kernels are no part of it
    arrays = drawn(row, n)
    # Of Linux: there ru_maxrss would do no better than the peak of the process that started this one
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = resident_peak()
    start = time.perf_counter()
    try:
        found = polynomial(row, arrays, error)
    except Infeasible as reason:
        return {"refused": str(reason)}
    return {
        "rank": stated(found.route, "rank"),
        "inputs MiB": sum(x.nbytes for x in arrays) / _MIB,
        "output MiB": found.value.nbytes / _MIB,
        "beyond both MiB": (resident_peak() - before - found.value.nbytes) / _MIB,
        "s": time.perf_counter() - start,
    }


def resident_peak() -> int:
    """Bytes, since it was last cleared."""
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def compared(row: Row, n: int) -> dict[str, Any]:
    """One row of the table of ratios.  Raises :class:`Infeasible`."""
    arrays = drawn(row, n)
    q, k, v = arrays
    count = answered(n)
    theirs, error = peer(row, (q[:, :, :count], k, v)), requested(row, arrays)
    found = polynomial(row, arrays, error)
    times = interleaved(
        {
            "assay": lambda: polynomial(row, arrays, error),
            "torch": theirs,
            "exact": lambda: attention.exact(q[:, :, : count // _PART], k, v, row.scale, threads=_THREADS),
        },
        _ROUNDS,
    )
    cold = statistics.median(cold_seconds(row, n, error))
    warm, times_as_many = times["assay"]["median"], n / count
    torch, exact = times_as_many * times["torch"]["median"], times_as_many * _PART * times["exact"]["median"]
    measured = (
        stated(found.route, "rank"), stated(found.route, "degree"), warm, times["assay"]["min"], cold,
        torch, times_as_many * times["torch"]["min"], exact, torch / warm, torch / cold, exact / warm,
        float(found.error.max()) / error, true_error(row, arrays, found.value, error) / error,
    )  # fmt: skip
    return dict(zip(_MEASURED, measured, strict=True))


def true_error(row: Row, arrays: Arrays, value: np.ndarray[Any, Any], error: float) -> float:
    """The largest of some random queries, against the definition."""
    query, key, values = arrays
    chosen = np.sort(np.random.default_rng(1).choice(query.shape[2], min(_JUDGED, query.shape[2]), replace=False))
    size = float(np.abs(values).max())
    exact = define(Instance(query[:, :, chosen], key, values, row.scale), relative=min(1e-3 * error / size, 1e-12))
    return float(np.abs(value[:, :, chosen].astype(np.float64) - exact.midpoint).max())


def ratios(rows: list[Row], n: int) -> None:
    found, refused = [], {}
    for done, row in enumerate(rows):
        announce(done, len(rows), row)
        try:
            measured = compared(row, n)
        except Infeasible as reason:
            refused[str(row)] = str(reason)
            measured = dict.fromkeys(_MEASURED, _NOT)
        found.append(row.columns() | measured)
    publish(
        "fast_attention",
        found,
        f"n = {n}, two threads; medians of {_ROUNDS} interleaved rounds, cold of {_COLD_RUNS} processes; torch / warm: "
        f"above 1 assay is faster; torch answers {answered(n)} queries and our exact kernel {answered(n) // _PART}, "
        f"whose times count for {n}; certified: the largest certificate; true: the largest error of {_JUDGED} queries"
        + said(refused),
    )


def crossovers(rows: list[Row], most: int) -> None:
    steps, summary, refused = [], [], {}
    for done, row in enumerate(rows):
        announce(done, len(rows), row)
        won: dict[str, list[int]] = {"warm": [], "cold": []}  # lengths, one after the other, at which it is faster
        rank = _NOT
        for n in (1 << power for power in range(_LEAST, most + 1)):
            announce_length(n)
            try:
                step = one_length(row, n, cold=len(won["cold"]) < 2)
            except Infeasible as reason:
                refused[str(row)] = f"{reason} (the last, n = {n})"
                won = {which: run if len(run) == 2 else [] for which, run in won.items()}
                continue
            rank = step["rank"]
            steps.append(row.columns() | step)
            for which, run in won.items():
                if len(run) < 2:
                    won[which] = [*run, n] if step[f"torch / {which}"] > 1.0 else []
            if all(len(run) == 2 for run in won.values()):
                break
        never = _NOT if rank == _NOT else f"> 2^{most - 1}"
        first = {f"{which} from": run[0] if len(run) == 2 else never for which, run in won.items()}
        summary.append(row.columns() | {"rank": rank} | first)
    if steps:
        publish("fast_attention-steps", steps, "two threads; minima; torch / warm: above 1 assay is faster")
    publish(
        "fast_attention-crossovers",
        summary,
        f"the first n = 2^k at which the polynomial route is faster than torch, and at twice that n too; minima of "
        f"{3 * _ROUNDS} interleaved rounds, cold of {_COLD_RUNS} processes" + said(refused),
    )


def one_length(row: Row, n: int, *, cold: bool) -> dict[str, Any]:
    arrays = drawn(row, n)
    error = requested(row, arrays)
    rank = stated(polynomial(row, arrays, error).route, "rank")
    if int(rank.split()[-1]) > _MOST_RANK:
        raise Infeasible(f"rank {rank}, above the {_MOST_RANK} that are timed")
    calls: dict[str, Callable[[], Any]] = {"assay": partial(polynomial, row, arrays, error), "torch": peer(row, arrays)}
    times = {name: each["min"] for name, each in interleaved(calls, 3 * _ROUNDS).items()}
    warm = {"n": n, "rank": rank, "torch s": times["torch"], "warm s": times["assay"]}
    ratio = {"torch / warm": times["torch"] / times["assay"]}
    if not cold:
        return warm | {"cold s": _NOT} | ratio | {"torch / cold": _NOT}
    seconds = min(cold_seconds(row, n, error))
    return warm | {"cold s": seconds} | ratio | {"torch / cold": times["torch"] / seconds}


def exponent(rows: list[Row], most: int) -> None:
    lengths = [1 << power for power in _EXPONENTS if power <= most]
    found, refused = [], {}
    for done, row in enumerate(rows):
        announce(done, len(rows), row)
        whole = drawn(row, lengths[-1])
        error = requested(row, parted(whole, _ASKED))
        calls: dict[str, Callable[[], Any]] = {}
        ranks = set()
        for n in lengths:
            announce_length(n)
            call = partial(polynomial, row, parted(whole, n), error)
            start = time.perf_counter()
            try:
                ranks.add(stated(call().route, "rank"))
            except Infeasible as reason:
                refused[f"{row}, n = {n}"] = str(reason)
                break
            calls[power_of_two(n)] = call
            if time.perf_counter() - start > _LONGEST:
                break
        times = {name: each["median"] for name, each in interleaved(calls, _ROUNDS).items()} if calls else {}
        measured = [(n, times[power_of_two(n)]) for n in lengths if power_of_two(n) in times]
        found.append(
            row.columns()
            | {"rank": " or ".join(sorted(ranks, key=lambda rank: int(rank.split()[0]))) or _NOT}
            | {power_of_two(n): times.get(power_of_two(n), _NOT) for n in lengths}
            | {"exponent": slope(measured), "longer half": slope(measured[len(measured) // 2 :])}
        )
    publish(
        "fast_attention-exponent",
        found,
        f"warm seconds by n, two threads, medians of {_ROUNDS} interleaved rounds, no n after one of more than "
        f"{_LONGEST:g} s; exponent: least squares on logarithms; every n is asked for the error of n = {_ASKED}"
        + said(refused),
    )


def power_of_two(n: int) -> str:
    return f"2^{n.bit_length() - 1}"


def parted(arrays: Arrays, n: int) -> Arrays:
    q, k, v = (x[:, :, :n] for x in arrays)
    return q, k, v


def slope(measured: list[tuple[int, float]]) -> float | str:
    if len(measured) < 2:
        return _NOT
    n, seconds = np.log(np.array(measured)).T
    return float(np.polyfit(n, seconds, 1)[0])


def memory(rows: list[Row], sizes: list[int]) -> None:
    found, refused = [], {}
    for done, (row, n) in enumerate((row, n) for row in rows for n in sizes):
        announce(done, len(rows) * len(sizes), f"{row}, n = {n}")
        measured = in_own_process("memory-of-call", row, n, requested(row, drawn(row, _ASKED)))
        if "refused" in measured:
            refused[f"{row}, n = {n}"] = measured["refused"]
            measured = dict.fromkeys(("rank", "inputs MiB", "output MiB", "beyond both MiB", "s"), _NOT)
        found.append(row.columns() | {"n": n} | measured)
    publish(
        "fast_attention-memory",
        found,
        f"growth of the peak of resident memory in the first call, less its output; two threads, a process each, the "
        f"error of n = {_ASKED}" + said(refused),
    )


def quadratics(row: Row, n: int) -> None:
    """How far Σ_j |P(s_j) − e^(s_j)||v_j − o|, which bounds an error whatever cancels, falls for quadratics P.

    The P of every query and column is its own: weighted least squares, the weights renewed until the sum is least.
    """
    arrays = drawn(row, n)
    asked = requested(row, arrays)
    q, k, v = (x[0, 0].astype(np.float64) for x in arrays)
    k -= k.mean(axis=0)
    longest = np.argsort(-np.square(q).sum(axis=1))
    found = []
    for name, queries in (("the longest", longest[:_QUERIES]), ("of median length", longest[n // 2 :][:_QUERIES])):
        ratios = []
        for i in queries:
            s = row.scale * (k @ q[i])
            e = np.exp(s)
            out = e @ v / e.sum()
            powers = np.stack([np.ones(n), s, s * s / np.abs(s).max()], axis=1)
            for c in range(row.d):
                far = np.abs(v[:, c] - out[c])
                weights, least = far, math.inf
                for _ in range(_RENEWED):
                    weighted = powers * weights[:, None]
                    apart = np.abs(powers @ np.linalg.solve(weighted.T @ powers, weighted.T @ e) - e)
                    least = min(least, float(apart @ far / e.sum()))
                    weights = far / np.maximum(apart, 1e-3 * apart.mean())
                ratios.append(least / asked)
        columns = np.array(ratios).reshape(len(queries), row.d).max(axis=1)
        found.append({"queries": name, "least": columns.min(), "largest": columns.max()})
    publish("fast_attention-quadratics", found, f"{row}, n = {n}: Σ|P − e^s||v − o|/Σe^s over the error asked for")


def model() -> None:
    """Least-squares constants of choice.py and polynomial.py: processor time of one thread, relative residuals."""
    rng = np.random.default_rng(0)

    def nanoseconds(call: Callable[[], object]) -> float:
        call()
        spent = []
        for _ in range(7):
            start = time.process_time()
            call()
            spent.append(time.process_time() - start)
        return 1e9 * min(spent)

    def fitted(what: str, rows: list[tuple[float, ...]], times: list[float]) -> dict[str, str]:
        scaled = np.array(rows) / np.array(times)[:, None]
        constants = np.linalg.lstsq(scaled, np.ones(len(times)))[0]
        worst = float(np.abs(np.log2(scaled @ constants)).max())
        return {"what": what, "constants": ", ".join(f"{x:.2g}" for x in constants), "off by": f"{2.0**worst:.1f} ×"}

    found = []
    rows: list[tuple[float, ...]] = []
    times: list[float] = []
    for n, (d, d_v, error) in itertools.product(
        (256, 1024, 4096, 16384),
        (
            (2, 2, 1e-4), (2, 2, 1e-9), (4, 4, 1e-5), (4, 16, 1e-5), (4, 64, 1e-5), (8, 8, 1e-4), (8, 64, 1e-4),
            (16, 16, 1e-2), (16, 16, 1e-4), (32, 32, 1e-3), (64, 16, 1e-3), (64, 64, 1e-3),
        ),
    ):  # fmt: skip
        q, k = rng.uniform(-1, 1, (2, 1, 1, n, d))
        v = rng.uniform(-1, 1, (1, 1, n, d_v))
        call = partial(attention.approximate, q, k, v, error, 1 / d, fallback="raise", threads=1)
        route = call().route
        rank = int(stated(route, "rank"))
        if "kurtosis" not in route and rank <= n:
            rows.append((1.0, *(2.0 * n * each for each in (d + d_v + 1, rank, rank * (d_v + 1)))))
            times.append(nanoseconds(call))
    found.append(fitted("polynomial: a head; a point's coordinate, feature, feature and column", rows, times))
    rows, times = [], []
    for n, d in itertools.product((1024, 4096, 32768), (4, 8, 16, 24, 32)):
        k = rng.standard_normal((n, d))
        weights, axes = np.linalg.eigh(k.T @ k / n)
        white = features.Coordinates(np.zeros(d), 1.0, np.ascontiguousarray(axes / np.sqrt(weights)))
        rows.append((1.0, n * features.rank(d - 1, 4), features.rank(d - 1, 2) ** 3))
        sums = partial(features.fourth_moments, k, white, 0, n)
        times.append(nanoseconds(sums) + nanoseconds(partial(kurtosis, [sums()], n * np.eye(d), n, 0.0)))
    found.append(fitted("kurtosis: a part; a key's product of four; cube of pairs", rows, times))
    for dtype in ("float32", "float64"):
        rows, times = [], []
        for n, (d, d_v) in itertools.product((1024, 4096), ((2, 2), (8, 8), (8, 64), (64, 64), (64, 8))):
            q, k = rng.uniform(-1, 1, (2, 1, 1, n, d)).astype(dtype)
            v = rng.uniform(-1, 1, (1, 1, n, d_v)).astype(dtype)
            rows.append((n**2, n**2 * (d + d_v)))
            times.append(nanoseconds(partial(attention.exact, q, k, v, 1 / d, threads=1)))
        found.append(fitted(f"exact, {dtype}: a query and key, each coordinate of K and V", rows, times))
    publish("fast_attention-model", found, "nanoseconds of one core: the constants of choice.py and polynomial.py")


def main() -> None:
    numbered = "\n".join(f"  {number}  {row}" for number, row in enumerate(ROWS, 1))
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f"rows:\n{numbered}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True, metavar="part")

    def add(name: str, says: str, rows: list[int]) -> argparse.ArgumentParser:
        part = parts.add_parser(
            name, help=says, description=says, epilog=parser.epilog, formatter_class=parser.formatter_class
        )
        part.add_argument(
            "--rows",
            type=int,
            nargs="+",
            default=rows,
            choices=range(1, len(ROWS) + 1),
            metavar="ROW",
            help="by number",
        )
        return part

    everything = list(range(1, len(ROWS) + 1))
    add("ratios", "seconds and errors at one length", everything).add_argument(
        "--n", type=int, default=1 << 16, help=f"at least {_JUDGED}"
    )
    add("crossovers", "the n from which it is faster than torch", everything).add_argument(
        "--most",
        type=int,
        default=_MOST,
        choices=range(_LEAST, _EXPONENTS[-1] + 1),
        metavar="k",
        help=f"powers of two up to this one, from {_LEAST} on",
    )
    add("exponent", "the exponent of n in seconds", everything).add_argument(
        "--most",
        type=int,
        default=_EXPONENTS[-1],
        choices=_EXPONENTS,
        metavar="k",
        help=f"powers of two up to this one, from {_EXPONENTS[0]} on",
    )
    add("memory", "peak memory beyond inputs and output", [2]).add_argument(
        "--sizes", type=int, nargs="+", default=list(_SIZES), metavar="n"
    )
    parts.add_parser("model", help="nanoseconds of one core, for the router")
    parts.add_parser("quadratics", help="what no certificate of degree 2 could show that does not count cancellation")
    for name in ("cold", "memory-of-call"):
        own = parts.add_parser(name)  # what the others start in a process of its own
        own.add_argument("row", type=int)
        own.add_argument("n", type=int)
        own.add_argument("error", type=float.fromhex)
    chosen = parser.parse_args()
    if chosen.part in ("cold", "memory-of-call"):
        call = cold_call if chosen.part == "cold" else memory_of_call
        print(json.dumps(call(ROWS[chosen.row - 1], chosen.n, chosen.error)))
    elif chosen.part == "model":
        model()
    elif chosen.part == "quadratics":
        quadratics(ROWS[5], 1 << 16)
    else:
        rows = [ROWS[number - 1] for number in chosen.rows]
        if chosen.part == "ratios":
            if chosen.n < _JUDGED:
                parser.error(f"--n: {chosen.n}, expected at least {_JUDGED}")
            ratios(rows, chosen.n)
        elif chosen.part == "memory":
            memory(rows, chosen.sizes)
        else:
            {"crossovers": crossovers, "exponent": exponent}[chosen.part](rows, chosen.most)


if __name__ == "__main__":
    main()
