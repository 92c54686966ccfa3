"""The bank of stacks: no correct one is blamed in any of its classes, every wrong one fails and is named.

    python benchmarks/layer_collapse_bank.py [--seed 0] [--level standard] [--kernels NAME …]

For every class the largest ratio of error and tolerance of correct stacks is printed: of all tokens, and of what every
layer makes of the tokens that were returned for the layer before it.  One alarm, one wrong stack that lives, or a
diagnosis that names less than nine in ten, and the script ends with exit status 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from timing import publish

from assay.conformance.interface.suite import LEVELS, suite
from assay.conformance.judge.cases import cases

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bank.layer_collapse.buggy import BUGGY
from bank.layer_collapse.correct import CORRECT
from bank.verdicts import Verdicts

_ENOUGH = 4  # failures that a diagnosis gets


def sharpness(level: str, seed: int, names: set[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Class by class, the largest ratio by criterion over correct stacks; and alarms."""
    rows, alarms = [], []
    for name in dict.fromkeys(name for entry in CORRECT for name in entry.precisions):
        worst, judged = {"tokens": 0.0, "layer": 0.0}, 0
        kernels = [entry for entry in CORRECT if name in entry.precisions and (not names or entry.name in names)]
        verdicts = Verdicts("layer_collapse")
        table = list(cases(suite("layer_collapse"), verdicts.precision(name), level, seed))
        for entry in track(kernels, name, console=Console(stderr=True)):
            judge = verdicts.judge(entry, name)
            for place, case in enumerate(table):
                outcome = judge.outcome(case, huge_canaries=place % 2 == 1)
                judged += outcome.status == "passed"
                if outcome.failed:
                    alarms.append(f"{entry.name} in {name}: {case.name}: {outcome.sentence}")
                elif outcome.output:
                    worst[outcome.output] = max(worst[outcome.output], outcome.ratio)
        largest = {criterion: round(ratio, 3) for criterion, ratio in worst.items()}
        rows.append({"class": name, "stacks": len(kernels), "judged": judged, **largest})
    return rows, alarms


def named(names: set[str]) -> tuple[list[str], list[str]]:
    """Wrong stacks that live, and those whose meaning the diagnosis does not name."""
    verdicts, alive, unnamed = Verdicts("layer_collapse"), [], []
    for entry in track([e for e in BUGGY if not names or e.name in names], "wrong", console=Console(stderr=True)):
        if not verdicts.failures(entry, _ENOUGH):
            alive.append(entry.name)
        elif entry.diagnosis and entry.diagnosis.lower() not in verdicts.diagnosis(entry, _ENOUGH):
            unnamed.append(entry.name)
    return alive, unnamed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--level", choices=LEVELS, default="standard")
    parser.add_argument("--kernels", nargs="*", default=[])
    chosen = parser.parse_args()
    names = set(chosen.kernels)
    with np.errstate(all="ignore"):
        rows, alarms = sharpness(chosen.level, chosen.seed, names)
        alive, unnamed = named(names)
    semantic = sum(bool(entry.diagnosis) for entry in BUGGY)
    summary = f"{len(alarms)} alarms; {len(BUGGY) - len(alive)} of {len(BUGGY)} wrong stacks fail, "
    summary += f"{semantic - len(unnamed)} of {semantic} with a meaning are named"
    publish("layer_collapse_bank", rows, summary)
    for line in (*alarms[:20], *(f"alive: {name}" for name in alive), *(f"not named: {name}" for name in unnamed)):
        print(line)
    sys.exit(bool(alarms or alive or len(unnamed) > 0.1 * semantic))


if __name__ == "__main__":
    main()
