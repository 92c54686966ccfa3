"""Where kernel graphs stop being easy: degrees, routes and exponents by function and dimension, and the cost p^d.

    python benchmarks/kernel_graph_limits.py [--picture FILE] [--json FILE] [--largest 16384] [--eliminate 5000]

KG-4: for each function the least degree p of a polynomial with error 1/n on [0, 4 ln n] (from 1 on where the function
is singular at 0), its rank in d = 2, 4, 8 and ⌈log₂ n⌉ dimensions (KG-6), and of the fastest route that multiply proves
the exponent of the time, measured from the largest n and a quarter of it.  At ⌈log₂ n⌉ it is beside the arrow by which
almost linear sums would decide orthogonal vectors.  KG-5: two boxes a side apart, interpolated
at (p+1)^d Chebyshev points (KG-10): the least p that is proved to give 10^-3, the work of it beside that of all pairs,
the time of both, and the error that is met.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import kernel_graph, processor
from assay.spec.kernel_graph.functions import named

if TYPE_CHECKING:
    from numpy.typing import NDArray

FUNCTIONS = (
    ("gaussian", 1.0), ("laplacian", 1.0), ("rational", 1.0), ("coulomb", 0.5), ("inverse_multiquadric", 1.0),
    ("matern", 1.5), ("polynomial", 3.0),
)  # fmt: skip
HARD = {"gaussian": "OV-6", "polynomial": "none"}  # the arrow that decides orthogonal vectors; OV-9 for the others
POINTS = 2048  # of a box
ACCURACY = 1e-3


def degree(function: str, parameter: float, n: int) -> int:
    """The least degree of a Chebyshev interpolant with a largest error of 1/n, measured on a fine grid."""
    f = named(function, parameter)
    low, high = (1.0 if f.singular_at_zero else 0.0), 4 * math.log(n)
    grid = low + (high - low) * (0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, 20001)))
    exact = f(grid)
    scale = max(float(np.abs(exact).max()), 1.0)
    for p in range(1, 400):
        nodes = np.cos(np.pi * (np.arange(p + 1) + 0.5) / (p + 1))
        series = np.polynomial.chebyshev.chebfit(nodes, f(low + (high - low) * (nodes + 1) / 2), p)
        found = np.polynomial.chebyshev.chebval(2 * (grid - low) / (high - low) - 1, series)
        if np.abs(found - exact).max() <= scale / n:
            return p
    return 400


def rank(p: int, d: int) -> int:
    """Of a generic polynomial of degree p in the squared distance (KG-6)."""
    return math.comb(d + p, p) + math.comb(d + p - 1, p - 1)


def exponent(function: str, parameter: float, d: int, largest: int) -> tuple[float, str]:
    """The exponent of the time of the fastest route that is proved to an error of 10^-4·n, and its name."""
    rng = np.random.default_rng(d)
    times, route = [], ""
    for n in (largest // 4, largest):
        points = rng.random((n, d)) * math.sqrt(4 * math.log(n) / d) / 2
        vector = rng.random((n, 1))
        taken = []
        for _ in range(3):
            begun = time.process_time()
            found = kernel_graph.multiply(
                points, vector, function=function, parameter=parameter, error=1e-4 * n, threads=1
            )
            taken.append(time.process_time() - begun)
        times.append(min(taken))
        route = found.route.split(":")[0].split(",")[0]
    return math.log(times[1] / times[0]) / math.log(4), route


def proved_degree(d: int) -> int:
    """The least p that KG-10 proves for z^(−1/2), boxes of half side 1/2, one unit apart; relative to the least one."""
    farthest = math.sqrt(1 + 2 * math.sqrt(d) + 4 * d)
    for p in range(1, 60):
        lebesgue = 2 / math.pi * math.log(p + 1) + 1
        best = math.inf
        for rho in np.linspace(1.2, 4.2, 200):
            kappa = 0.25 * (rho - 1 / rho)
            if kappa < 1:
                best = min(best, 4 / (1 - kappa) * rho**-p / (rho - 1))
        if sum(lebesgue**c for c in range(d)) * best * farthest <= ACCURACY:
            return p
    return 60


def interpolated(d: int) -> dict[str, Any]:
    """One source box, interpolated, and one target box a side apart; z^(−1/2)."""
    p = proved_degree(d)
    nodes = np.cos(np.pi * (np.arange(p + 1) + 0.5) / (p + 1))
    rng = np.random.default_rng(d)
    sources = rng.random((POINTS, d)) - 0.5
    targets = rng.random((POINTS, d)) - 0.5
    targets[:, 0] += 2.0
    vector = rng.random(POINTS)
    begun = time.process_time()
    weights = np.ones((POINTS, 1))
    for c in range(d):
        angles = np.arccos(np.clip(2 * sources[:, c], -1, 1))
        series = np.ones((POINTS, p + 1)) / (p + 1)
        for k in range(1, p + 1):
            series += 2 / (p + 1) * np.cos(k * angles)[:, None] * np.cos(k * np.arccos(nodes))[None]
        weights = (weights[:, :, None] * series[:, None, :]).reshape(POINTS, -1)
    moments = vector @ weights
    points = np.stack(np.meshgrid(*[nodes / 2] * d, indexing="ij"), axis=-1).reshape(-1, d)
    fast = summed(targets, points, moments)
    seconds = time.process_time() - begun
    begun = time.process_time()
    exact = summed(targets, sources, vector)
    direct = time.process_time() - begun
    error = float(np.abs(fast / exact - 1).max())
    return {"d": d, "degree": p, "nodes": (p + 1) ** d, "seconds": seconds, "direct_seconds": direct, "error": error}


def summed(targets: NDArray[Any], points: NDArray[Any], vector: NDArray[Any]) -> NDArray[Any]:
    """Σ_j v_j/|t_i − x_j|, in tiles."""
    total = np.zeros(len(targets))
    for start in range(0, len(points), 2048):
        part = points[start : start + 2048]
        z = np.zeros((len(targets), len(part)))
        for c in range(targets.shape[1]):
            z += (targets[:, c, None] - part[:, c]) ** 2
        total += (1 / np.sqrt(z)) @ vector[start : start + 2048]
    return total


def eliminated(n: int) -> dict[str, Any]:
    """One elimination of n nodes (KG-17): 0/1 vectors, whose weights span 10^62."""
    rng = np.random.default_rng(17)
    points = rng.integers(0, 2, (n, 16)).astype(np.float64)
    begun = time.process_time(), time.perf_counter()
    found = kernel_graph.eliminate(points, function="gaussian", parameter=9.0, pairs=[(0, 1), (2, n - 1)])
    taken = time.process_time() - begun[0], time.perf_counter() - begun[1]
    return {"n": n, "processor seconds": taken[0], "seconds": taken[1], "bound": float(found.error)}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """The picture of docs/hard.md."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6))
    d = [row["d"] for row in rows]
    every = list(range(1, 13))
    axes.plot(every, [(proved_degree(k) + 1) ** k for k in every], "k--", label="(p+1)^d, p proved for 10⁻³")
    axes.plot(d, [row["nodes"] for row in rows], "ko", label="measured")
    times = [row["seconds"] / row["direct_seconds"] * POINTS for row in rows]
    axes.plot(d, times, "r^-", label=f"time, in sources of a direct sum of {POINTS:,}")
    axes.axhline(POINTS, color="grey", lw=0.8)
    axes.set_yscale("log")
    axes.set_xlabel("dimension d")
    axes.set_ylabel("nodes of a box")
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=16384)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--eliminate", type=int, metavar="N", help="time one elimination of N nodes, and nothing else")
    arguments = parser.parse_args()
    n = arguments.largest
    if arguments.eliminate is not None:
        print(f"{processor.here().model}: {eliminated(arguments.eliminate)}")
        return 0
    print(f"{processor.here().model}; one thread; n = {n // 4} and {n}; least of 3")
    print("function              p(2^10)  p(2^14)  p(2^20)   " + "d    rank   route        exponent  hard")
    table = []
    for function, parameter in FUNCTIONS:
        degrees = [int(parameter)] * 3
        if function != "polynomial":
            degrees = [degree(function, parameter, 1 << k) for k in (10, 14, 20)]
        for d in (2, 4, 8, math.ceil(math.log2(n))):
            grown, route = exponent(function, parameter, d, n)
            size = rank(degrees[1], d)
            hard = HARD.get(function, "OV-9") if d == math.ceil(math.log2(n)) else ""
            table.append(
                {
                    "function": function,
                    "parameter": parameter,
                    "degrees": degrees,
                    "d": d,
                    "rank": size,
                    "route": route,
                    "exponent": grown,
                    "hard": hard,
                }
            )
            shown = "".join(f"{p:>9}" for p in degrees)
            print(f"{function:<20}{shown}   {d:>4} {size:>8.2g}   {route:<12}{grown:>7.2f}  {hard:>8}", flush=True)
    boxes = [interpolated(d) for d in range(1, 6)]
    print("d   p   nodes    ms     direct ms   error met")
    for row in boxes:
        milliseconds = f"{1e3 * row['seconds']:8.1f} {1e3 * row['direct_seconds']:10.1f}"
        print(f"{row['d']}  {row['degree']:>3} {row['nodes']:>7} {milliseconds}   {row['error']:.1e}")
    if arguments.picture is not None:
        draw(boxes, arguments.picture)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"functions": table, "boxes": boxes}, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
