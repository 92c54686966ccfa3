"""Three pictures of layer collapse, and the numbers in them as tables.

    python benchmarks/collapse_plots.py [--folder docs/pictures]

``collapse_scale.png``: with skip connections too, a network of small weights is one uniform layer; the distance from it
against the scale of the weights and the depth, with and without skips.
``collapse_range.png``: the score range σ‖A‖D² that decides whether a layer can do more than average is the one that
decides what attention costs: what a layer does beyond averaging, and the rank that the polynomial method needs.
``collapse_escape.png``: one explicit network is as far from every collapsed network of any depth (LC-11).
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from timing import publish

from assay.impl import cpu
from assay.impl.cpu.layer_collapse.bounds import closed_form
from assay.impl.cpu.layer_collapse.parts import Network
from assay.impl.cpu.layer_collapse.rows import diameter, product_norm
from assay.impl.cpu.layer_collapse.trace import walk
from assay.impl.phase.cells import polynomial
from assay.spec import layer_collapse
from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.reductions import reduction

_FACTORS = tuple(2.0 ** (k / 2) for k in range(-12, 3))
_DEPTHS = (1, 4, 16, 64)
_RANGES = tuple(10.0 ** (k / 4) for k in range(-8, 11))


def stack(layers: int, *, skip: bool, seed: int = 0) -> Any:
    """24 tokens of 8 numbers, two heads; weights of standard deviation 1/√8."""
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((layers, 2, 8, 8)) / math.sqrt(8.0) for _ in range(3)]
    return layer_collapse.Instance(rng.standard_normal((24, 8)), *weights, skip=skip)


def by_scale(folder: Path) -> None:
    """Distance against scale and depth."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    both = figure.subplots(1, 2, sharey=True)
    rows: list[dict[str, Any]] = []
    for axes, skip in zip(both, (True, False), strict=True):
        for colour, layers in enumerate(_DEPTHS):
            report = cpu.layer_collapse.collapse(stack(layers, skip=skip), scales=_FACTORS)
            distances = [min(max(x.relative, 1e-30), 1e30) for x in report.scales]
            axes.loglog(_FACTORS, distances, f"C{colour}.-", label=f"{layers} layer{'s' if layers > 1 else ''}")
            if skip:
                axes.axvline(report.s_star, color=f"C{colour}", linestyle=":", linewidth=1)
            for factor, distance in zip(_FACTORS, distances, strict=True):
                if math.log2(factor) % 2 == 0:
                    row = {"skips": skip, "layers": layers, "s": factor, "distance": distance}
                    rows.append(row | {"s*": report.s_star if skip else math.nan})
        axes.axhline(1.0, color="grey", linewidth=1)
        axes.set_xscale("log", base=2)
        axes.set_ylim(1e-16, 10.0)
        axes.set_xlabel("scale s of all weights")
        axes.set_title("with skips (dotted: s*, where κ = 1)" if skip else "without skips")
    both[0].set_ylabel("‖X_L − Y_L‖ / ‖X_L − X_0‖")
    both[0].legend(fontsize="small", title="grey: no update")
    figure.savefig(folder / "collapse_scale.png", dpi=80)
    publish("collapse_scale", rows, "24 tokens of 8 numbers, two heads, weights N(0, s²/8)")


def by_range(folder: Path) -> None:
    """What a layer does beyond averaging, and the rank that attention needs, against σ‖A‖D²."""
    n = 1024
    d = 10
    rng = np.random.default_rng(1)
    normal, groups = rng.standard_normal((n, d)), np.zeros((n, d))
    groups[:, 0] = np.where(np.arange(n) % 2, 0.5, -0.5)
    a = rng.standard_normal((d, d))
    layers = {"Gaussian tokens": (normal, a), "two groups of tokens": (groups, np.eye(d))}
    rows: list[dict[str, Any]] = []
    for score_range in _RANGES:
        row: dict[str, Any] = {"σ‖A‖D²": score_range, "at most": math.tanh(score_range / 4.0)}
        for name, (tokens, matrix) in layers.items():
            wide = diameter(tokens)
            weights = matrix * (score_range / product_norm(matrix) / wide**2)
            instance = layer_collapse.Instance(
                tokens, np.eye(d)[None, None], weights.T[None, None], np.eye(d)[None, None], 1.0
            )
            (step,) = walk(Network.of(instance))
            row[name] = diameter(step.gap) / wide
        row["κ bound"] = closed_form(score_range / 2.0, 1.0)
        degree, rank, _, reason = polynomial(n, d, score_range / 2.0, 1e-3)
        row |= {"degree": degree, "rank": rank, "polynomial": "no: " + reason if reason else "yes"}
        rows.append(row)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    ranges = list(_RANGES)
    axes.loglog(ranges, [row["at most"] for row in rows], "k-", label="at most: tanh(σ‖A‖D²/4)")
    for name, style in zip(layers, ("C0.-", "C1.-"), strict=True):
        axes.loglog(ranges, [row[name] for row in rows], style, label=f"D(update)/(‖V‖D), {name}")
    axes.set_ylim(1e-4, 10.0)
    axes.set_xlabel("σ‖A‖D², the range of the differences of scores")
    axes.set_ylabel("what a layer does beyond averaging")
    other = axes.twinx()
    ranked = [(row["σ‖A‖D²"], row["rank"]) for row in rows if row["rank"] is not None]
    other.loglog(*zip(*ranked, strict=True), "C3s--", label="rank of the polynomial (right)")
    other.axhline(n, color="C3", linewidth=1)
    other.set_ylabel(f"rank for n = {n}, d = {d}, error 10^-3; line: n", color="C3")
    marks = {"κ = 1": 2.0, "2 ln n: B = √(ln n)": 2.0 * math.log(n)}
    crossed = [row["σ‖A‖D²"] for row in rows if row["polynomial"] != "yes"]
    marks |= {"no rank below n": crossed[0]} if crossed else {}
    for colour, (name, value) in enumerate(marks.items()):
        axes.axvline(value, color=f"C{4 + colour}", linestyle="-.", linewidth=1, label=name)
    axes.legend(fontsize="small", loc="upper left")
    figure.savefig(folder / "collapse_range.png", dpi=80)
    publish("collapse_range", rows, f"n = {n}, d = {d}; " + ", ".join(f"{k}: {v:.3g}" for k, v in marks.items()))


