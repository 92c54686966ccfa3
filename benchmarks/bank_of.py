"""The bank of a problem: no correct kernel is blamed in any of its classes, every wrong one fails and is named.

    python benchmarks/bank_of.py PROBLEM [--seeds 1] [--level standard] [--kernels NAME …]

PROBLEM is attention_gradient, document_similarity, layer_collapse, rope, rope_attention, small_transformers,
small_transformers_merge, tensor_attention or tensor_attention_gradient; mutation.py does it for attention.  For every
class the largest ratio of error and tolerance of correct kernels is printed, by output: how sharp the bound is.  One
alarm, one wrong kernel that lives, or a diagnosis that names less than nine in ten, and the script ends with exit
status 1.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import track
from timing import publish

from assay.conformance.interface.suite import LEVELS, suite
from assay.conformance.judge.cases import cases

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bank.verdicts import Verdicts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bank.entry import Entry

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


def sharpness(problem: str, correct: Sequence[Entry], level: str, seeds: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Class by class, the largest ratio by output over correct kernels; and alarms."""
    rows: list[dict[str, Any]] = []
    alarms = []
    for name in dict.fromkeys(name for entry in correct for name in entry.precisions):
        worst, judged = dict[str, float](), 0
        kernels = [entry for entry in correct if name in entry.precisions]
        for seed in range(seeds):
            verdicts = Verdicts(problem)
            table = list(cases(suite(problem), verdicts.precision(name), level, seed))
            for entry in track(kernels, f"{name}, seed {seed}", console=Console(stderr=True)):
                judge = verdicts.judge(entry, name)
                for place, case in enumerate(table):
                    outcome = judge.outcome(case, huge_canaries=place % 2 == 1)
                    judged += outcome.status == "passed"
                    if outcome.failed:
                        alarms.append(f"{entry.name} in {name}: {case.name}: {outcome.sentence}")
                    elif outcome.output:
                        worst[outcome.output] = max(worst.get(outcome.output, 0.0), outcome.ratio)
        rows.append({"class": name, "kernels": len(kernels), "judged": judged, "worst": worst})
    outputs = sorted({output for row in rows for output in row["worst"]})
    for row in rows:
        worst = row.pop("worst")
        row |= {output: round(worst.get(output, 0.0), 3) for output in outputs}
    return rows, alarms


def named(problem: str, buggy: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Wrong kernels that live, and those whose meaning the diagnosis does not name."""
    verdicts, alive, unnamed = Verdicts(problem), [], []
    for entry in track(buggy, "wrong", console=Console(stderr=True)):
        if not verdicts.failures(entry, _ENOUGH):
            alive.append(entry.name)
        elif entry.diagnosis and entry.diagnosis.lower() not in verdicts.diagnosis(entry, _ENOUGH):
            unnamed.append(entry.name)
    return alive, unnamed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", choices=PROBLEMS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--level", choices=LEVELS, default="standard")
    parser.add_argument("--kernels", nargs="*", default=[])
    chosen = parser.parse_args()
    correct, buggy = (
        [entry for entry in bank(chosen.problem, which) if not chosen.kernels or entry.name in chosen.kernels]
        for which in ("CORRECT", "BUGGY")
    )
    with np.errstate(all="ignore"):
        rows, alarms = sharpness(chosen.problem, correct, chosen.level, chosen.seeds)
        alive, unnamed = named(chosen.problem, buggy)
    semantic = sum(bool(entry.diagnosis) for entry in buggy)
    summary = f"{len(alarms)} alarms; {len(buggy) - len(alive)} of {len(buggy)} wrong kernels fail, "
    summary += f"{semantic - len(unnamed)} of {semantic} with a meaning are named"
    publish(f"{chosen.problem}_bank", rows, summary)
    for line in (*alarms[:20], *(f"alive: {name}" for name in alive), *(f"not named: {name}" for name in unnamed)):
        print(line)
    sys.exit(bool(alarms or alive or len(unnamed) > 0.1 * semantic))


if __name__ == "__main__":
    main()
