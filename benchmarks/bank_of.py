"""The bank of a problem: no correct kernel is blamed in any of its classes, every wrong one fails and is named.

    python benchmarks/bank_of.py PROBLEM [--seeds 1] [--level standard] [--kernels NAME …] [--scheduler local]

PROBLEM is attention_gradient, document_similarity, layer_collapse, rope, rope_attention, small_transformers,
small_transformers_merge, tensor_attention or tensor_attention_gradient; mutation.py does it for attention.  For every
class the largest ratio of error and tolerance of correct kernels is printed, by output: how sharp the bound is.  One
alarm, one wrong kernel that lives, or a diagnosis that names less than nine in ten, and the script ends with exit
status 1.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from campaign import add_scheduler, mapped
from rich.console import Console
from rich.progress import track
from timing import publish

from assay.conformance.interface.suite import LEVELS, suite
from assay.conformance.judge.cases import cases

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bank.verdicts import Verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Run = Callable[..., Iterator[Any]]

PROBLEMS = (
    "attention_gradient", "document_similarity", "layer_collapse", "rope", "rope_attention", "small_transformers",
    "small_transformers_merge", "tensor_attention", "tensor_attention_gradient",
)  # fmt: skip
_ENOUGH = 4  # failures that a diagnosis gets


def bank(problem: str, which: str) -> Sequence[Any]:
    """``CORRECT`` or ``BUGGY`` of a bank, which is a module, or a package with a module for each."""
    module = importlib.import_module(f"bank.{problem}")
    if not hasattr(module, which):
        module = importlib.import_module(f"bank.{problem}.{which.lower()}")
    kernels: Sequence[Any] = getattr(module, which)
    return kernels


def entries(problem: str, which: str, names: Sequence[str]) -> list[Any]:
    """The kernels of a bank, those of these names if there are any."""
    return [entry for entry in bank(problem, which) if not names or entry.name in names]


def judged(piece: tuple[str, Sequence[str], str, str, int]) -> tuple[dict[str, float], int, list[str]]:
    """Of one class and one seed: the largest ratio by output over correct kernels, how many cases passed, alarms."""
    problem, names, name, level, seed = piece
    worst, passed, alarms, verdicts = dict[str, float](), 0, [], Verdicts(problem)
    table = list(cases(suite(problem), verdicts.precision(name), level, seed))
    kernels = [entry for entry in entries(problem, "CORRECT", names) if name in entry.precisions]
    with np.errstate(all="ignore"):
        for entry in track(kernels, f"{name}, seed {seed}", console=Console(stderr=True)):
            judge = verdicts.judge(entry, name)
            for place, case in enumerate(table):
                outcome = judge.outcome(case, huge_canaries=place % 2 == 1)
                passed += outcome.status == "passed"
                if outcome.failed:
                    alarms.append(f"{entry.name} in {name}: {case.name}: {outcome.sentence}")
                elif outcome.output:
                    worst[outcome.output] = max(worst.get(outcome.output, 0.0), outcome.ratio)
    return worst, passed, alarms


def sharpness(
    problem: str, names: Sequence[str], level: str, seeds: int, run: Run
) -> tuple[list[dict[str, Any]], list[str]]:
    """Class by class, the largest ratio by output over correct kernels; and alarms."""
    correct = entries(problem, "CORRECT", names)
    classes = list(dict.fromkeys(name for entry in correct for name in entry.precisions))
    rows: list[dict[str, Any]] = []
    alarms: list[str] = []
    results = run(judged, [(problem, names, name, level, seed) for name in classes for seed in range(seeds)])
    for name in classes:
        worst: dict[str, float] = {}
        passed = 0
        for ratios, count, told in itertools.islice(results, seeds):
            worst |= {output: max(worst.get(output, 0.0), ratio) for output, ratio in ratios.items()}
            passed, alarms = passed + count, [*alarms, *told]
        rows.append(
            {"class": name, "kernels": sum(name in entry.precisions for entry in correct), "judged": passed, "w": worst}
        )
    outputs = sorted({output for row in rows for output in row["w"]})
    for row in rows:
        worst = row.pop("w")
        row |= {output: round(worst.get(output, 0.0), 3) for output in outputs}
    return rows, alarms


def explained(piece: tuple[str, Sequence[str], str]) -> tuple[list[str], list[str]]:
    """Of the wrong kernels that claim one class, those that live, and those whose meaning is not named."""
    problem, names, name = piece
    alive, unnamed, verdicts = list[str](), list[str](), Verdicts(problem)
    kernels = [entry for entry in entries(problem, "BUGGY", names) if entry.precision == name]
    with np.errstate(all="ignore"):
        for entry in track(kernels, f"wrong in {name}", console=Console(stderr=True)):
            if not verdicts.failures(entry, _ENOUGH):
                alive.append(entry.name)
            elif entry.diagnosis and entry.diagnosis.lower() not in verdicts.diagnosis(entry, _ENOUGH):
                unnamed.append(entry.name)
    return alive, unnamed


def named(problem: str, names: Sequence[str], run: Run) -> tuple[list[str], list[str]]:
    """Wrong kernels that live, and those whose meaning the diagnosis does not name."""
    classes = dict.fromkeys(entry.precision for entry in entries(problem, "BUGGY", names))
    found = list(run(explained, [(problem, names, name) for name in classes]))
    return [name for alive, _ in found for name in alive], [name for _, unnamed in found for name in unnamed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", choices=PROBLEMS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--level", choices=LEVELS, default="standard")
    parser.add_argument("--kernels", nargs="*", default=[])
    add_scheduler(parser)
    chosen = parser.parse_args()
    buggy = entries(chosen.problem, "BUGGY", chosen.kernels)
    with mapped(chosen.scheduler) as run:
        rows, alarms = sharpness(chosen.problem, chosen.kernels, chosen.level, chosen.seeds, run)
        alive, unnamed = named(chosen.problem, chosen.kernels, run)
    semantic = sum(bool(entry.diagnosis) for entry in buggy)
    summary = f"{len(alarms)} alarms; {len(buggy) - len(alive)} of {len(buggy)} wrong kernels fail, "
    summary += f"{semantic - len(unnamed)} of {semantic} with a meaning are named"
    publish(f"{chosen.problem}_bank", rows, summary)
    for line in (*alarms[:20], *(f"alive: {name}" for name in alive), *(f"not named: {name}" for name in unnamed)):
        print(line)
    sys.exit(bool(alarms or alive or len(unnamed) > 0.1 * semantic))


if __name__ == "__main__":
    main()