#: Two sets of right vectors with the same mean: one has a vector orthogonal to (1, 1), the other has none (LC-11).
_RIGHT = ([[1, 1], [0, 0]], [[1, 0], [0, 1]])


def escaping(depth: int) -> list[Any]:
    """The networks of LC-11 for both sets: after L layers the last number of token 0 is ≤ L/2, or ≥ 4L/5."""
    left = np.array([[1, 1]])
    pairs = (OrthogonalVectors(left, np.array(right)) for right in _RIGHT)
    return [reduction("LC-11").apply(pair, scale=1.0, layers=depth).target for pair in pairs]


def outputs(pair: list[Any]) -> list[float]:
    """That number of both networks, divided by L."""
    return [float(computed(one)[-1, 0, -1]) / one.layers for one in pair]


def computed(one: Any) -> Any:
    arrays = (one.tokens, one.query_weights, one.key_weights, one.value_weights)
    return cpu.layer_collapse.exact(*arrays, scale=one.scale)


def trained(pair: list[Any], wanted: list[float], steps: int = 300) -> float:
    """The larger error on the two sets, of outputs/L, of the best collapsed network of that depth in training."""
    torch.manual_seed(0)
    depth = pair[0].layers
    d = pair[0].tokens.shape[1]
    values = (torch.randn(depth, d, d, dtype=torch.float64) * 0.3 / depth).requires_grad_()
    tokens = [torch.from_numpy(one.tokens) for one in pair]
    optimiser = torch.optim.Adam([values], lr=0.02)
    best = math.inf
    for _ in range(steps):
        found = []
        for one in tokens:
            x = one
            for matrix in values:
                x = x + x.mean(0) @ matrix
            found.append(x[0, -1])
        errors = torch.stack([(a - b).abs() for a, b in zip(found, wanted, strict=True)])
        best = min(best, float(errors.detach().amax()))
        optimiser.zero_grad()
        errors.amax().backward()
        optimiser.step()
    return best


def by_depth(folder: Path) -> None:
    """The explicit network of LC-11 against collapsed networks of its depth, and against the scale of its scores."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows: list[dict[str, Any]] = []
    for depth in (1, 2, 4, 8, 16, 32, 64):
        pair = escaping(depth)
        wanted = outputs(pair)
        own = [cpu.layer_collapse.collapse(one, scales=[1.0]) for one in pair]
        row = {"depth": depth, "outputs / L": f"{wanted[0]:.4f}, {wanted[1]:.4f}", "σ‖A‖D²": _score_range(pair[0])}
        row["own collapsed network errs"] = max(report.depths[-1].distance for report in own) / depth
        row["trained collapsed network errs"] = trained(pair, wanted)
        rows.append(row | {"no collapsed network errs less than": abs(wanted[1] - wanted[0]) / 2.0})
    depths = [row["depth"] for row in rows]
    for colour, name in enumerate(("own collapsed network errs", "trained collapsed network errs")):
        left.plot(depths, [row[name] for row in rows], f"C{colour}o-", label=name)
    left.plot(depths, [row["no collapsed network errs less than"] for row in rows], "k--", label="none errs less")
    left.axhline(0.15, color="grey", linewidth=1, label="3/20")
    left.set_xscale("log", base=2)
    left.set_xlabel("layers L")
    left.set_ylim(0.0, 0.8)
    left.set_ylabel("error of the output of token 0, divided by L")
    (plain, other), factors = escaping(1), np.linspace(0.02, 1.6, 40)
    ranges = factors * _score_range(plain)
    halves = [abs(np.subtract(*outputs([x.replace(scale=float(f)) for x in (plain, other)]))) / 2.0 for f in factors]
    right.plot(ranges, halves, "k-", label="what no collapsed network errs less than")
    right.axvline(_score_range(plain), color="C3", linestyle="-.", label="the network on the left")
    right.set_xlabel("σ‖A‖D², as its scores are scaled")
    for axes in (left, right):
        axes.legend(fontsize="small")
    figure.savefig(folder / "collapse_escape.png", dpi=80)
    publish("collapse_escape", rows, "300 steps of Adam for the trained networks; all errors divided by L")


def _score_range(one: Any) -> float:
    """σ‖A‖D² of the first layer."""
    a = product_norm(one.query_weights[0, 0], one.key_weights[0, 0].T)
    return float(abs(one.scale) * a * diameter(one.tokens) ** 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[1] / "docs" / "pictures")
    chosen = parser.parse_args()
    chosen.folder.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    for draw in track((by_scale, by_range, by_depth), "pictures", console=Console(stderr=True)):
        draw(chosen.folder)


if __name__ == "__main__":
    main()
