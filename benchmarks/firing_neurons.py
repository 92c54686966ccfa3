"""Firing neurons: queries, updates, preprocessing and steps of training, of a tree, a table, products, and dense torch.

    python benchmarks/firing_neurons.py [--part query] [--part step] … [--most 18]

Every contender runs on one thread, and seconds are those of the processor (``time.process_time``), so that other work
on the machine changes them little.  Parts: ``query``, ``preprocessing``, ``update``, ``visited``, ``fired``, ``step``,
``digits``, ``regime`` and ``memory``; all by default.  Points are of norm 1 and weights normal, and c names the
threshold b = √(2c ln m).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any

import numpy as np
import torch
from timing import interleaved, publish

from assay.impl import cpu
from assay.impl.cpu.firing_neurons import products
from assay.impl.cpu.firing_neurons.tree import most_visited

firing = cpu.firing_neurons
Rows = list[dict[str, Any]]
_ONE: dict[str, Any] = {"threads": 1}
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def drawn(n: int, m: int, d: int, seed: int = 0) -> tuple[Any, Any]:
    """Points of norm 1, and normal weights, in float32."""
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((n, d))
    data /= np.linalg.norm(data, axis=1)[:, None]
    return data.astype(np.float32), rng.standard_normal((m, d)).astype(np.float32)


def timed(contenders: dict[str, Any], rounds: int = 7) -> dict[str, dict[str, float]]:
    return interleaved(contenders, rounds, clock=time.process_time)


def query(most: int) -> Rows:
    """Lists of the neurons that fire, a point; all points in one call, and one call a point."""
    n, m, d = 256, 65536, 64
    data, weights = drawn(n, m, d)
    points = np.arange(n)
    tree = firing.CorrelationTree(data, weights, threshold=1.0, **_ONE)
    binary = firing.CorrelationTree(data, weights, threshold=1.0, fan_out=2, **_ONE)
    table = firing.Table(data, weights, threshold=1.0)
    plain = table.correlations(points).value
    rows = []
    for c in (0.2, 0.4, 0.8):
        b = firing.threshold_of(c, m)
        limit = np.float32(b)
        ones = [points[i : i + 1] for i in range(n)]
        contenders = {
            "tree": lambda b=b: tree.firing(points, threshold=b),
            "binary": lambda b=b: binary.firing(points, threshold=b),
            "table": lambda b=b: table.firing(points, threshold=b),
            "NumPy": lambda limit=limit: [np.flatnonzero(row > limit) for row in plain],
            "NumPy, no lists": lambda limit=limit: [row > limit for row in plain],
            "tree, alone": lambda b=b, ones=ones: [tree.firing(one, threshold=b) for one in ones],
            "table, alone": lambda b=b, ones=ones: [table.firing(one, threshold=b) for one in ones],
        }
        seconds = timed(contenders, 15)
        micro = {f"{name} µs": 1e6 * each["min"] / n for name, each in seconds.items()}
        medians = {f"{name} median": 1e6 * seconds[name]["median"] / n for name in ("tree", "table", "NumPy")}
        found = tree.firing(points, threshold=b)
        rows.append(
            {"c": c, "fired": len(found.ids) / n, **micro, **medians}
            | {
                f"{name} / tree": micro[f"{name} µs"] / micro["tree µs"]
                for name in ("table", "NumPy", "NumPy, no lists")
            }
        )
    return rows


def preprocessing(most: int) -> Rows:
    """Building a structure against the product of the same numbers into memory of its own."""
    rows = []
    for n, m, d in ((4096, 4096, 64), (1024, 65536, 64), (4096, 4096, 256)):
        data, weights = drawn(n, m, d)
        given = {"data": data, "weights": weights, "threshold": 1.0}
        seconds = timed({
            "product": lambda data=data, weights=weights: data @ weights.T,
            "tree": lambda given=given: firing.CorrelationTree(**given),
            "table": lambda given=given: firing.Table(**given),
            "binary": lambda given=given: firing.CorrelationTree(**given, fan_out=2),
        }, 5)  # fmt: skip
        row = {"n": n, "m": m, "d": d}
        row |= {f"{name} {of} s": each[of] for name, each in seconds.items() for of in ("min", "median")}
        row |= {
            f"{name} / product": row[f"{name} min s"] / row["product min s"] for name in ("tree", "table", "binary")
        }
        rows.append(row)
    return rows


def update(most: int) -> Rows:
    """A batch of k new weights, against the product of these alone."""
    rows = []
    for n, m, k in ((256, 65536, 1), (256, 65536, 64), (256, 65536, 1024), (4096, 16384, 1), (4096, 16384, 64)):
        data, weights = drawn(n, m, 64)
        rng = np.random.default_rng(1)
        which, new = rng.permutation(m)[:k], rng.standard_normal((k, 64)).astype(np.float32)
        structures = {
            "tree": firing.CorrelationTree(data, weights, threshold=3.0),
            "table": firing.Table(data, weights, threshold=3.0),
            "binary": firing.CorrelationTree(data, weights, threshold=3.0, fan_out=2),
        }
        contenders: dict[str, Any] = {"product": lambda data=data, new=new: products.columns(data, new)}
        for name, each in structures.items():
            contenders[name] = lambda each=each, which=which, new=new: each.update(which, new)
        seconds = timed(contenders)
        rows.append({"n": n, "m": m, "k": k} | {f"{name} µs": 1e6 * x["min"] for name, x in seconds.items()})
    return rows


def visited(most: int) -> Rows:
    """Nodes that a query of a binary tree visits, at most over 64 points, beside the formula of FIRE-3."""
    rows = []
    for power in (12, 14, 16):
        m = 2**power
        data, weights = drawn(64, m, 64)
        tree = firing.CorrelationTree(data, weights, threshold=1.0, fan_out=2)
        wide = firing.CorrelationTree(data, weights, threshold=1.0)
        for c in (0.2, 0.4, 0.8):
            b = firing.threshold_of(c, m)
            points = np.arange(64)
            counts, found = tree.visited(points, threshold=b), np.diff(tree.firing(points, threshold=b).starts)
            ratios = [count / most_visited(m, int(k)) for count, k in zip(counts, found, strict=True)]
            rows.append({
                "m": m, "c": c, "found": float(found.mean()), "visited": float(counts.mean()),
                "formula": float(np.mean([most_visited(m, int(k)) for k in found])), "largest ratio": max(ratios),
                "wide tree": float(wide.visited(points, threshold=b).mean()), "table": m,
            })  # fmt: skip
    return rows


def fired(most: int) -> Rows:
    """The fraction that fires, beside its prediction and binomial tails, before training and after it; R measured."""
    rows = []
    n, d = 64, 64
    for power in (12, 14, 16):
        m = 2**power
        for c in (0.2, 0.4, 0.8):
            b = firing.threshold_of(c, m)
            arrays, rate = regression(n, m, d)
            network = firing.Network(**arrays, threshold=b, **_ONE)
            points = np.arange(n)
            before = network.structure.correlations(points).value.copy()
            first = np.diff(network.structure.firing(points).starts)
            losses = [network.step(rate=rate).loss for _ in range(30)]
            moved = float(np.abs(network.structure.correlations(points).value - before).max())
            last = np.diff(network.structure.firing(points).starts)
            said, then = (firing.forecast(m, b, points=n, failure=1e-3, moved=by) for by in (0.0, moved))
            rows.append({
                "m": m, "c": c, "½ m^(1−c)": 0.5 * m ** (1 - c), "expected": said.expected, "mean": float(first.mean()),
                "least": int(first.min()), "most": int(first.max()), "tails": f"{said.least}–{said.most}",
                "R": moved, "most after 30 steps": int(last.max()), "tail at b − R": then.most,
                "touched / m": float(network.structure.fired(points).any(axis=0).mean()),
                "loss": f"{losses[0]:.3g} → {losses[-1]:.3g}",
            })  # fmt: skip
    return rows


def regression(n: int, m: int, d: int) -> tuple[dict[str, Any], float]:
    """A random regression, and a rate at which it is learned."""
    data, weights = drawn(n, m, d)
    rng = np.random.default_rng(2)
    targets = rng.standard_normal((n, 1)).astype(np.float32)
    outer = (rng.choice([-1.0, 1.0], (m, 1)) / np.sqrt(m)).astype(np.float32)
    return {"data": data, "targets": targets, "weights": weights, "outer": outer}, 1.0


class Dense:
    """Dense torch: the same network and the same step."""

    def __init__(self, arrays: dict[str, Any], threshold: float, loss: str = "squared", momentum: float = 0.0) -> None:
        self.data, self.targets, weights, self.outer = (torch.from_numpy(x.copy()) for x in arrays.values())
        self.weight, self.threshold, self.loss = weights.requires_grad_(), threshold, loss
        self.momentum = momentum
        self.optimizer: Any = None

    def step(self, rate: float) -> float:
        if self.optimizer is None:
            self.optimizer = torch.optim.SGD([self.weight], lr=rate, momentum=self.momentum)
        output = torch.relu(self.data @ self.weight.T - self.threshold) @ self.outer
        if self.loss == "squared":
            value = 0.5 * (output - self.targets).square().sum()
        else:
            value = (self.targets * (torch.logsumexp(output, 1, keepdim=True) - output)).sum()
        self.optimizer.zero_grad()
        value.backward()
        self.optimizer.step()
        return float(value.detach())


def step(most: int) -> Rows:
    """A step of full-batch gradient descent; the exponents are those of the last two sizes, a factor 4 in m apart."""
    rows: Rows = []
    n, d = 32, 64
    for c in (0.2, 0.4, 0.8):
        series: Rows = []
        for power in range(12, most + 1, 2):
            m = 2**power
            b = firing.threshold_of(c, m)
            arrays, _ = regression(n, m, d)
            rate = 0.01  # so that the fraction that fires stays
            contenders: dict[str, Any] = {}
            for name, structure in (
                ("tree", firing.CorrelationTree), ("scan", firing.Table), ("recomputed", firing.Recomputed),
            ):  # fmt: skip
                network = firing.Network(**arrays, threshold=b, structure=structure, **_ONE)
                contenders[name] = lambda network=network, rate=rate: network.step(rate=rate)
                if name == "tree":
                    touched = network.step(rate=rate).touched
            dense = Dense(arrays, b)
            contenders["dense"] = lambda dense=dense, rate=rate: dense.step(rate)
            seconds = timed(contenders)
            row: dict[str, Any] = {"c": c, "m": m, "n": n, "touched / m": touched / m, "n·m^−c": n * m**-c}
            row |= {f"{name} ms": 1e3 * each["min"] for name, each in seconds.items()}
            row |= {f"{name} median": 1e3 * each["median"] for name, each in seconds.items()}
            row |= {f"dense / {name}": row["dense ms"] / row[f"{name} ms"] for name in ("tree", "scan", "recomputed")}
            for name in ("tree", "scan", "dense"):
                before = series[-1][f"{name} ms"] if series else np.nan
                row[f"exponent of {name}"] = float(np.log(row[f"{name} ms"] / before) / np.log(4.0))
            series.append(row)
        rows += series
    return rows


def digits(most: int) -> Rows:
    """Loss curves on scikit-learn's digits, and on a larger synthetic set, beside those of dense torch."""
    from sklearn.datasets import load_digits

    found = load_digits()
    data = found.data - found.data.mean(axis=0)
    data /= np.linalg.norm(data, axis=1)[:, None]
    rng = np.random.default_rng(3)
    wide = rng.standard_normal((2500, 50))
    wide /= np.linalg.norm(wide, axis=1)[:, None]
    teacher = wide @ rng.standard_normal((50, 4))
    sets = {
        "digits": (data, np.eye(10)[found.target], 2048, 30, 0.02, "cross_entropy"),
        "synthetic": (wide, np.eye(4)[teacher.argmax(axis=1)], 4096, 12, 0.2, "cross_entropy"),
    }
    rows = []
    for name, (x, y, m, steps, rate, loss) in sets.items():
        for momentum in (0.0, 0.9):
            for dtype in (np.float32, np.float64):
                weights, outer = (
                    rng.standard_normal((m, x.shape[1])),
                    rng.choice([-1.0, 1.0], (m, y.shape[1])) / np.sqrt(m),
                )
                given = {"data": x, "targets": y, "weights": weights, "outer": outer}
                arrays = {key: np.ascontiguousarray(value, dtype) for key, value in given.items()}
                b = firing.threshold_of(0.4, m)
                network = firing.Network(**arrays, threshold=b, loss=loss, momentum=momentum)
                dense = Dense(arrays, b, loss, momentum)
                ours, theirs = zip(
                    *((network.step(rate=rate).loss, dense.step(rate)) for _ in range(steps)), strict=True
                )
                curve, other = np.array(ours), np.array(theirs)
                right = network.forward().output.argmax(axis=1) == y.argmax(axis=1)
                rows.append({
                    "set": name, "n": len(x), "m": m, "type": np.dtype(dtype).name, "momentum": momentum,
                    "steps": steps, "first loss": curve[0], "last loss": curve[-1], "last of torch": other[-1],
                    "largest relative difference": float(np.abs(curve / other - 1.0).max()),
                    "right": float(right.mean()),
                    "curve": " ".join(f"{value:.4f}" for value in curve[:: max(1, steps // 5)]),
                })  # fmt: skip
    return rows


def regime(most: int) -> Rows:
    """The least m with n·m^−c < 1, where a step is o(nmd), and the share touched at m = 2^12, 2^15, 2^18 (* there)."""
    rows = []
    for c in (0.2, 0.4, 0.6, 0.8, 1.0):
        row: dict[str, Any] = {"c": c}
        for n in (1, 8, 64, 512, 4096):
            least = np.log2(n) / c
            shares = []
            for power in (12, 15, 18):
                m = 2**power
                b = firing.threshold_of(c, m)
                share = firing.forecast(m, b, points=n).touched / m
                shares.append(f"{share:.2g}{'*' if n * m**-c < 1 else ''}")
            row[f"n = {n}"] = f"2^{least:.0f}: " + " ".join(shares)
        rows.append(row)
    return rows


def memory(most: int) -> Rows:
    """Bytes of each structure over those of the correlations alone."""
    rows = []
    for n, m, d in ((256, 65536, 64), (4096, 4096, 64)):
        data, weights = drawn(n, m, d)
        for name, made in (
            ("tree", firing.CorrelationTree(data, weights, threshold=1.0)),
            ("binary", firing.CorrelationTree(data, weights, threshold=1.0, fan_out=2)),
            ("table", firing.Table(data, weights, threshold=1.0)),
            ("recomputed", firing.Recomputed(data, weights, threshold=1.0)),
        ):
            rows.append(
                {
                    "n": n,
                    "m": m,
                    "structure": name,
                    "MiB": made.nbytes() / 2**20,
                    "over n·m": made.nbytes() / (4 * n * m),
                }
            )
    return rows


PARTS = {part.__name__: part for part in (query, preprocessing, update, visited, fired, step, digits, regime, memory)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--most", type=int, default=18, help="the largest log₂ m of a step")
    chosen = parser.parse_args()
    if any(os.environ.get(name) != "1" for name in _THREADS):  # they are read where NumPy is loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | dict.fromkeys(_THREADS, "1"))
    torch.set_num_threads(1)
    for name in chosen.part or PARTS:
        publish(f"firing_neurons_{name}", PARTS[name](chosen.most), f"one thread; {PARTS[name].__doc__}")


if __name__ == "__main__":
    main()
