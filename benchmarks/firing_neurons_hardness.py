"""Formulas decided by structures of firing neurons (FN-9), and the trade-off between updates and queries.

    python benchmarks/firing_neurons_hardness.py [--formulas 200] [--json FILE]

First: formulas near the threshold become updates and queries of one neuron; both ends of the trade-off, and the trees
and tables of assay.impl where they are there, answer; every answer is compared with python-sat's, and every model is
checked.  Second: what an update and a query of one neuron cost on n data, in multiplications where the structure counts
them and in seconds, for growing n.  Exit status 1 if a formula is decided wrongly.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.firing_neurons import played
from assay.spec.firing_neurons.extremes import Eager, Lazy
from assay.spec.instances import families, truth
from assay.spec.reductions import path

if TYPE_CHECKING:
    from collections.abc import Callable


def structures() -> dict[str, Any]:
    """The structures by name: the two ends, and those of the fast room."""
    found: dict[str, Any] = {"lazy": Lazy, "eager": Eager}
    try:
        from assay.impl.cpu import firing_neurons
    except ImportError:
        return found
    return found | {"tree": firing_neurons.CorrelationTree, "table": firing_neurons.Table}


def decided(count: int) -> tuple[dict[str, list[float]], int]:
    """Seconds of every formula by structure, and how many answers were wrong."""
    route = path("satisfiability", "firing_neurons", counts=True)
    seconds: dict[str, list[float]] = {name: [] for name in structures()}
    wrong = 0
    for seed in range(count):
        formula = families.random_formula(seed, 8 + seed % 5, 3, None)
        expected = truth.satisfying(formula) is not None
        reduced = route.apply(formula, dtype="float32")
        for name, factory in structures().items():
            begun = time.perf_counter()
            answer = reduced.decode(played(factory, reduced.target))
            seconds[name].append(time.perf_counter() - begun)
            good = answer.satisfiable == expected and (answer.model is None or formula.holds(answer.model))
            wrong += not good
    return seconds, wrong


def costs(n: int, d: int, repeats: int) -> list[dict[str, Any]]:
    """What an update and a query of one neuron cost with n data of d coordinates, one structure after the other."""
    rng = np.random.default_rng(0)
    data = (rng.random((n, d)) < 0.5).astype(np.float32)
    made = {name: factory(data, -data[:1], threshold=-0.5) for name, factory in structures().items()}
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in made}
    counts: dict[str, tuple[int, int]] = {}
    for _ in range(repeats):
        row = -(rng.random((1, d)) < 0.5).astype(np.float32)
        for name, structure in made.items():
            steps: list[Callable[[], Any]] = [
                lambda structure=structure, row=row: structure.update(np.array([0]), row),
                lambda structure=structure: structure.data_of(np.array([0])),
            ]
            spent = []
            for step, taken in zip(steps, times[name], strict=True):
                before, begun = getattr(structure, "multiplications", 0), time.perf_counter()
                step()
                taken.append(time.perf_counter() - begun)
                spent.append(getattr(structure, "multiplications", 0) - before)
            counts[name] = spent[0], spent[1]
    return [
        {
            "structure": name, "n": n, "d": d,
            "update_multiplications": counts[name][0], "query_multiplications": counts[name][1],
            "update_seconds": statistics.median(times[name][0]), "query_seconds": statistics.median(times[name][1]),
        }
        for name in made
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formulas", type=int, default=200)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    seconds, wrong = decided(arguments.formulas)
    print(f"{arguments.formulas} formulas of 8 to 12 variables; wrong answers: {wrong}")
    for name, taken in seconds.items():
        print(f"  {name:<6} median {1e3 * statistics.median(taken):8.2f} ms a formula, least {1e3 * min(taken):.2f} ms")
    rows = [row for n in (1024, 4096, 16384) for row in costs(n, 64, 9)]
    print("structure        n   multiplications (update, query)   µs (update, query), medians of 9")
    for row in rows:
        counted = f"{row['update_multiplications']:>12} {row['query_multiplications']:>12}"
        taken = f"{1e6 * row['update_seconds']:10.1f} {1e6 * row['query_seconds']:10.1f}"
        print(f"{row['structure']:<10} {row['n']:>8}   {counted}   {taken}")
    if arguments.json is not None:
        document = {"formulas": arguments.formulas, "wrong": wrong, "seconds": seconds, "costs": rows}
        arguments.json.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
